from collections.abc import Iterable

import numpy as np
import pytest
from streams import predictions
from traffic import Traffic, Wobbling, layout_of

from monitors.baseline.baselines import Baseline, of_profiles
from monitors.baseline.leaning import rows_to_borrow
from monitors.baseline.wobble import moderate
from monitors.compare import Comparison
from monitors.counting.windows import add_up
from monitors.reading.drift import read_drift
from monitors.readings import DriftReadings, FloatArray
from monitors.statistics.evidence import distribution_evidence_ln
from policies.file.parse import parse
from service.training.references import baseline_of as reference_baseline

LAYOUT = layout_of(6, 6)
X1 = 3
"""A numeric column of it."""
STILL = Wobbling()
BREATHING = Wobbling(season=0.4, daily=0.1, hourly=0.05)


def traffic(rows: int = 100, wobbling: Wobbling = STILL, seed: int = 0) -> Traffic:
    return Traffic(LAYOUT, rows, wobbling, np.random.default_rng(seed))


def baseline_of(profiles: Iterable[tuple[int, FloatArray]], season: str = "none") -> Baseline:
    return of_profiles(LAYOUT, dict(profiles), {}, model="m", version="1", season=season)


def read(baseline: Baseline, profiles: Iterable[tuple[int, FloatArray]]) -> DriftReadings:
    return read_drift(baseline, Comparison.to(baseline).references, add_up(dict(profiles)), {}, "psi")


def test_a_shift_of_one_column_of_one_segment_shows_there_and_nowhere_else():
    source = traffic()
    baseline = baseline_of(source.slices(100))
    source.shift[2, X1] = 0.6
    drift = read(baseline, source.slices(12))
    evidence = drift.evidence_ln[1:-1]
    assert evidence[2, X1] > 20
    evidence[2, X1] = -1
    assert np.nanmax(evidence) < 5
    assert drift.size[3, X1] == pytest.approx(0.34, abs=0.12)


def test_the_size_is_of_the_rows_after_the_change_and_not_of_a_window_that_mixes():
    source = traffic(rows=200)
    baseline = baseline_of(source.slices(100))
    before = dict(source.slices(27))
    source.shift[2, X1] = 0.5
    drift = read(baseline, before | dict(source.slices(5)))
    assert drift.rows[3, X1] <= 1_000
    assert drift.size[3, X1] > 0.15


def test_what_a_segment_always_did_is_no_evidence():
    source = traffic(rows=200, wobbling=Wobbling(daily=0.15, hourly=0.15))
    baseline = baseline_of(source.slices(8 * 168))
    usual = read(baseline, source.slices(168)).evidence_ln
    still = baseline_of(traffic(rows=200).slices(8 * 168))
    assert np.nanmax(usual) < 12 < np.nanmax(read(still, source.slices(24)).evidence_ln)


def test_a_season_compares_an_hour_with_the_same_hour():
    source = traffic(rows=200, wobbling=BREATHING)
    history = dict(source.slices(8 * 168))
    now = dict(source.slices(4))
    plain, seasonal = (read(baseline_of(history.items(), season), now.items()) for season in ("none", "hour_of_day"))
    assert np.nanmean(seasonal.size[1:-1, 2:]) < 0.6 * np.nanmean(plain.size[1:-1, 2:])
    source.shift[2, X1] = 1.0
    assert read(baseline_of(history.items(), "hour_of_day"), source.slices(4)).evidence_ln[3, X1] > 15


def test_a_season_is_not_learned_from_too_short_a_baseline():
    source = traffic(wobbling=BREATHING)
    assert len(baseline_of(source.slices(13 * 24), "hour_of_day").by_hour) == 0
    assert len(baseline_of(source.slices(14 * 24), "hour_of_day").by_hour) == 24
    assert len(baseline_of(source.slices(27 * 24), "hour_of_week").by_hour) == 0


def test_a_small_segment_leans_on_its_parent_where_segments_are_alike():
    source = traffic(rows=20)
    baseline = baseline_of(source.slices(10))
    drift = read(baseline, source.slices(24))
    assert np.isfinite(drift.evidence_ln[1:-1]).all()
    assert drift.borrowed[1:-1].min() > 300
    assert np.nanmax(drift.evidence_ln) < 6


def test_a_segment_of_its_own_kind_borrows_nothing():
    source = traffic(rows=20)
    source.shift[:, X1] = np.linspace(-2, 2, 6)
    drift = read(baseline_of(source.slices(10)), source.slices(24))
    assert drift.borrowed[1:-1, X1].max() < 100
    assert np.isnan(drift.evidence_ln[1:-1, X1]).all()


def test_one_odd_segment_among_alike_ones_leans_by_its_own_likeness():
    rng = np.random.default_rng(0)
    parts = rng.multinomial(200, np.full(10, 0.1), size=20).astype(float)
    parts[7] = rng.multinomial(200, np.linspace(0.01, 0.19, 10))
    borrowed = rows_to_borrow(parts, np.broadcast_to(parts.sum(axis=0), parts.shape), (0,))
    assert borrowed[7] < 30
    assert np.delete(borrowed, 7).min() > 200


def test_a_segment_that_hardly_was_there_is_not_read():
    source = traffic()
    drift = read(baseline_of(source.slices(100)), source.slices(24))
    assert np.isnan(drift.evidence_ln[-1]).all()


def test_what_many_series_show_together_makes_each_surer():
    alone = moderate(np.ones((1, 1)), np.full((1, 1), 10.0), np.full((1, 1), 100.0), np.full((1, 1), 9.0))[1]
    together = moderate(np.ones((50, 20)), np.full((50, 20), 10.0), np.full((50, 20), 100.0), np.full((50, 20), 9.0))[1]
    assert together.max() < 1.1
    assert alone.max() > 1.8


def test_evidence_is_an_e_value_while_nothing_changes():
    rng = np.random.default_rng(0)
    shares, rows = np.full(10, 0.1), 200
    kappa = np.full(20_000, 5_000.0)
    counts = rng.multinomial(rows, rng.dirichlet(5_000 * shares, size=20_000)).astype(float)
    evidence = distribution_evidence_ln(counts, np.broadcast_to(shares, counts.shape), kappa)
    assert np.exp(evidence).mean() < 1.1
    assert (evidence > np.log(1000)).mean() < 1 / 1000


def test_the_season_of_a_policy_reaches_the_baselines_of_its_models():
    policy = parse("{model: m, task: {kind: classification}, window: {season: hour_of_day}}")
    rows = predictions(15 * 24 * 10, step=360)
    assert len(reference_baseline(policy, "1", rows).by_hour) == 24


def test_windows_grow_until_a_thin_segment_has_rows_enough_and_no_longer():
    thin, busy = np.array([[400.0], [1.0], [0.01]]), 600
    windows = add_up({3600 * i: thin for i in range(busy)})
    assert windows.lengths.tolist() == [1, 2, 4, 8, 16, 32, 64, 168, 200]
