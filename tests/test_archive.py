import random
from datetime import UTC, datetime, timedelta

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from intake import NOON, Intake, batch

from service.errors import StoreAway
from service.intake.archive.archive import Archive
from service.intake.archive.archiving import Roll
from service.intake.log.log import Log
from service.storage import keys
from service.storage.files import Files

BEGIN, END = datetime(1970, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)
SMALL = Roll(rows=100, most_rows=100)


@pytest.fixture
def place(tmp_path) -> Files:
    """Where the archive is; tests/test_archive_on_s3.py keeps the same promises at an address."""
    return Files(tmp_path)


def files(intake: Intake, kind: str = "predictions") -> list[str]:
    """All files of the archive, also those that are in no list."""
    place = intake.folder
    if place.is_local:
        return sorted(
            str(path.relative_to(place.folder())) for path in place.folder().glob(f"{kind}/**/*") if path.is_file()
        )
    cut = len(place.filesystem._strip_protocol(str(place))) + 1
    return sorted(path[cut:] for path in place.filesystem.find(place.at(kind)))


def settle(intake: Intake) -> None:
    """Fold, join, and archive all that is ready, wherever the archive is."""
    intake.run()
    step(intake)
    step(intake)


def step(intake: Intake) -> None:
    """Fold, and archive one range of each partition at least."""
    intake.worker.step()
    while wait_for_writing(intake):
        intake.worker.step()


def wait_for_writing(intake: Intake) -> bool:
    """Wait for files that are being written beside the fold. Whether there were any."""
    writing = [p._archiver._writing[1] for p in intake.worker._partitions if p._archiver._writing]
    return bool([future.exception(timeout=30) for future in writing] or [])


def metadata(place: Files, path: str) -> pq.FileMetaData:
    with place.open(path) as file:
        return pq.read_metadata(file)


def ids(table: pa.Table) -> list[str]:
    return table.column("prediction_id").to_pylist()


def test_rows_are_read_back_as_they_came_from_files_and_tail_alike(any_store, place):
    intake = Intake(any_store, place, roll=SMALL)
    table = batch(350)
    for start in range(0, 350, 50):
        intake.post(table.slice(start, 50))
    before = intake.archive.predictions("m", BEGIN, END)
    settle(intake)
    assert files(intake)
    after = intake.archive.predictions("m", BEGIN, END)
    names = table.column_names
    assert before.select(names).equals(table)
    assert after.select(names).equals(table)
    assert Archive(intake.log, place).predictions("m", BEGIN, END).equals(after)


def test_files_and_tail_never_show_a_row_twice_or_not_at_all(store, place):
    intake = Intake(store, place, roll=Roll(rows=60))
    chance = random.Random(3)
    sent = 0
    for number in range(40):
        intake.post(batch(20, seed=number), f"key{number}")
        sent += 20
        if chance.random() < 0.5:
            intake.worker.acquire()
            intake.worker.step()
        if chance.random() < 0.5:
            intake.joiner.step(intake.now)
            intake.joiner.step(intake.now)
        assert intake.archive.predictions("m", BEGIN, END).num_rows == sent
    assert files(intake)


def test_archived_entries_leave_the_log(store, place):
    intake = Intake(store, place, partitions=1, roll=SMALL)
    for number in range(5):
        intake.post(batch(50, seed=number))
    settle(intake)
    assert store.do("XLEN", keys.log("p0")) == 1
    assert len(files(intake)) == 2


def test_nothing_is_archived_before_the_label_join_has_passed_it(store, place):
    intake = Intake(store, place, partitions=1, roll=SMALL)
    intake.post(batch(200))
    intake.worker.acquire()
    intake.worker.step()
    assert not files(intake)
    intake.joiner.step(intake.now)
    intake.joiner.step(intake.now)
    step(intake)
    assert len(files(intake)) == 1


def test_all_rows_that_wait_come_into_one_file_as_far_as_it_may_grow(store, place):
    intake = Intake(store, place, partitions=1, roll=Roll(rows=100, most_rows=250))
    for number in range(4):
        intake.post(batch(100, seed=number), f"key{number}")
    settle(intake)
    assert sorted(metadata(place, path).num_rows for path in files(intake)) == [100, 300]


def test_a_short_tail_is_archived_when_it_is_old(store, place):
    intake = Intake(store, place, partitions=1, roll=Roll(rows=1000, age=timedelta(hours=1)))
    intake.post(batch(10))
    intake.run()
    assert not files(intake)
    intake.now += timedelta(minutes=61)
    settle(intake)
    assert len(files(intake)) == 1


def test_a_file_is_named_by_model_day_and_stretch_of_the_log(store, place):
    intake = Intake(store, place, partitions=1, roll=SMALL)
    intake.post(batch(100))
    intake.label(["a"] * 100, ["fit"] * 100)
    first, second = (entry.id for entry in intake.log.read(0, "0-0").entries)
    settle(intake)
    assert files(intake) == [f"predictions/model=m/date=2026-01-01/p0-{first}-{first}.parquet"]
    assert files(intake, "labels") == [f"labels/model=m/date=2026-01-01/p0-{second}-{second}.parquet"]


@pytest.mark.parametrize("crash_at", ["after agreeing", "after writing"])
def test_a_crash_while_archiving_leaves_each_row_in_one_file(store, place, crash_at, monkeypatch):
    intake = Intake(store, place, partitions=1, roll=SMALL)
    for number in range(3):
        intake.post(batch(50, seed=number))
    intake.worker.acquire()
    intake.worker.step()
    intake.joiner.step(intake.now)
    intake.joiner.step(intake.now)
    partition = intake.worker._partitions[0]
    # The crash has to fall between two given steps; tests/test_kill.py kills real processes at any moment.
    if crash_at == "after agreeing":
        monkeypatch.setattr(partition._archiver, "_write", _fail)
    else:
        write = partition._archiver._write

        def write_and_fail(entries):
            write(entries)
            raise StoreAway("crashed")

        monkeypatch.setattr(partition._archiver, "_write", write_and_fail)
    with pytest.raises(StoreAway):
        step(intake)
    left = files(intake)
    intake.post(batch(30, seed=9))
    intake.worker = intake.new_worker()
    settle(intake)
    assert files(intake)[: len(left)] == left
    assert len(files(intake)) == 1
    assert sum(metadata(place, path).num_rows for path in files(intake)) == 100
    assert intake.archive.predictions("m", BEGIN, END).num_rows == 180


def _fail(_):
    raise StoreAway("crashed")


def test_a_stale_archiver_changes_nothing(store, place):
    intake = Intake(store, place, partitions=1, roll=SMALL)
    intake.post(batch(200))
    stale = intake.worker
    stale.acquire()
    stale.step()
    intake.worker = intake.new_worker()
    settle(intake)
    before = files(intake)
    intake.post(batch(200, seed=1))
    assert stale.step() == 0
    assert files(intake) == before


def test_spans_versions_and_columns_can_be_chosen(store, place):
    intake = Intake(store, place, roll=SMALL)
    intake.post(batch(300))
    other = batch(50, seed=1)
    intake.post(other.set_column(other.column_names.index("model_version"), "model_version", pa.array(["2"] * 50)))
    settle(intake)
    since = NOON.replace(hour=1)
    table = intake.archive.predictions("m", since, since + timedelta(minutes=10), version="1", columns=["feature_x1"])
    assert (table.column_names, table.num_rows) == (["feature_x1"], 10)
    assert intake.archive.predictions("m", BEGIN, END, version="2").num_rows == 50
    assert intake.archive.predictions("nobody", BEGIN, END).num_rows == 0
    assert intake.archive.labels("m", BEGIN, END).num_rows == 0
    assert intake.archive.labelled("m", BEGIN, END).num_rows == 0


def test_columns_that_differ_between_files_and_tail_do_not_matter(store, place):
    intake = Intake(store, place, partitions=1, roll=Roll(rows=10))
    plain = batch(10).select(["prediction_id", "timestamp", "model_version", "prediction", "confidence"])
    values = [pa.array([1.5] * 10), pa.array(["text"] * 10), pa.array([True] * 10), pa.nulls(10, pa.float64())]
    for number, value in enumerate(values):
        intake.post(plain.append_column("feature_x", value).append_column(f"feature_{number}", value))
        if number != 1:
            settle(intake)
    read = Archive(intake.log, place)
    table = read.predictions("m", BEGIN, END, columns=["feature_x", "feature_0", "feature_2"])
    # The same predictions under four keys: the first copy is shown.
    assert table.to_pylist() == [{"feature_x": "1.5", "feature_0": 1.5, "feature_2": None}] * 10


def test_the_last_label_of_each_prediction_is_joined(store, place):
    intake = Intake(store, place, roll=Roll(rows=40))
    table = batch(40)
    intake.post(table)
    names = ids(table)
    intake.label(names[:20], ["fit"] * 20)
    settle(intake)
    intake.label(names[:10], ["returns"] * 10)
    intake.label(names[5:6], ["older"], at=NOON - timedelta(days=1))
    intake.now += timedelta(minutes=1)
    intake.label(names[8:9], ["newest"])
    for _ in range(2):
        labelled = intake.archive.labelled("m", BEGIN, END)
        assert ids(labelled) == names[:20]
        assert labelled.column("label").to_pylist() == ["returns"] * 8 + ["newest", "returns"] + ["fit"] * 10
        assert labelled.column("labelled_at").to_pylist()[8] == intake.now
        assert intake.archive.labels("m", BEGIN, END).num_rows == 32
        settle(intake)


def test_other_tools_can_read_the_files(store, place):
    intake = Intake(store, place, partitions=1, roll=SMALL)
    table = batch(100)
    intake.post(table)
    settle(intake)
    if place.filesystem:
        duckdb.register_filesystem(place.filesystem)
    found = (
        duckdb.read_parquet(f"{place}/predictions/**/*.parquet", hive_partitioning=True)
        .aggregate("model, count(*)")
        .fetchall()
    )
    assert found == [("m", 100)]
    with place.open(files(intake)[0]) as file:
        assert ids(pq.read_table(file)) == ids(table)


def test_damaged_entries_are_left_out_of_files_and_answers(store, place):
    intake = Intake(store, place, partitions=1, roll=Roll(rows=10))
    for kind in ("p", "l"):
        store.do("XADD", keys.log("p0"), "*", "k", kind, "m", "m", "n", 5, "t", 0, "r", "{}", "b", b"noise")
    intake.post(batch(20))
    assert intake.archive.predictions("m", BEGIN, END).num_rows == 20
    settle(intake)
    assert len(files(intake)) == 1
    assert intake.archive.predictions("m", BEGIN, END).num_rows == 20


def test_a_model_without_rows_has_an_empty_table_with_the_usual_columns(store, place):
    table = Archive(Log(store, 1), place).predictions("m", BEGIN, END)
    assert table.column_names == ["prediction_id", "timestamp", "model_version", "prediction", "confidence"]
