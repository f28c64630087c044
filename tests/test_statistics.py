import os
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from streams import predictions

from monitors.baseline.baselines import build
from monitors.columns.bins import Lookup, quantile_edges
from monitors.counting.profiles import fold
from monitors.statistics.corrections import corrected, sampling_part, take_off
from monitors.statistics.formulas import FORMULAS, RAW, STATISTICS, every, missing_share
from monitors.statistics.p_values import p_value
from monitors.statistics.shares import Pair, normal_scores, plain_shares, smoothed_shares

DISTANCES = {"jensenshannon", "hellinger", "TVD", "ks", "wasserstein"}
FREE_OF_ORDER = ("psi", "kl_div", "jensenshannon", "hellinger", "TVD")


# --- Laws of every statistic


def counts(bins: int, most: int = 500) -> st.SearchStrategy[np.ndarray]:
    return st.lists(st.integers(0, most), min_size=bins, max_size=bins).filter(any).map(np.asarray).map(np.float64)


@pytest.mark.parametrize("form", [RAW, STATISTICS], ids=["raw", "smoothed"])
@pytest.mark.parametrize("name", FORMULAS)
@given(now=counts(6), before=counts(6))
@settings(max_examples=50, deadline=None)
def test_a_statistic_is_zero_for_equal_shares_and_finite_and_not_below_zero_for_others(form, name, now, before):
    assert form[name](before, before) == 0
    assert 0 <= form[name](now, before) + 1e-12 < np.inf


@pytest.mark.parametrize("form", [RAW, STATISTICS], ids=["raw", "smoothed"])
@pytest.mark.parametrize("name", FORMULAS)
def test_many_columns_at_once_read_as_each_alone(form, name):
    rng = np.random.default_rng(0)
    now, before = rng.integers(0, 9, (3, 4, 7)).astype(float), rng.integers(0, 99, (4, 7)).astype(float)
    together = form[name](now, before)
    alone = [[form[name](now[i, j], before[j]) for j in range(4)] for i in range(3)]
    np.testing.assert_allclose(together, alone, atol=1e-12)


@pytest.mark.parametrize("name", FORMULAS)
def test_bins_that_only_pad_a_narrow_column_change_nothing(name):
    rng = np.random.default_rng(1)
    now, before = rng.integers(1, 9, (5, 4)).astype(float), rng.integers(1, 99, (5, 4)).astype(float)
    wide_now, wide_before = (np.pad(x, ((0, 0), (0, 3))) for x in (now, before))
    np.testing.assert_allclose(RAW[name](wide_now, wide_before), RAW[name](now, before), atol=1e-12)
    padded = FORMULAS[name](Pair.smoothed(wide_now, wide_before, there=wide_before > 0))
    np.testing.assert_allclose(padded, STATISTICS[name](now, before), atol=1e-12)
    shares, padded_shares = smoothed_shares(before), smoothed_shares(wide_before, wide_before > 0)
    np.testing.assert_allclose(sampling_part(name, padded_shares), sampling_part(name, shares), atol=1e-12)


def test_all_statistics_of_one_pair_are_those_read_one_by_one():
    rng = np.random.default_rng(2)
    now, before = rng.integers(0, 9, (20, 7)).astype(float), rng.integers(0, 99, (20, 7)).astype(float)
    for form, pair in ((RAW, Pair.plain(now, before)), (STATISTICS, Pair.smoothed(now, before))):
        found = every(pair)
        assert set(found) == set(form)
        for name, value in found.items():
            np.testing.assert_array_equal(value, form[name](now, before))


def test_no_rows_read_as_not_known():
    nothing, something = np.zeros(3), np.array([1.0, 2.0, 3.0])
    assert all(np.isnan(read(nothing, something)) and np.isnan(read(something, nothing)) for read in RAW.values())
    assert np.isnan(missing_share(np.array(0.0), np.array(0.0)))


def test_scores_given_beforehand_read_as_those_found_again():
    rng = np.random.default_rng(3)
    now, before = rng.integers(0, 9, (20, 7)).astype(float), rng.integers(0, 99, (20, 7)).astype(float)
    shares = smoothed_shares(before)
    pair = Pair.smoothed(now, before, scores=normal_scores(shares))
    np.testing.assert_allclose(every(pair)["wasserstein"], STATISTICS["wasserstein"](now, before), atol=1e-12)
    given_scores = sampling_part("wasserstein", shares, normal_scores(shares))
    np.testing.assert_allclose(given_scores, sampling_part("wasserstein", shares), atol=1e-12)


# --- Parity with Evidently 0.7.23 itself


class Evidently:
    """The real thing: its scores of two samples, current first, by the names of its statistics."""

    def __init__(self):
        os.environ["DO_NOT_TRACK"] = "1"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import pandas as pd
            from evidently import Dataset, Report
            from evidently.legacy.calculations import stattests
            from evidently.legacy.calculations.stattests.tvd_stattest import _total_variation_distance
            from evidently.legacy.core import ColumnType
            from evidently.metrics import MissingValueCount
        self.series, self.frame, self.kinds = pd.Series, pd.DataFrame, ColumnType
        self.tests = stattests
        self.tvd = _total_variation_distance
        self.report, self.dataset, self.missing = Report, Dataset, MissingValueCount

    def score(self, name, current, baseline, kind="Categorical") -> float:
        before, now = self.series(baseline), self.series(current)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a division by an empty bin, which it means to make
            if name == "TVD":  # its score is a p-value by permutations; this is the distance that it permutes
                return float(self.tvd(before, now))
            func = {"chisquare": "chi_stat_test", "g_test": "g_test"}.get(name, f"{name}_stat_test")
            return float(getattr(self.tests, func)(before, now, getattr(self.kinds, kind), None).drift_score)

    def missing_share(self, values) -> float:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it divides by the rows with a value, which may be none
            data = self.dataset.from_pandas(self.frame({"x": values}))
            result = self.report([self.missing(column="x")]).run(data, None)
        return float(result.dict()["metrics"][0]["value"]["share"])


@pytest.fixture(scope="module")
def evidently() -> Evidently:
    return Evidently()


def agree(ours: float, theirs: float) -> bool:
    """The same value, to within rounding; a root of nearly nothing is compared by its square."""
    return abs(ours - theirs) <= 1e-9 or abs(ours**2 - theirs**2) <= 1e-14


def rows_of(counts: np.ndarray) -> np.ndarray:
    return np.repeat([f"v{i}" for i in range(len(counts))], counts.astype(int))


FEW_OR_MANY = st.lists(st.sampled_from([0, 0, 1, 2, 7, 50, 300, 12_000]), min_size=4, max_size=4)
CATEGORIES = FEW_OR_MANY.filter(any).map(np.asarray).map(np.float64)


@given(now=CATEGORIES, before=CATEGORIES)
@settings(max_examples=40, deadline=None)
def test_categories_read_as_in_evidently(evidently, now, before):
    current, baseline = rows_of(now), rows_of(before)
    for name in FREE_OF_ORDER:
        ours, theirs = float(RAW[name](now, before)), evidently.score(name, current, baseline)
        assert agree(ours, theirs), (name, ours, theirs)
    if ((now > 0) | (before > 0)).sum() > 1:  # of a single value Evidently's p is NaN, ours 1
        assert agree(float(p_value("chisquare", now, before)), evidently.score("chisquare", current, baseline))


@pytest.mark.parametrize("seed", range(20))
def test_the_effect_sizes_are_those_behind_evidentlys_p_values(evidently, seed):
    from scipy.stats import chi2

    rng = np.random.default_rng(seed)
    now, before = (rng.multinomial(400, rng.dirichlet(np.full(5, 30.0))).astype(float) for _ in range(2))
    for name, statistic in (("chisquare", 400.0), ("g_test", 800.0)):
        theirs = evidently.score(name, rows_of(now), rows_of(before))
        assert agree(float(p_value(name, now, before)), theirs)
        assert agree(float(chi2.sf(statistic * RAW[name](now, before), 4)), theirs)


def test_evidentlys_g_test_fails_where_ours_scales_the_baseline(evidently):
    now, before = np.array([30.0, 70.0]), np.array([500.0, 500.0])
    with pytest.raises(ValueError, match="must agree"):
        evidently.score("g_test", rows_of(now), rows_of(before))
    assert agree(float(p_value("g_test", now, before)), evidently.score("g_test", rows_of(now), rows_of(before / 10)))


@pytest.mark.parametrize("seed", range(20))
def test_numbers_on_evidentlys_own_bins_read_as_in_evidently(evidently, seed):
    rng = np.random.default_rng(seed)
    baseline, current = rng.uniform(0, 1, 700), rng.beta(1 + rng.random(), 1.2, 300)
    edges = np.histogram_bin_edges(np.concatenate([baseline, current]), bins="sturges")
    before, now = (np.histogram(values, edges)[0].astype(float) for values in (baseline, current))
    for name in ("psi", "kl_div", "jensenshannon", "hellinger"):
        assert agree(float(RAW[name](now, before)), evidently.score(name, current, baseline, "Numerical")), name


VALUES = np.array([-3.0, 0.0, 0.5, 2.0, 40.0])


@given(now=counts(5, 60), before=counts(5, 300))
@settings(max_examples=40, deadline=None)
def test_numbers_of_few_values_read_as_in_evidently(evidently, now, before):
    current, baseline = np.repeat(VALUES, now.astype(int)), np.repeat(VALUES, before.astype(int))
    shifted = float(FORMULAS["wasserstein"](Pair.plain(now, before, scores=VALUES)))
    theirs = evidently.score("wasserstein", current, baseline, "Numerical")
    assert shifted == pytest.approx(theirs, rel=1e-9, abs=1e-9)
    assert agree(float(p_value("ks", now, before)), evidently.score("ks", current, baseline, "Numerical"))


def test_the_bins_of_a_baseline_of_few_values_give_evidentlys_ks(evidently):
    rng = np.random.default_rng(0)
    baseline, current = rng.choice(VALUES, 900).astype(np.float32), rng.choice(VALUES[1:], 300).astype(np.float32)
    lookup = Lookup.of(quantile_edges(baseline, 10))
    before, now = (
        np.bincount(lookup.bins(v), minlength=len(lookup.edges) + 1).astype(float) for v in (baseline, current)
    )
    assert agree(float(p_value("ks", now, before)), evidently.score("ks", current, baseline, "Numerical"))
    assert 0.1 < RAW["ks"](now, before) < 0.3


@pytest.mark.parametrize("missing", [0.0, 0.1, 1.0])
def test_the_share_of_missing_values_is_evidentlys(evidently, missing):
    table = predictions(400, seed=5, missing=missing)
    layout = build(predictions(500), model="m", version="1", cuts=[], task="classification").layout
    profile = sum(fold(layout, table, 3600).values())[0]
    column = [c.name for c in layout.columns].index("x1")
    ours = float(missing_share(layout.column_extra(profile, column)[0], profile[0]))
    assert agree(ours, evidently.missing_share(table.column("feature_x1").to_pandas()))


def test_another_definition_fails_the_same_comparison(evidently):
    now, before = np.array([30.0, 70.0, 0.0]), np.array([400.0, 500.0, 100.0])
    p, q = plain_shares(now), plain_shares(before)
    there = p > 0
    left_out = float(((p - q)[there] * np.log(p[there] / q[there])).sum())
    usual_direction = float((p[there] * np.log(p[there] / q[there])).sum())
    for name, others in (
        ("psi", [left_out, float(STATISTICS["psi"](now, before))]),
        ("kl_div", [usual_direction, float(STATISTICS["kl_div"](now, before))]),
        ("jensenshannon", [float(RAW["jensenshannon"](now, before)) / np.sqrt(np.log(2)), 0.0]),
    ):
        theirs = evidently.score(name, rows_of(now), rows_of(before))
        assert agree(float(RAW[name](now, before)), theirs)
        assert not any(agree(other, theirs) for other in others), name


# --- What is expected from sampling


def sampled(rows: int, tilt: float = 0.0, bins: int = 10, baseline_rows: int = 5_000, times: int = 2_000):
    """Counts of `times` windows and of their baselines, the true shares of both, and the noise."""
    rng = np.random.default_rng(rows)
    before = np.full(bins, 1 / bins)
    now = before * np.exp(np.linspace(-tilt, tilt, bins))
    now /= now.sum()
    windows, baselines = (rng.multinomial(n, p, times).astype(float) for n, p in ((rows, now), (baseline_rows, before)))
    return windows, baselines, Pair(now, before), np.full(times, 1 / rows + 1 / baseline_rows)


@pytest.mark.parametrize("rows", [200, 1_000, 5_000])
@pytest.mark.parametrize("name", FORMULAS)
def test_what_is_taken_off_is_what_no_change_shows(name, rows):
    now, before, _, noise = sampled(rows)
    shown = STATISTICS[name](now, before).mean()
    if name in ("jensenshannon", "hellinger"):
        shown = np.sqrt((STATISTICS[name](now, before) ** 2).mean())
    part = sampling_part(name, smoothed_shares(before)) * noise
    assert shown == pytest.approx(np.sqrt(part.mean()) if name in DISTANCES else part.mean(), rel=0.1)


@pytest.mark.parametrize("shape", [[0.5, 0.5], [0.7, 0.2, 0.07, 0.03], [0.02] * 5 + [0.9], [0.05] * 20])
def test_the_part_of_ks_follows_the_bins(shape):
    shares = np.asarray(shape)
    now = np.random.default_rng(0).multinomial(5_000, shares, 4_000).astype(float)
    shown = RAW["ks"](now, shares).mean()
    assert np.sqrt(sampling_part("ks", shares) / 5_000) == pytest.approx(shown, rel=0.1)


@pytest.mark.parametrize("rows", [50, 200, 1_000, 5_000])
@pytest.mark.parametrize("name", FORMULAS)
def test_without_a_change_the_size_is_nothing_and_the_uncorrected_value_is_not(name, rows):
    now, before, _, noise = sampled(rows)
    uncorrected = RAW[name](now, before)
    size = corrected(name, STATISTICS[name](now, before), noise, smoothed_shares(before))
    assert np.median(size) < 0.1 * uncorrected.mean()
    assert size.mean() < 0.4 * uncorrected.mean()
    expected = sampling_part(name, smoothed_shares(before)) * noise
    assert uncorrected.mean() > 0.9 * (np.sqrt(expected) if name in DISTANCES else expected).mean()


@pytest.mark.parametrize("name", FORMULAS)
def test_a_change_keeps_its_size(name):
    now, before, truth, noise = sampled(1_000, tilt=0.5)
    size = corrected(name, STATISTICS[name](now, before), noise, smoothed_shares(before)).mean()
    assert size == pytest.approx(float(FORMULAS[name](truth)), rel=0.05)


def test_distances_lose_the_part_of_sampling_from_their_squares_because_they_would_lose_too_much():
    now, before, truth, noise = sampled(200, tilt=0.5)
    value, part = STATISTICS["wasserstein"](now, before), sampling_part("wasserstein", smoothed_shares(before))
    kept = take_off("wasserstein", value, noise, part).mean()
    plainly = (value - np.sqrt(part * noise)).mean()
    assert float(FORMULAS["wasserstein"](truth)) == pytest.approx(0.31, abs=0.005)
    assert kept == pytest.approx(0.29, abs=0.01)
    assert plainly == pytest.approx(0.22, abs=0.01)


def test_a_wobble_that_is_usual_is_taken_off_like_sampling():
    rng = np.random.default_rng(0)
    shares, wobble = np.full(10, 0.1), 0.01
    days = rng.dirichlet(shares * (1 / wobble - 1), 3_000)
    now = np.stack([rng.multinomial(2_000, day) for day in days]).astype(float)
    before = np.broadcast_to(shares * 1e6, now.shape)
    noise = np.full(3_000, (1 + 1_999 * wobble) / 2_000 + 1e-6)
    assert np.median(corrected("psi", STATISTICS["psi"](now, before), noise, shares)) < 0.01
    assert np.median(STATISTICS["psi"](now, before)) > 0.07
