import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from intake import BASELINE, Intake, batch
from test_retention import HOUR, SHAPE, Slot

from service.intake.folding.cells import Cells
from service.storage import keys
from service.storage.store import Store

SLICE_BYTES = SHAPE[0] * SHAPE[1] * 8


class Counted(Store):
    """Counts what is asked of the real store."""

    fetched = 0

    def do_all(self, commands):
        self.fetched += sum(words[0] == "HGETALL" for words in commands)
        return super().do_all(commands)


def slices(store, count: int) -> Slot:
    slot = Slot(store)
    slot.count({hour * HOUR: hour + 1 for hour in range(count)})
    return slot


@pytest.mark.parametrize("most_slices", [0, 1, 3, 100])
def test_readings_do_not_depend_on_how_much_is_held_in_memory(store, most_slices):
    slot = slices(store, 20)
    read = Cells(store, 1, most_bytes=most_slices * SLICE_BYTES)
    for _ in range(3):
        found = read.load(BASELINE)
        assert {start: vectors[0, 0] for start, vectors in found.items()} == {h * HOUR: h + 1 for h in range(20)}
        assert read._plain_bytes <= most_slices * SLICE_BYTES
        assert sum(vectors.nbytes for vectors in read._plain.values()) == read._plain_bytes
    slot.count({3 * HOUR: 5})
    assert read.load(BASELINE)[3 * HOUR][0, 0] == 9


def test_only_what_changed_is_fetched_again(server, store):
    slot = slices(store, 20)
    counted = Counted(server.url)
    read = Cells(counted, 1, most_bytes=0)
    read.load(BASELINE)
    assert counted.fetched == 20
    read.load(BASELINE, newest=3)
    slot.count({HOUR: 1, 19 * HOUR: 1})
    assert read.load(BASELINE, newest=1)[19 * HOUR][0, 0] == 21
    assert counted.fetched == 22
    counted.close()


def test_spans_and_the_newest_can_be_chosen(store):
    slices(store, 10)
    read = Cells(store, 1)
    assert list(read.load(BASELINE, since=7 * HOUR)) == [7 * HOUR, 8 * HOUR, 9 * HOUR]
    assert list(read.load(BASELINE, newest=2)) == [8 * HOUR, 9 * HOUR]
    assert list(read.load(BASELINE, since=9 * HOUR, newest=5)) == [9 * HOUR]


def test_what_was_read_cannot_be_written_to(store):
    slices(store, 2)
    read = Cells(store, 1, most_bytes=0)
    for _ in range(2):
        with pytest.raises(ValueError, match="read-only"):
            read.load(BASELINE)[0][0, 0] = 1


def test_a_packed_slice_is_much_smaller_and_the_same_to_the_last_bit(store, tmp_path):
    intake = Intake(store, tmp_path, partitions=1)
    intake.post(batch(600))
    intake.run()
    read = Cells(store, 1)
    known = read._refreshed(("p0", "m", "1", BASELINE.fingerprint), ["p0"], SHAPE)
    packed = sum(map(len, known.slices.values()))
    assert packed < len(known.slices) * SLICE_BYTES / 3
    (plain,) = (read.load(BASELINE) for _ in range(1))
    again = Cells(store, 1, most_bytes=0).load(BASELINE)
    assert all(np.array_equal(plain[start], again[start]) for start in plain)


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changes=st.lists(st.dictionaries(st.integers(0, 8), st.integers(-3, 9), min_size=1), min_size=1, max_size=8))
def test_the_total_is_the_sum_of_all_labelled_slices_at_any_time(store, changes):
    store.do("FLUSHALL")
    slot = Slot(store)
    shape = (SHAPE[0], BASELINE.layout.labelled_width)
    slot.ownership.slot = keys.LABELS
    slot.profiles._slot = keys.LABELS
    slot.ownership.is_held = False
    slot.ownership.claim()
    read, rows = Cells(store, 1, most_bytes=0), 0
    for change in changes:
        slot.profiles.add(BASELINE, {hour * HOUR: np.full(shape, float(n)) for hour, n in change.items()})
        slot.ownership.commit(slot.profiles.writes(int(slot.ownership.state.get("commits", "0")) + 1))
        rows += sum(change.values())
        total = read.total_labelled(BASELINE)
        assert total[0, 0] == rows
        assert np.array_equal(total, sum(read.load_labelled(BASELINE).values(), np.zeros(shape)))
