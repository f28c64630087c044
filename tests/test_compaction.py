import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import count

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from houses import ingest, open_shop
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from intake import NOON, Intake, batch
from streams import predictions

from service.errors import ArchiveAway
from service.forgetting import forget_copies
from service.intake.archive.archive import Archive
from service.intake.archive.archiving import Roll
from service.intake.archive.compaction import FEWEST, GRACE, Compaction
from service.intake.archive.files import decode
from service.intake.bodies.wire import Batch
from service.jobs import Jobs
from service.storage import keys
from service.storage.files import Files
from service.storage.store import Store

BEGIN, END = datetime(1970, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)
TOMORROW = NOON + timedelta(days=1)
FOREVER = timedelta(days=3650)


@pytest.fixture(params=["folder", "s3"])
def place(request, tmp_path) -> Files:
    return Files(tmp_path if request.param == "folder" else request.getfixturevalue("object_storage").place())


def compaction(intake: Intake, most_rows: int = 10_000, keep: timedelta = FOREVER, **parts) -> Compaction:
    found = {"store": intake.store, "files": Files.of(intake.folder), **parts}
    return Compaction(found["store"], intake.log.partitions, found["files"], most_rows=most_rows, keep=keep)


def small_files(store: Store, place: Files, files: int, rows: int = 20, partitions: int = 1) -> Intake:
    intake = Intake(store, place, partitions=partitions, roll=Roll(rows=rows))
    add(intake, files, rows)
    return intake


def add(intake: Intake, files: int, rows: int = 20, begin: int = 0) -> None:
    for number in range(begin, begin + files):
        intake.post(batch(rows, seed=number), f"key{number}")
        settle(intake)


def settle(intake: Intake) -> None:
    intake.run()
    while writing := [p._archiver._writing[1] for p in intake.worker._partitions if p._archiver._writing]:
        [future.exception(timeout=30) for future in writing]
        intake.worker.step()


def listed(intake: Intake) -> list:
    slots = [keys.slot(number) for number in range(intake.log.partitions)]
    return [file for slot in slots for file in decode(intake.store.do("LRANGE", keys.files(slot), 0, -1))]


def rows(archive: Archive) -> list[dict]:
    return archive.predictions("m", BEGIN, END).to_pylist()


def raw(intake: Intake) -> Counter:
    """Every row in every listed file, copies too, which no reader's query could hide."""
    found: Counter = Counter()
    for listing in listed(intake):
        with Files.of(intake.folder).open(listing.path) as file:
            table = pq.read_table(file)
        assert table.num_rows == listing.rows
        found.update((row["log_partition"], row["log_id"], row["log_row"]) for row in table.to_pylist())
    return found


def test_small_files_of_a_day_become_one_and_all_rows_stay_as_they_were(any_store, place):
    intake = small_files(any_store, place, 5)
    before, read, parts = rows(intake.archive), intake.archive, raw(intake)
    assert compaction(intake).step(TOMORROW) == 5
    assert [file.rows for file in listed(intake)] == [100]
    assert rows(read) == rows(Archive(intake.log, place)) == before
    assert raw(intake) == parts
    assert compaction(intake).step(TOMORROW) == 0


def test_a_day_that_is_not_over_waits_for_enough_files(store, tmp_path):
    intake = small_files(store, tmp_path, FEWEST - 1)
    assert compaction(intake).step(NOON) == 0
    add(intake, 1, begin=FEWEST)
    assert compaction(intake).step(NOON) == FEWEST


def test_no_file_grows_beyond_the_rows_asked_for_and_large_ones_are_left_alone(store, tmp_path):
    intake = small_files(store, tmp_path, 10)
    while compaction(intake, most_rows=70).step(TOMORROW):
        pass
    assert sorted(file.rows for file in listed(intake)) == [20, 60, 60, 60]
    assert compaction(intake, most_rows=0).step(TOMORROW) == 0


def test_files_of_other_columns_types_kinds_models_and_days_stay_apart(store, tmp_path):
    intake = Intake(store, tmp_path, partitions=1, roll=Roll(rows=20))
    plain = batch(20)
    news = [plain.append_column("feature_new", pa.array([value] * 20)) for value in (1.0, "a")]
    for number, table in enumerate([plain, *news, plain, *news]):
        intake.post(table, f"key{number}")
        settle(intake)
    intake.ingest.accept_predictions("other", Batch(plain), "o", "b", NOON)
    intake.label([f"p{number}" for number in range(20)], ["fit"] * 20)
    settle(intake)
    intake.now += timedelta(days=1)
    intake.post(batch(20, seed=9), "tomorrow")
    settle(intake)
    before = rows(intake.archive)
    while compaction(intake).step(NOON + timedelta(days=2)):
        pass
    assert sorted(file.rows for file in listed(intake)) == [20, 20, 20, 40, 40, 40]
    assert rows(intake.archive) == before


def test_files_whose_columns_only_stand_in_another_order_are_put_together(store, tmp_path):
    intake = Intake(store, tmp_path, partitions=1, roll=Roll(rows=20))
    table = batch(20)
    intake.post(table, "one")
    settle(intake)
    intake.post(batch(20, seed=1).select(table.column_names[::-1]), "two")
    settle(intake)
    before = rows(intake.archive)
    assert compaction(intake).step(TOMORROW) == 2
    assert rows(intake.archive) == before


def test_replaced_files_stay_until_no_reader_can_be_at_them(store, place):
    intake = small_files(store, place, 3)
    old = [file.path for file in listed(intake)]
    tidy = compaction(intake)
    tidy.step(TOMORROW)
    files = Files.of(intake.folder)
    tidy.step(TOMORROW + GRACE / 2)
    assert all(files.holds(path) for path in old)
    tidy.step(TOMORROW + GRACE)
    assert not any(files.holds(path) for path in old)
    assert store.do("ZCARD", keys.dropped("p0")) == 0
    assert len(rows(intake.archive)) == 60


class Dies:
    """Stands before a real part and dies at the nth call, before or after it was done."""

    def __init__(self, part: object, calls: Iterator[int], at: int, *, after: bool) -> None:
        self._part, self._calls, self._at, self._after = part, calls, at, after

    def __getattr__(self, name: str):
        found = getattr(self._part, name)
        if name not in {"do", "do_all", "run", "write", "remove"}:
            return found

        def call(*given, **named):
            is_last = next(self._calls) == self._at
            if is_last and not self._after:
                raise Killed
            answer = found(*given, **named)
            if is_last:
                raise Killed
            return answer

        return call


class Killed(BaseException):
    pass


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_death_at_any_step_loses_and_doubles_no_row(store, tmp_path, after):
    deaths = 0
    for at in range(40):
        store.do("FLUSHALL")
        place = Files(tmp_path / str(at))
        intake = small_files(store, place, 4)
        expected, held, before = rows(intake.archive), intake.archive, raw(intake)
        calls = count()
        dying = compaction(intake, store=Dies(store, calls, at, after=after), files=Dies(place, calls, at, after=after))
        try:
            dying.step(TOMORROW)
            dying.step(TOMORROW + GRACE)
        except Killed:
            deaths += 1
        else:
            assert next(calls) == at
            break
        assert raw(intake) == before
        assert rows(held) == expected
        tidy = compaction(intake)
        tidy.step(TOMORROW)
        add(intake, 1, begin=100)
        while tidy.step(TOMORROW + 2 * GRACE):
            pass
        tidy.step(TOMORROW + 4 * GRACE)
        assert len(raw(intake)) == 100
        assert set(raw(intake).values()) == {1}
        # Nothing that is in no list is left behind: whoever reads the folder itself sees each row once.
        assert sorted(str(path.relative_to(place.folder())) for path in place.folder().rglob("*.parquet")) == sorted(
            file.path for file in listed(intake)
        )
    assert deaths > 8


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_order_of_posting_archiving_tidying_and_reading_shows_each_row_once(store, tmp_path_factory, data):
    store.do("FLUSHALL")
    intake = Intake(store, tmp_path_factory.mktemp("archive"), partitions=2, roll=Roll(rows=20))
    tidies = [compaction(intake, most_rows=70) for _ in range(2)]
    sent, now = 0, TOMORROW
    for number in range(data.draw(st.integers(5, 25))):
        match data.draw(st.sampled_from(["post", "archive", "tidy", "wait"])):
            case "post":
                rows_sent = data.draw(st.integers(1, 30))
                intake.post(batch(rows_sent, seed=number), f"key{number}")
                sent += rows_sent
            case "archive":
                intake.run()
            case "tidy":
                data.draw(st.sampled_from(tidies)).step(now)
            case _:
                now += GRACE
        assert len(rows(intake.archive)) == sent


def test_who_is_told_to_end_leaves_the_file_for_the_next_one(store, place):
    intake = small_files(store, place, 3)
    before = raw(intake)
    told = Compaction(store, 1, Files.of(intake.folder), most_rows=10_000, keep=FOREVER, goes_on=lambda: False)
    assert told.step(TOMORROW) == 0
    assert (raw(intake), len(listed(intake))) == (before, 3)
    assert compaction(intake).step(TOMORROW) == 3
    assert (raw(intake), len(listed(intake))) == (before, 1)


def test_two_that_tidy_at_once_do_it_once(store, tmp_path):
    intake = small_files(store, tmp_path, 6)
    before = raw(intake)
    second = compaction(intake)

    class Meanwhile(Files):
        def write(self, path, fill):
            super().write(path, fill)
            assert second.step(TOMORROW) == 6

    assert compaction(intake, files=Meanwhile(tmp_path)).step(TOMORROW) == 0
    assert raw(intake) == before
    assert len(listed(intake)) == 1
    assert store.do("ZCARD", keys.dropped("p0")) == 6


def test_rows_are_forgotten_so_many_days_after_they_came(store, place):
    intake = small_files(store, place, 2)
    intake.now += timedelta(days=10)
    add(intake, 2, begin=10)
    read = intake.archive
    tidy = compaction(intake, keep=timedelta(days=30))
    assert len(rows(read)) == 80
    end_of_day = NOON.replace(hour=0) + timedelta(days=1)
    tidy.step(end_of_day + timedelta(days=29))
    assert len(rows(read)) == 80
    while tidy.step(end_of_day + timedelta(days=30)):
        pass
    assert len(rows(read)) == 40
    tidy.step(end_of_day + timedelta(days=31))
    assert all(Files.of(intake.folder).holds(file.path) for file in listed(intake))
    assert sum(raw(intake).values()) == 40


def test_an_archive_that_is_away_is_tidied_later(store, object_storage):
    intake = small_files(store, Files(object_storage.place(), beats=count(step=60).__next__), 3)
    before = rows(intake.archive)
    object_storage.stop()
    try:
        with pytest.raises(ArchiveAway):
            compaction(intake).step(TOMORROW)
    finally:
        object_storage.start()
    assert compaction(intake).step(TOMORROW) == 3
    assert rows(intake.archive) == before


def test_a_file_that_is_shorter_than_its_record_is_not_put_into_another(store, tmp_path):
    intake = small_files(store, tmp_path, 3)
    broken = tmp_path / listed(intake)[1].path
    pq.write_table(pq.read_table(broken).slice(0, 5), broken)
    with pytest.raises(ArchiveAway, match="should hold 60 rows, found 45"):
        compaction(intake).step(TOMORROW)
    assert len(listed(intake)) == 3


@pytest.mark.usefixtures("store")
def test_the_leader_tidies_the_archive_and_nobody_else_does(server, tmp_path):
    with open_shop(server, tmp_path, archive_rows=10) as house:
        ingest(house, predictions(40, seed=1))
        slots = [keys.slot(number) for number in range(house.log.partitions)]

        def held() -> list[bytes]:
            return [record for slot in slots for record in house.store.do("LRANGE", keys.files(slot), 0, -1)]

        jobs = Jobs(replace(house, clock=lambda: NOON + timedelta(days=400)), None)
        jobs._tidy()
        assert held()
        jobs._lead()
        jobs._tidy()
        assert not held()


def test_copies_of_old_rows_are_forgotten_and_models_and_reports_stay(tmp_path):
    for number, folder in enumerate(("retrainings/r-1", "evidence/d-1", "retrainings/r-2")):
        for name in ("rows.parquet", "model.skops", "report.html"):
            path = tmp_path / folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("x")
            at = (NOON + timedelta(days=number)).timestamp()
            os.utime(path, (at, at))
    assert forget_copies(tmp_path, NOON + timedelta(days=1, seconds=1)) == 2
    left = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.parquet")}
    assert left == {"retrainings/r-2/rows.parquet"}
    assert len(list(tmp_path.rglob("*.*"))) == 7
    assert forget_copies(tmp_path / "nothing", NOON) == 0
