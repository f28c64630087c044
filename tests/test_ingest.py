import threading
from datetime import UTC, datetime, timedelta
from itertools import chain

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from intake import BASELINE, NOON, Intake, batch, label_rows
from pyarrow import feather, parquet

from monitors.baseline import baselines
from service.errors import Backlogged, BadName, BadSetting, KeyConflict, NothingAcceptable, Rejection, StoreFull
from service.intake import columns
from service.intake.archive.archiving import Roll
from service.intake.archive.tables import BadFile, Roles, as_batch, read_table
from service.intake.bodies import wire
from service.intake.bodies.wire import Batch
from service.intake.log.entries import id_after, id_number
from service.intake.log.ingest import UNVERSIONED, Ingest, hash_body
from service.intake.log.log import Log
from service.intake.log.window import Window

ALWAYS = datetime(1970, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)


def rows_in(log: Log) -> int:
    return sum(entry.rows for n in range(log.partitions) for entry in log.read(n, "0-0").entries)


def test_the_same_key_and_body_get_the_same_answer_and_count_once(any_store, tmp_path):
    intake = Intake(any_store, tmp_path)
    rejected = (Rejection(3, "features.x", "is nested", "nested"),)
    first = intake.ingest.accept_predictions("m", Batch(batch(10), rejected), "key", "body", NOON)
    again = intake.ingest.accept_predictions("m", Batch(batch(10)), "key", "body", NOON + timedelta(hours=1))
    assert first == again
    assert first["accepted"] == 10
    assert first["rejected"] == [{"row": 3, "field": "features.x", "problem": "is nested"}]
    assert rows_in(intake.log) == 10


def test_the_same_key_with_another_body_is_a_conflict(any_store, tmp_path):
    intake = Intake(any_store, tmp_path)
    intake.post(batch(10), "key", "body")
    with pytest.raises(KeyConflict, match="another body"):
        intake.post(batch(10), "key", "other")
    assert rows_in(intake.log) == 10


def test_a_key_belongs_to_its_model_and_route(store, tmp_path):
    intake = Intake(store, tmp_path)
    intake.post(batch(10), "key")
    intake.ingest.accept_predictions("other", Batch(batch(10)), "key", "x", NOON)
    intake.ingest.accept_labels("m", Batch(label_rows(["1"], ["fit"])), "key", "y", NOON)
    assert rows_in(intake.log) == 21


def test_a_key_is_forgotten_after_its_time(store, tmp_path):
    intake = Intake(store, tmp_path)
    intake.post(batch(1), "key")
    (trace,) = chain(*store.do_everywhere("KEYS", "*trace*"))
    assert 86_000 < store.do("TTL", trace) <= 86_400


def test_bodies_without_a_key_are_all_taken(store, tmp_path):
    intake = Intake(store, tmp_path)
    for _ in range(3):
        intake.post(batch(5))
    assert rows_in(intake.log) == 15
    assert store.do("KEYS", "*trace*") == []


def test_many_senders_of_one_key_are_counted_once(store, tmp_path):
    intake = Intake(store, tmp_path)
    answers = []
    threads = [threading.Thread(target=lambda: answers.append(intake.post(batch(7), "key"))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [answers[0]] * 8
    assert rows_in(intake.log) == 7


def test_keys_spread_over_partitions_and_a_retry_meets_its_own(store, tmp_path):
    intake = Intake(store, tmp_path, partitions=4)
    for _ in range(2):
        for n in range(40):
            intake.post(batch(1), f"key{n}")
    per_partition = [len(intake.log.read(n, "0-0").entries) for n in range(4)]
    assert sum(per_partition) == 40
    assert min(per_partition) > 0


def test_rows_without_a_version_get_the_champions(store):
    log = Log(store, 1)
    table = wire.predictions(
        b'[{"prediction_id":"1","prediction":"a"},{"prediction_id":"2","prediction":"a","model_version":"0"}]',
        "json",
        "classification",
        NOON,
    ).table
    for champion in ("5", "", None):
        Ingest(log, lambda _, c=champion: c).accept_predictions("m", Batch(table), None, "x", NOON)
    versions = [entry.table().column("model_version").to_pylist() for entry in log.read(0, "0-0").entries]
    assert versions == [["5", "0"], [UNVERSIONED, "0"], [UNVERSIONED, "0"]]


def test_a_body_without_one_good_row_is_refused_and_its_reasons_are_counted(store, tmp_path):
    intake = Intake(store, tmp_path)
    body = b'[{"prediction":"a"},{"prediction_id":"1"},{"prediction_id":"1","prediction":[]}]'
    refused = wire.predictions(body, "json", "classification", NOON)
    with pytest.raises(NothingAcceptable, match=r"none of the 3 rows.*row 0, prediction_id: is missing"):
        intake.ingest.accept_predictions("m", refused, "key", hash_body(body), NOON)
    assert rows_in(intake.log) == 0
    assert intake.numbers().rejected == {("m", "missing"): 2, ("m", "nested"): 1}


def test_rows_rejected_beside_good_ones_are_counted_when_they_are_folded(store, tmp_path):
    intake = Intake(store, tmp_path)
    rejected = (Rejection(3, "x", "is nested", "nested"), Rejection(4, "y", "is missing", "missing"))
    for _ in range(2):
        intake.ingest.accept_predictions("m", Batch(batch(5), rejected), "key", "body", NOON)
    intake.run()
    intake.run()
    assert intake.numbers().rejected == {("m", "missing"): 1, ("m", "nested"): 1}


def test_a_full_log_asks_senders_to_come_back_and_takes_them_after_it_drained(store, tmp_path):
    intake = Intake(store, tmp_path, partitions=1)
    intake.log = Log(store, 1, most_rows=100)
    intake.ingest = Ingest(intake.log, lambda _: "1")
    intake.post(batch(80))
    with pytest.raises(Backlogged, match="TIDEGATE_BACKLOG_ROWS") as caught:
        intake.post(batch(80), "key")
    assert caught.value.retry_after_seconds > 0
    intake.now += timedelta(hours=2)
    intake.run()
    intake.run()
    assert intake.post(batch(80), "key")["accepted"] == 80


def test_a_store_without_memory_takes_no_rows_but_lets_workers_drain(any_store, tmp_path):
    intake = Intake(any_store, tmp_path)
    intake.post(batch(50))
    any_store.do("CONFIG", "SET", "maxmemory", "1")
    try:
        with pytest.raises(StoreFull):
            intake.post(batch(50), "key")
        intake.worker.acquire()
        assert intake.worker.step() == 50
    finally:
        any_store.do("CONFIG", "SET", "maxmemory", "0")
    assert intake.post(batch(50), "key")["accepted"] == 50


@pytest.mark.parametrize("name", ["", "a/b", "..", "a:b", "{a}", "a b", "x" * 200])
def test_a_model_name_that_could_leave_its_folder_or_key_is_refused(store, tmp_path, name):
    intake = Intake(store, tmp_path)
    with pytest.raises(BadName):
        intake.ingest.accept_predictions(name, Batch(batch(1)), None, "x", NOON)


def test_an_answer_tells_at_most_a_thousand_rejections_and_counts_all(store, tmp_path):
    intake = Intake(store, tmp_path)
    rejected = tuple(Rejection(n, "x", "is missing", "missing") for n in range(3000))
    answer = intake.ingest.accept_predictions("m", Batch(batch(1), rejected), None, "x", NOON)
    assert len(answer["rejected"]) == 1000
    assert answer["rejected_rows"] == 3000


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    steps=st.lists(st.tuples(st.sampled_from(["post", "fetch", "follow"]), st.integers(0, 9)), min_size=5, max_size=25),
    window_bytes=st.sampled_from([1, 5_000, 1 << 20]),
)
def test_whoever_follows_the_fold_sees_what_the_store_holds(store, steps, window_bytes):
    store.do("FLUSHALL")
    log = Log(store, 1)
    log._windows = [Window(window_bytes)]
    ingest = Ingest(log, lambda _: "1")
    ids, position = ["0-0"], "0-0"
    for step, number in steps:
        if step == "post":
            ingest.accept_predictions("m", Batch(batch(1 + number)), None, "x", NOON)
            ids = ["0-0", *(entry.id for entry in log.read(0, "0-0").entries)]
        elif step == "fetch":
            # Now and then the fold begins anew from an earlier position, as after an error.
            position = ids[0] if number == 0 else position
            run = log.fetch(0, position, rows=3 * number + 1)
            position = run.entries[-1].id if run.entries else position
        else:
            after = ids[min(number, len(ids) - 1)]
            followed = [entry.id for entry in log.follow(0, after, rows=10**6).entries]
            expected = ids[ids.index(after) + 1 :]
            # What the fold has not read yet may come later, and nothing is left out before it.
            assert followed == expected[: len(followed)]
            assert bool(followed) == bool(expected)


def test_what_the_fold_has_read_is_read_and_unpacked_once(store):
    log = Log(store, 1)
    for _ in range(3):
        Ingest(log, lambda _: "1").accept_predictions("m", Batch(batch(10)), None, "x", NOON)
    tables = [entry.table() for entry in log.fetch(0, "0-0").entries]
    followed = log.follow(0, "0-0").entries
    assert all(entry.at_hand is table for entry, table in zip(followed, tables, strict=True))


def test_long_texts_are_kept_compressed_and_numbers_as_they_are():
    words = pa.table({"text": ["the parcel was too late and the shoes too small " * 20] * 50})
    numbers = pa.table({"x": np.random.default_rng(0).normal(size=5_000)})
    assert len(columns.pack(words)) < words.nbytes / 3
    assert len(columns.pack(numbers)) >= numbers.nbytes
    for table in (words, numbers, pa.concat_tables([numbers, numbers])):
        assert columns.unpack(columns.pack(table), table.num_rows).equals(table)
        assert columns.unpack(columns.pack(table)).equals(table)


def test_reading_is_bounded_by_rows_and_by_bytes(any_store):
    log = Log(any_store, 1)
    ingest = Ingest(log, lambda _: "1")
    for _ in range(50):
        ingest.accept_predictions("m", Batch(batch(100)), None, "x", NOON)
    by_rows = log.read(0, "0-0", rows=1000)
    assert 1000 <= sum(entry.rows for entry in by_rows.entries) < 3000
    assert by_rows.has_more
    one = log.read(0, "0-0", most_bytes=1)
    assert len(one.entries) == 1
    seen, after = 0, "0-0"
    while stretch := log.read(0, after, rows=700).entries:
        seen += len(stretch)
        after = stretch[-1].id
    assert seen == 50


def test_a_store_keeps_the_number_of_partitions_it_began_with(store):
    Log(store, 2)
    Log(store, 2)
    with pytest.raises(BadSetting, match=r"TIDEGATE_PARTITIONS.*holds rows in 2 partitions"):
        Log(store, 3)


def test_log_places_are_ordered_numbers():
    ids = ["1790000000000-0", "1790000000000-7", "1790000000001-0", id_after("1790000000001-0")]
    numbers = [id_number(each) for each in ids]
    assert numbers == sorted(numbers)
    assert numbers[-1] < 2**63


def test_a_batch_survives_the_log_unchanged(store):
    log = Log(store, 1)
    table = batch(300)
    Ingest(log, lambda _: "1").accept_predictions("m", Batch(table), None, "x", NOON)
    (entry,) = log.read(0, "0-0").entries
    assert entry.table().equals(table)
    assert isinstance(entry.table(), pa.Table)


def vectors(rows: int, seed: int, values) -> pa.Table:
    return batch(rows, seed=seed).append_column("feature_e", values)


def lists(rows: int) -> pa.Array:
    return pa.array([[float(n), 0.5, -1.0] for n in range(rows)], pa.list_(pa.float32()))


@pytest.mark.parametrize("archived", [0, 1, 2])
def test_a_list_of_numbers_comes_back_from_log_and_archive(any_store, tmp_path, archived):
    intake = Intake(any_store, tmp_path, roll=Roll(rows=20))
    intake.post(batch(20, seed=1))  # from before the feature was sent
    intake.post(vectors(20, 2, lists(20)))
    for _ in range(archived):
        intake.run()
    found = intake.archive.predictions("m", *ALWAYS).filter(pc.is_valid(pc.field("feature_e")))
    assert found.column("feature_e").to_pylist() == lists(20).to_pylist()
    assert intake.archive.predictions("m", *ALWAYS).num_rows == 40


@pytest.mark.parametrize("archived", [0, 1, 2])
@pytest.mark.parametrize("mistaken", [pa.array([1.5]), pa.array(["[1, 2]"]), pa.array([True])], ids=str)
def test_one_body_of_another_form_does_not_cost_the_other_rows_their_lists(store, tmp_path, archived, mistaken):
    intake = Intake(store, tmp_path, partitions=1, roll=Roll(rows=20))
    for seed, table in enumerate((vectors(20, 1, lists(20)), vectors(1, 2, mistaken), vectors(20, 3, lists(20)))):
        intake.post(table)
        if seed < archived:
            intake.run()
    found = intake.archive.predictions("m", *ALWAYS)
    assert found.num_rows == 41
    assert sorted(filter(None, found.column("feature_e").to_pylist())) == sorted(lists(20).to_pylist() * 2)


def test_a_list_in_place_of_a_number_is_counted_as_the_wrong_type(store, tmp_path):
    intake = Intake(store, tmp_path)
    table = batch(30)
    place = table.column_names.index("feature_x1")
    intake.post(table.set_column(place, "feature_x1", lists(30)))
    intake.run()
    x1 = [column.name for column in BASELINE.layout.columns].index("x1")
    assert BASELINE.layout.column_extra(intake.counted(), x1)[0, 3] == 30


def test_embeddings_are_counted_against_a_baseline_that_has_them(store, tmp_path):
    known = vectors(200, 5, lists(200)).append_column("label", batch(200, seed=5).column("prediction"))
    learnt = baselines.build(known, model="m", version="1", cuts=[["group"]], task="classification")
    intake = Intake(store, tmp_path)
    intake.baselines["1"] = learnt
    intake.post(vectors(40, 6, pa.array([[1.0, 0.5, -1.0]] * 30 + [[1.0]] * 10, pa.list_(pa.float32()))))
    intake.run()
    counts = np.sum(list(intake.cells.load(learnt).values()), axis=0)
    cluster = [column.name for column in learnt.layout.columns].index("e.cluster")
    assert learnt.layout.column_bins(counts, cluster)[0].sum() == 30
    assert learnt.layout.column_extra(counts, cluster)[0, 3] == 10


@pytest.mark.parametrize(
    "kind", [pa.list_(pa.float64()), pa.large_list(pa.int32()), pa.list_(pa.float32(), 3)], ids=str
)
def test_a_file_may_hold_lists_of_numbers(tmp_path, kind):
    rows = pa.table({"e": pa.array([[1, 2, 3], None, [4, 5, 6]], kind), "label": ["a", "b", "a"]})
    for name in ("rows.parquet", "rows.arrow"):
        file = tmp_path / name
        (parquet.write_table if name == "rows.parquet" else feather.write_feather)(rows, file)
        found = as_batch(file, read_table(file), Roles(), "classification", "1").column("feature_e")
        assert found.type == pa.list_(pa.float32())
        assert found.to_pylist() == [[1.0, 2.0, 3.0], None, [4.0, 5.0, 6.0]]


def test_a_file_with_lists_of_text_is_refused_with_what_to_do(tmp_path):
    file = tmp_path / "rows.parquet"
    with pytest.raises(BadFile, match=r"column 'e'.*ignore"):
        as_batch(file, pa.table({"e": [["a"]]}), Roles(), "classification", "1")
