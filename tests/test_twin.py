"""The twin test: what it says of wins, and since when."""

from datetime import UTC, datetime, timedelta

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from monitors.reading.twin import dated, read_twin

HOUR = 3600
TESTS = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)), min_size=1, max_size=12)


def hours(rows: list[int]) -> dict[int, np.ndarray]:
    """Labelled slices of an hour each, oldest first."""
    return {HOUR * hour: np.array([[float(count)]]) for hour, count in enumerate(rows)}


@settings(max_examples=60, deadline=None)
@given(TESTS, st.lists(st.integers(1, 400), min_size=2, max_size=60), st.integers(0, 2_000))
def test_the_rows_of_a_reading_began_with_the_latest_slice_that_all_of_them_fit_behind(tests, rows, taught):
    reading = dated(read_twin(tests, 500), hours(rows), 500, taught)
    if reading.began is None:
        assert sum(rows[-1:]) >= reading.labelled + taught
        return
    began = int(reading.began.timestamp()) // HOUR
    fits = sum(rows[began:]) >= reading.labelled + taught
    assert fits or began == 0
    assert sum(rows[began + 1 :]) < reading.labelled + taught


def test_tests_are_as_far_apart_as_their_labels_take_to_come():
    reading = dated(read_twin([(60, 10)], 500), hours([100] * 48), 500, 1_000)
    assert reading.began == datetime.fromtimestamp(33 * HOUR, UTC)
    assert reading.apart == timedelta(hours=5)


def test_slices_of_a_broken_feed_are_not_counted():
    broken = {HOUR * hour for hour in range(40, 48)}
    reading = dated(read_twin([(60, 10)], 500), hours([100] * 48), 500, 1_000, broken)
    assert reading.began == datetime.fromtimestamp(25 * HOUR, UTC)


def test_nothing_is_dated_without_labels():
    assert dated(read_twin([(60, 10)], 500), {}, 500, 1_000).began is None
