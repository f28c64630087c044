from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from intake import BASELINE, NOON, Intake, batch

from service.errors import ArchiveAway, StaleOwner, StoreAway
from service.intake.folding.cells import Cells
from service.intake.folding.open_profiles import OpenProfiles
from service.intake.folding.retention import PAUSE, Keep, Retention
from service.intake.joining import joiner
from service.storage.files import Files
from service.storage.ownership import Ownership

HOUR, DAY = 3600, 86_400
NEWEST = 5
SHAPE = (len(BASELINE.layout.segments), BASELINE.layout.width)
OWNER = (BASELINE.model, BASELINE.version, BASELINE.fingerprint)
LATER = datetime.fromtimestamp(400 * DAY, UTC)
FOREVER = timedelta(days=3650)
A_MONTH_ON = LATER + timedelta(days=31)


class Slot:
    """One slot with profiles that tests count into, and a reader that has seen everything all along."""

    def __init__(self, store, keep: Keep | None = None, *, sums_stay: bool = False) -> None:
        self.store = store
        self.profiles = OpenProfiles(store, "p0")
        self.ownership = Ownership(store, "p0", "me", alone=True)
        self.ownership.claim()
        self.retention = Retention(store, "p0", keep or Keep(), newest=NEWEST, sums_stay=sums_stay)
        self.reader = Cells(store, 1)

    def count(self, counts: dict[int, int]) -> None:
        """So many rows in each slice, the more the later the column: no two cells are alike."""
        vectors = {start: np.full(SHAPE, float(rows)) + np.arange(SHAPE[1]) * rows for start, rows in counts.items()}
        self.profiles.add(BASELINE, vectors)
        self.ownership.commit(self.profiles.writes(int(self.ownership.state.get("commits", "0")) + 1))

    def tidy(self, now: datetime = LATER) -> int:
        gone = 0
        while more := self.retention.step(self.ownership, self.profiles, now):
            gone += more
        return gone

    def rows(self) -> dict[int, float]:
        found = self.reader.load(BASELINE)
        fresh = Cells(self.store, 1, most_bytes=0).load(BASELINE)
        assert found.keys() == fresh.keys()
        assert all(np.array_equal(found[start], fresh[start]) for start in found)
        assert all(np.array_equal(vectors[:, 1], 2 * vectors[:, 0]) for vectors in found.values())
        return {start: float(vectors[0, 0]) for start, vectors in found.items()}


def hours(days: range, hours_of_day: range = range(24)) -> dict[int, int]:
    return {day * DAY + hour * HOUR: 1 for day in days for hour in hours_of_day}


def test_old_slices_become_days_and_the_newest_stay_as_they_were(any_store):
    slot = Slot(any_store)
    slot.count(hours(range(10, 13)))
    slot.rows()
    assert slot.tidy() == 2 * 23
    # The third day holds the newest slices: all of it is left alone.
    assert slot.rows() == {10 * DAY: 24.0, 11 * DAY: 24.0, **dict.fromkeys(hours(range(12, 13)), 1.0)}
    assert slot.tidy() == 0


def test_slices_that_are_not_old_stay_however_many_there_are(store):
    slot = Slot(store, Keep(slices=timedelta(days=30)))
    slot.count(hours(range(10, 20)))
    now = datetime.fromtimestamp(12 * DAY, UTC) + timedelta(days=30)
    assert slot.tidy(now) == 2 * 23
    assert min(hours(range(12, 13))) in slot.rows()


def test_a_row_that_comes_late_for_a_day_that_was_added_up_is_counted_once(store):
    slot = Slot(store)
    slot.count(hours(range(10, 13)))
    slot.tidy()
    slot.count({10 * DAY: 1, 10 * DAY + 5 * HOUR: 1})
    assert slot.rows()[10 * DAY] == 25
    assert sum(slot.rows().values()) == 74
    slot.tidy(LATER + PAUSE)
    assert slot.rows()[10 * DAY] == 26


def test_it_is_done_now_and_then_and_a_part_at_a_time(store):
    slot = Slot(store)
    slot.count(hours(range(10, 40), range(2)))
    assert slot.retention.step(slot.ownership, slot.profiles, LATER) == 8
    assert sum(slot.rows().values()) == 60
    slot.tidy()
    slot.count(hours(range(5, 9)))
    assert slot.tidy(LATER + PAUSE - timedelta(seconds=1)) == 0
    assert slot.tidy(LATER + PAUSE) == 4 * 23


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_whatever_comes_in_whatever_order_no_count_is_lost_and_the_newest_slices_are_untouched(store, data):
    store.do("FLUSHALL")
    slot, expected = Slot(store), {}
    now = LATER
    for _ in range(data.draw(st.integers(3, 15))):
        match data.draw(st.sampled_from(["count", "tidy", "step", "restart", "read"])):
            case "count":
                places = st.integers(10 * 24, 14 * 24).map(lambda hour: hour * HOUR)
                counts = data.draw(st.dictionaries(places, st.integers(1, 5), min_size=1, max_size=30))
                slot.count(counts)
                expected = {start: expected.get(start, 0) + counts.get(start, 0) for start in expected | counts}
            case "tidy":
                now += PAUSE
                slot.tidy(now)
            case "step":
                now += PAUSE
                slot.retention.step(slot.ownership, slot.profiles, now)
            case "restart":
                reader = slot.reader
                slot = Slot(store)
                slot.reader = reader
            case _:
                slot.rows()
        found = slot.rows()
        assert sum(found.values()) == sum(expected.values())
        newest = sorted(expected)[-NEWEST:]
        assert {start: found[start] for start in sorted(found)[-NEWEST:]} == {s: expected[s] for s in newest}


@pytest.mark.parametrize("dies", ["before", "after"])
def test_a_death_while_adding_up_changes_no_count(store, dies, monkeypatch):
    slot = Slot(store)
    slot.count(hours(range(10, 13)))
    commit = slot.ownership.commit

    def die(*given, **named):
        if dies == "after":
            commit(*given, **named)
        raise StoreAway("killed")

    monkeypatch.setattr(slot.ownership, "commit", die)
    with pytest.raises(StoreAway):
        slot.tidy()
    next_owner = Slot(store)
    next_owner.count({10 * DAY + HOUR: 1, 12 * DAY: 1})
    next_owner.tidy()
    assert sum(next_owner.rows().values()) == 74
    assert next_owner.rows()[10 * DAY] == 25


def test_who_lost_the_slot_adds_nothing_up(store):
    stale = Slot(store)
    stale.count(hours(range(10, 13)))
    Slot(store)
    with pytest.raises(StaleOwner):
        stale.tidy()
    assert len(stale.rows()) == 72


# ---- profiles that leave the store


def closed(folder, slot: str = "p0") -> dict[int, float]:
    """Rows by slice in all files of profiles, each slice in one file only."""
    found: dict[int, float] = {}
    for path in sorted(folder.glob(f"profiles/model=m/version=1/*-{slot}-*.parquet")):
        table = pq.read_table(path)
        assert table.schema.metadata[b"fingerprint"].decode() == BASELINE.fingerprint
        for row in table.to_pylist():
            if row["segment"] == 0:
                start = int(row["slice"].timestamp())
                assert start not in found
                found[start] = row["counts"][0]
                assert len(row["counts"]) == SHAPE[1]
    return found


def retired(folder, **ages) -> Keep:
    return Keep(in_service=lambda *_: False, files=Files.of(folder), **ages)


def test_profiles_of_a_version_out_of_service_move_to_the_archive(any_store, tmp_path):
    slot = Slot(any_store, retired(tmp_path, profiles=FOREVER))
    slot.count(hours(range(10, 20)))
    slot.tidy()
    slot.tidy(LATER + timedelta(days=30, seconds=-1))
    assert not closed(tmp_path)
    slot.tidy(LATER + timedelta(days=30) + PAUSE)
    # What was added up before is a day now; nothing is missing and nothing is there twice.
    assert sum(closed(tmp_path).values()) == 240
    assert slot.rows() == {}
    left = [key for found in any_store.do_everywhere("KEYS", "*") for key in found]
    assert [key for key in left if b"cells" in key or b"slices" in key or b"profiles" in key] == []


def test_rows_of_long_ago_that_come_now_are_news_and_stay(store, tmp_path):
    slot = Slot(store, retired(tmp_path, profiles=FOREVER))
    slot.count({DAY: 1})
    slot.tidy()
    later = LATER + timedelta(days=29)
    slot.count({DAY: 1, 2 * DAY: 1})
    slot.tidy(later)
    slot.tidy(later + timedelta(days=29))
    assert sum(slot.rows().values()) == 3
    slot.tidy(later + timedelta(days=31))
    assert (closed(tmp_path), slot.rows()) == ({DAY: 2.0, 2 * DAY: 1.0}, {})


def test_a_version_in_service_stays_and_so_does_one_with_new_rows(store, tmp_path):
    served = Slot(store, Keep(profiles=FOREVER, files=Files(tmp_path)))
    served.count(hours(range(10, 20)))
    served.tidy()
    served.tidy(LATER + timedelta(days=60))
    assert sum(served.rows().values()) == 240
    shadow = Slot(store, retired(tmp_path, profiles=FOREVER))
    shadow.count({380 * DAY: 1})
    shadow.tidy(LATER + timedelta(days=61))
    assert sum(shadow.rows().values()) == 241
    assert not closed(tmp_path)


def test_very_old_slices_of_a_version_in_service_move_too_unless_their_sum_is_read(store, tmp_path):
    keep = Keep(profiles=timedelta(days=365), files=Files(tmp_path))
    summed = Slot(store, keep, sums_stay=True)
    summed.count(hours(range(10, 50), range(1)))
    assert summed.tidy() == 0
    slot = Slot(store, keep)
    slot.tidy()
    assert closed(tmp_path) == dict.fromkeys(hours(range(10, 35), range(1)), 1.0)
    assert slot.rows() == dict.fromkeys(hours(range(35, 50), range(1)), 1.0)


@pytest.mark.parametrize("dies", ["before", "after"])
def test_a_death_while_closing_leaves_each_slice_in_one_place(store, tmp_path, dies, monkeypatch):
    slot = Slot(store, retired(tmp_path, profiles=FOREVER, slices=timedelta(days=30)))
    slot.count(hours(range(10, 40), range(10)))
    slot.retention.step(slot.ownership, slot.profiles, datetime.fromtimestamp(39 * DAY, UTC))
    commit, died = slot.ownership.commit, []

    def die(*given, **named):
        if died or not named.get("closed"):
            return commit(*given, **named)
        died.append(True)
        if dies == "after":
            commit(*given, **named)
        raise StoreAway("killed")

    monkeypatch.setattr(slot.ownership, "commit", die)
    with pytest.raises(StoreAway):
        slot.tidy(A_MONTH_ON)
    next_owner = Slot(store, retired(tmp_path, profiles=FOREVER))
    next_owner.tidy(A_MONTH_ON)
    assert closed(tmp_path) == dict.fromkeys(hours(range(10, 40), range(10)), 1.0)
    # It comes back: what is counted from now on is a story of its own, in a file of its own.
    next_owner.count({12 * DAY: 7})
    assert next_owner.rows() == {12 * DAY: 7}
    before = len(list(tmp_path.rglob("*.parquet")))
    next_owner.tidy(A_MONTH_ON + PAUSE)
    next_owner.tidy(A_MONTH_ON + timedelta(days=31))
    assert len(list(tmp_path.rglob("*.parquet"))) == before + 1


def test_profiles_stay_in_the_store_while_the_archive_is_away(store, object_storage, caplog):
    files = Files(object_storage.place())
    slot = Slot(store, retired(files, profiles=FOREVER))
    slot.count(hours(range(10, 12)))
    slot.tidy()
    object_storage.stop()
    try:
        assert slot.tidy(A_MONTH_ON) == 0
        assert sum(slot.rows().values()) == 48
        assert "stay in the store" in caplog.text
        with pytest.raises(ArchiveAway):
            files.put("probe", b"")
    finally:
        object_storage.start()


# ---- in the whole intake


def test_a_label_corrected_in_a_slice_that_was_added_up_is_counted_once(store, tmp_path, monkeypatch):
    monkeypatch.setattr(joiner, "MOST_SLICES", 2)
    intake = Intake(store, tmp_path, partitions=1)
    table = batch(3000)
    intake.post(table)
    names = table.column("prediction_id").to_pylist()
    intake.label(names, ["fit"] * 3000)
    intake.run()
    assert len(intake.cells.load_labelled(BASELINE)) == 50
    fit = intake.cells.total_labelled(BASELINE)
    intake.now = NOON + timedelta(days=40)
    intake.run()
    assert len(intake.cells.load_labelled(BASELINE)) == 4
    intake.label(names[:10], ["returns"] * 10)
    intake.run()
    corrected = intake.cells.total_labelled(BASELINE)
    assert corrected[0, 0] == fit[0, 0] == 3000
    assert not np.array_equal(corrected, fit)
    intake.now += PAUSE
    intake.run()
    assert np.array_equal(intake.cells.total_labelled(BASELINE), corrected)
    assert np.array_equal(Cells(store, 1).total_labelled(BASELINE), corrected)
    intake.label(names[:10], ["fit"] * 10)
    intake.run()
    assert np.array_equal(intake.cells.total_labelled(BASELINE), fit)
