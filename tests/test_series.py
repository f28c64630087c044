import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from streams import START, predictions

from monitors.baseline.baselines import build
from monitors.compare import Comparison, Question
from monitors.counting.labelled import fold_labelled
from monitors.counting.profiles import fold
from monitors.counting.windows import Sums, add_up
from monitors.reading.twin import read_twin
from monitors.readings import Readings
from monitors.series import Series

HOUR = 3600
BASELINE = build(predictions(3000, seed=9), model="m", version="1", cuts=[["group"]], task="classification")
TABLE = predictions(2400, seed=1, shift=0.5, error=0.2, missing=0.1)
PROFILES, LABELLED = fold(BASELINE.layout, TABLE, HOUR), fold_labelled(BASELINE.layout, TABLE, HOUR)
COMPARISON = Comparison.to(BASELINE)
NOTHING_LN = float(np.log(20))
QUESTION = Question({}, "psi", "accuracy", estimate=True)
STARTS = sorted(PROFILES)
moments = st.lists(st.integers(1, len(STARTS)), min_size=1, max_size=4)
some_slices = st.frozensets(st.sampled_from(STARTS[:-1]), max_size=3)


def same(one: Readings, other: Readings) -> bool:
    """The same, but that evidence of next to nothing may be of nothing."""
    pairs = [
        (np.maximum(one.drift.evidence_ln, NOTHING_LN), np.maximum(other.drift.evidence_ln, NOTHING_LN)),
        (one.drift.size[seen(one)], other.drift.size[seen(one)]),
    ]
    pairs += [
        (getattr(getattr(one, part), name), getattr(getattr(other, part), name))
        for part, names in (
            ("performance", ("drop", "evidence_ln", "labelled_since_change", "estimate", "estimated_drop")),
            ("quality", ("share", "expected", "evidence_ln", "volume_ratio")),
        )
        for name in names
    ]
    # Of ln 20, from which on a size is worth watching, a twentieth.
    return one.at == other.at and all(np.allclose(a, b, rtol=1e-9, atol=0.05, equal_nan=True) for a, b in pairs)


def seen(readings: Readings) -> np.ndarray:
    return readings.drift.evidence_ln > NOTHING_LN


@settings(max_examples=25, deadline=None)
@given(moments, some_slices)
def test_a_series_reads_every_moment_as_a_comparison_would_have_then(slices, left_out):
    series, twin = Series(COMPARISON, PROFILES, LABELLED), read_twin([(30, 10)], 500)
    for count in slices:
        closed = STARTS[count - 1] + HOUR
        known = ({s: p for s, p in counts.items() if s < closed} for counts in (PROFILES, LABELLED))
        found = series.read(QUESTION, closed, closed, left_out, twin)
        assert same(found, COMPARISON.read(*known, QUESTION, found.at, left_out, twin))


@settings(max_examples=50, deadline=None)
@given(moments, some_slices)
def test_sums_give_the_windows_that_adding_up_gives(slices, left_out):
    sums = Sums(PROFILES, shape=BASELINE.counts.shape)
    for count in slices:
        until = STARTS[count - 1] + HOUR
        kept = {s: p for s, p in PROFILES.items() if s < until and s not in left_out}
        found = sums.without(left_out).windows(until)
        assert (found is None) == (not kept)
        if found is not None:
            expected = add_up(kept)
            assert found.used == expected.used
            np.testing.assert_array_equal(found.lengths, expected.lengths)
            np.testing.assert_array_equal(found.began, expected.began)
            np.testing.assert_allclose(found.counts, expected.counts, atol=1e-6)


@given(st.integers(0, 3 * HOUR))
def test_labels_of_a_slice_come_evenly(seconds):
    series, until = Series(COMPARISON, PROFILES, LABELLED), START + seconds
    rows = sum(LABELLED[s][0, 0] * min(1, max(0, until - s) / HOUR) for s in STARTS)
    assert np.isclose(series.total_labelled(until)[0, 0], rows)
    assert np.isclose(sum(p[0, 0] for p in series.newest_labelled(until, 100).values()), rows)


def test_before_the_first_slice_a_series_is_blind():
    found = Series(COMPARISON, PROFILES, LABELLED).read(QUESTION, START, START)
    assert not found.rows.any()
    assert found.last_row_at is None
