"""What rows have other columns than their baseline, and which are of no baseline: counted once, named, bounded."""

import io
import random
from collections import Counter
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest
from houses import client_of, evaluate, give_baseline, ingest, open_shop
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from intake import BASELINE, Intake, batch
from streams import predictions

from monitors.baseline.baselines import FORMAT, Baseline, build
from monitors.errors import BaselineMismatch, BaselineTooNew
from service.intake.folding import noted
from service.intake.folding.schema import heaviest
from service.readings_view import schema_view, unmeasured_view


def put(table: pa.Table, name: str, values: object) -> pa.Table:
    column = pa.array(values)
    index = table.schema.get_field_index(name)
    return table.append_column(name, column) if index < 0 else table.set_column(index, name, column)


def told(intake: Intake) -> dict[tuple[str, str], int]:
    """Rows by kind and column."""
    return {(each["kind"], each["column"]): each["rows"] for each in schema_view(None, everything(intake))}


def everything(intake: Intake) -> list[noted.Noted]:
    return noted.read(intake.store, intake.log.partitions, ["m"])["m"]


def after(store, tmp_path, *tables: pa.Table, **options) -> dict[tuple[str, str], int]:
    intake = Intake(store, tmp_path, partitions=1, **options)
    for table in tables:
        intake.post(table)
    intake.run()
    return told(intake)


# ---- what is told


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.integers(1, 199), max_size=8), st.integers(1, 3), st.randoms(use_true_random=False))
def test_any_split_notes_the_same_and_sound_rows_note_nothing(store, tmp_path, cuts, partitions, shuffler):
    store.do("FLUSHALL")
    intake = Intake(store, tmp_path, partitions=partitions)
    sound = batch(200, step=300)
    odd = put(sound.drop_columns(["feature_x1"]), "feature_new", [None if i % 4 else 1.0 for i in range(200)])
    odd = put(odd, "feature_x2", ["n/a"] * 200)
    bounds = sorted({0, 200, *cuts})
    parts = [table.slice(a, b - a) for a, b in pairwise(bounds) for table in (sound, odd)]
    shuffler.shuffle(parts)
    for part in parts:
        intake.post(part)
        if shuffler.random() < 0.5:
            intake.worker = intake.new_worker()
            intake.run()
    intake.run()
    assert told(intake) == {("unknown", "new"): 50, ("missing", "x1"): 200, ("type", "x2"): 200}


def test_single_sound_rows_note_nothing(store, tmp_path):
    table = batch(30)
    assert after(store, tmp_path, *(table.slice(row, 1) for row in range(30))) == {}


def test_first_and_last_are_event_times_of_the_rows_over_all_partitions(store, tmp_path):
    intake = Intake(store, tmp_path, partitions=3)
    table = put(batch(90), "feature_new", [1.0] * 90)
    for start in (60, 0, 30):
        intake.post(table.slice(start, 30))
        intake.run()
    (found,) = schema_view(None, everything(intake))
    times = table.column("timestamp").to_pylist()
    assert (found["since"], found["until"], found["rows"]) == (times[0], times[-1], 90)
    assert (found["version"], found["form"]) == ("1", "number")


CHANGED = {
    "text where numbers were": ("feature_x2", ["n/a", "much"], ("x2", 20)),
    "text that reads as numbers": ("feature_x2", ["0.5", "1"], None),
    "a list where numbers were": ("feature_x2", [[1.0], [2.0]], ("x2", 20)),
    "numbers where categories were": ("feature_channel", [1.0, 2.0], ("channel", 20)),
    "truth values where categories were": ("feature_channel", [True, False], ("channel", 20)),
    "other categories": ("feature_channel", ["radio", "web"], None),
    "numbers where texts were": ("feature_text", [1.0, 2.0], ("text", 20)),
    "a number among texts that read as numbers": ("feature_x2", ["0.5", "n/a"], None),
    "numbers where predictions were words": ("prediction", [1.0, 2.0], ("prediction", 20)),
}


@pytest.mark.parametrize("what", CHANGED)
def test_another_type_is_told_where_no_value_can_be_read(store, tmp_path, what):
    column, values, expected = CHANGED[what]
    kind = pa.list_(pa.float32()) if isinstance(values[0], list) else None
    table = batch(20)
    column_values = pa.array(values * 10, kind)
    found = after(store, tmp_path, table.set_column(table.schema.get_field_index(column), column, column_values))
    assert found == ({("type", expected[0]): expected[1]} if expected else {})


def test_whole_numbers_that_were_categories_may_come_as_numbers(store, tmp_path):
    codes = put(predictions(600, seed=99, start=1_767_000_000), "feature_channel", [str(i % 3) for i in range(600)])

    intake = Intake(store, tmp_path, partitions=1)
    intake.baselines = {"1": build(codes, model="m", version="1", cuts=[], task="classification")}
    intake.post(put(batch(30), "feature_channel", [float(i % 3) for i in range(30)]))
    intake.run()
    assert told(intake) == {}


def test_a_column_that_the_baseline_sometimes_lacks_is_missing_where_chance_cannot_be_why(store, tmp_path):
    gaps = predictions(2000, seed=99, start=1_767_000_000, missing=0.3)

    intake = Intake(store, tmp_path, partitions=1)
    intake.baselines = {"1": build(gaps, model="m", version="1", cuts=[["group"]], task="classification")}
    without = batch(50).drop_columns(["feature_x1"])
    for row in range(5):
        intake.post(without.slice(row, 1))
        intake.run()
    assert told(intake) == {}
    intake.post(without.slice(5, 45))
    intake.run()
    assert told(intake) == {("missing", "x1"): 45}


def test_a_tag_that_cuts_is_missed_and_one_that_does_not_is_nobodys(store, tmp_path):
    table = batch(40).drop_columns(["tag_group"]).append_column("tag_market", pa.array(["DE"] * 40))
    assert after(store, tmp_path, table) == {("missing", "group"): 40}


def test_rows_without_a_baseline_are_visible_by_version(store, tmp_path):
    intake = Intake(store, tmp_path, partitions=2)
    table = batch(60)
    for version, rows in (("7", 40), ("8 beta:x", 20)):
        intake.post(put(table.slice(0, rows), "model_version", [version] * rows))
    intake.run()
    found = {each["version"]: each["rows"] for each in unmeasured_view(everything(intake))}
    assert found == {"7": 40, "8 beta:x": 20}
    assert intake.numbers().unmeasured["m"] == 60
    assert told(intake) == {}


def test_a_failed_commit_notes_nothing_and_the_next_one_notes_it_once(store, tmp_path):
    intake = Intake(store, tmp_path, partitions=1)
    first, second = intake.new_worker(), intake.new_worker()
    intake.post(put(batch(30), "feature_new", [1.0] * 30))
    first.acquire()
    second.acquire()
    first.step()
    assert told(intake) == {}
    second.step()
    assert told(intake) == {("unknown", "new"): 30}


# ---- bounds


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.dictionaries(st.sampled_from("abcdefghijkl"), st.integers(1, 50)), min_size=1, max_size=6),
    st.integers(1, 5),
)
def test_the_heaviest_names_are_kept_within_their_bound_however_summaries_are_merged(parts, most):
    truth, merged = Counter[str](), Counter[str]()
    for part in parts:
        truth.update(part)
        merged.update(heaviest(part, most))
        merged = Counter(heaviest(merged, most))
    total = sum(truth.values())
    assert sum(merged.values()) == total
    named = {name: n for name, n in merged.items() if name}
    assert len(named) <= most
    for name, rows in truth.items():
        assert rows - total / (most + 1) <= named.get(name, 0) <= rows


def test_a_sender_who_invents_names_fills_nothing_and_drives_out_nobody(store, tmp_path):
    intake = Intake(store, tmp_path, partitions=1)
    chance = random.Random(3)
    rows = 0
    for number in range(150):
        table = put(batch(10, seed=number), "feature_real", [1.0] * 10)
        for _ in range(3):
            table = put(table, f"feature_{chance.randrange(10**9)}", [1.0] * 10)
        table = put(table, "model_version", ["1"] * 5 + [f"v{number}"] * 5)
        intake.post(put(table, "tag_group", [f"g{chance.randrange(10**6)}" for _ in range(10)]))
        rows += 5
    intake.run()
    kinds = Counter(each.kind for each in everything(intake))
    assert set(kinds) == {"unknown", "unmeasured", "segment"}
    assert max(kinds["unknown"], kinds["unmeasured"]) <= 101
    assert kinds["segment"] <= 51
    found = told(intake)
    assert sum(found.values()) == 4 * rows
    assert found["unknown", "real"] >= rows - 4 * rows / 101
    assert found["unknown", "other"] > rows
    long = put(batch(10), "feature_" + "x" * 5000, [1.0] * 10)
    intake.post(long)
    intake.run()
    assert max(len(each.name) for each in everything(intake)) < 300


# ---- what is shown


@pytest.mark.usefixtures("store")
def test_the_model_says_what_columns_came_and_ignored_ones_are_no_news(server, tmp_path):
    with open_shop(server, tmp_path) as house, client_of(house) as client:
        odd = put(put(predictions(2_800, seed=1), "feature_new", [1.0] * 2_800), "feature_blob", ["x"] * 2_800)
        evaluate(house, odd)
        path = house.settings.policies / "shop.yaml"
        shown = client.get("/v1/models/shop").json()
        assert {each["column"] for each in shown["schema"]} == {"new", "blob"}
        assert shown["unmeasured"] == []
        assert "the baseline does not know column <strong>blob</strong>" in client.get("/").text
        path.write_text(path.read_text().replace("{group: tag}", "{group: tag, blob: ignore}"))
        house.policies.reload()
        (found,) = client.get("/v1/models/shop").json()["schema"]
        assert (found["kind"], found["column"], found["rows"], found["form"]) == ("unknown", "new", 2_800, "number")
        assert "blob" not in client.get("/").text
        assert 'tidegate_schema_rows_total{kind="unknown",model="shop"} 2800.0' in client.get("/metrics").text


@pytest.mark.usefixtures("store")
def test_the_finding_of_new_segments_has_their_names_and_rows(server, tmp_path):
    table = predictions(2_800, seed=1)
    groups = ["kiosk" if i % 4 == 0 else g for i, g in enumerate(table.column("tag_group").to_pylist())]
    with open_shop(server, tmp_path) as house:
        evaluate(house, put(table, "tag_group", groups))
        (finding,) = [f for f in house.ledger.evaluation("shop").findings if "group=other," in f]
        assert finding.endswith(": group=kiosk (700 rows)")


@pytest.mark.usefixtures("store")
def test_rows_that_came_before_their_baseline_are_told(server, tmp_path):
    with open_shop(server, tmp_path) as house, client_of(house) as client:
        ingest(house, predictions(50))
        give_baseline(house)
        (found,) = client.get("/v1/models/shop").json()["unmeasured"]
        assert (found["version"], found["rows"]) == ("1", 50)
        assert "50 rows of version <strong>1</strong>" in client.get("/").text
        assert 'tidegate_unmeasured_rows_total{model="shop"} 50.0' in client.get("/metrics").text


# ---- a baseline that a newer build has written


class Beats:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def old_and_new(intake: Intake, beats: Beats):
    """Two workers, of which the first cannot read the baseline."""

    def too_new(_, version):
        raise BaselineTooNew(f"version {version} has format 99")

    readable = intake.baseline_of
    intake.baseline_of = too_new
    old = intake.new_worker(alone=False, beats=beats)
    intake.baseline_of = readable
    for partition in old._partitions:
        partition._beats = beats
    return old, intake.new_worker(alone=False, beats=beats)


def test_an_older_worker_leaves_rows_to_a_newer_one(store, tmp_path):
    intake, beats = Intake(store, tmp_path, partitions=1), Beats()
    old, new = old_and_new(intake, beats)
    intake.post(batch(40))
    assert old.acquire() == 1
    assert old.step() == 0
    assert old.owned == []
    assert old.acquire() == 0
    old._roster.leave()
    assert new.acquire() == 1
    assert new.step() == 40
    assert intake.counted()[0, 0] == 40
    assert intake.numbers().unmeasured["m"] == 0


def test_without_a_newer_worker_rows_wait_ten_minutes_and_are_unmeasured_then(store, tmp_path):
    intake, beats = Intake(store, tmp_path, partitions=1), Beats()
    old, _ = old_and_new(intake, beats)
    intake.post(batch(40))
    for _ in range(70):
        beats.now += 10
        if old.acquire():
            old.step()
        if beats.now < 600:
            assert intake.numbers().backlog == 40
    assert (intake.numbers().backlog, intake.numbers().unmeasured["m"]) == (0, 40)
    intake.post(batch(10, seed=1))
    old.acquire()
    assert old.step() == 10
    assert {each["version"]: each["rows"] for each in unmeasured_view(everything(intake))} == {"1": 50}


def test_a_stored_baseline_of_a_newer_format_says_so_and_of_an_older_one_too():
    packed = BASELINE.to_bytes()
    written = f'"format": {FORMAT}'.encode()
    assert packed.count(written) == 1
    with pytest.raises(BaselineTooNew, match="newer"):
        Baseline.from_bytes(_with_checksum(packed, written, f'"format": {FORMAT + 1}'.encode()))
    with pytest.raises(BaselineMismatch) as older:
        Baseline.from_bytes(_with_checksum(packed, written, f'"format": {FORMAT - 1}'.encode()))
    assert not isinstance(older.value, BaselineTooNew)


def _with_checksum(packed: bytes, old: bytes, new: bytes) -> bytes:
    """The baseline with another head, as a build would write it."""
    end = 4 + int.from_bytes(packed[:4], "big")
    with np.load(io.BytesIO(packed[end:])) as arrays:
        parts = {name: arrays[name] for name in arrays.files}
    parts["head"] = np.frombuffer(parts["head"].tobytes().replace(old, new), dtype=np.uint8)
    out = io.BytesIO()
    np.savez(out, **parts)
    return packed[:end] + out.getvalue()


@pytest.mark.usefixtures("store")
def test_the_ledger_tells_one_who_counts_that_the_baseline_is_too_new(server, tmp_path):
    with open_shop(server, tmp_path) as house:
        baseline = give_baseline(house)
        assert house.ledger.baseline_to_count("shop", "1").fingerprint == baseline.fingerprint
        assert house.ledger.baseline_to_count("shop", "2") is None
        newer = _with_checksum(baseline.to_bytes(), f'"format": {FORMAT}'.encode(), f'"format": {FORMAT + 1}'.encode())
        name = next(n for n in house.store.do("KEYS", f"*baseline*{baseline.fingerprint}"))
        house.store.do("SET", name, newer)
        house.ledger._baselines.clear()
        assert house.ledger.baseline("shop", "1") is None
        assert "newer service" in house.ledger.blindness("shop")
        with pytest.raises(BaselineTooNew, match="shop 1"):
            house.ledger.baseline_to_count("shop", "1")


def test_rows_are_compared_with_the_baseline_of_their_own_version(store, tmp_path):

    intake = Intake(store, tmp_path, partitions=1)
    wide = put(predictions(600, seed=5, start=1_767_000_000), "feature_new", list(np.arange(600.0)))
    intake.baselines["2"] = build(wide, model="m", version="2", cuts=[], task="classification")
    table = put(batch(40), "feature_new", [1.0] * 40)
    intake.post(table)
    intake.post(put(table, "model_version", ["2"] * 40))
    intake.post(put(batch(20), "model_version", ["2"] * 20))
    intake.run()
    found = {(e["version"], e["kind"], e["column"]): e["rows"] for e in schema_view(None, everything(intake))}
    assert found == {("1", "unknown", "new"): 40, ("2", "missing", "new"): 20}
