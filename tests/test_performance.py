import json
import os
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from intake import BASELINE as INTAKE_BASELINE
from intake import NOON, Intake, batch
from sklearn import metrics as sk
from streams import START, predictions

from monitors.baseline.baselines import Baseline, build
from monitors.baseline.confusion import learn_confusion
from monitors.compare import Comparison, Question
from monitors.counting.labelled import fold_labelled
from monitors.counting.profiles import fold
from monitors.counting.scores import METRICS
from monitors.counting.windows import add_up
from monitors.reading.estimates import estimate
from monitors.reading.label_shift import label_shift
from monitors.reading.performance import read_performance
from monitors.readings import PerformanceReadings
from monitors.statistics.loss_evidence import loss_evidence_ln
from policies.file.measures import PERFORMANCE_METRICS
from policies.file.parse import parse
from service.readings_view import segments_view

STREAMS = Path(os.environ.get("TIDEGATE_STREAMS", Path(__file__).parents[2] / "shared" / "data"))
BASELINE = build(predictions(3000), model="m", version="1", cuts=[["prediction"], ["group"]], task="classification")
AFTER = START + 3000 * 60
CLASSES = ["ash", "birch", "cedar"]
"""Of the model with scores: each row has one of three, told by one number."""


def read(table: pa.Table, metric="accuracy", baseline=BASELINE, *, labels=True, **options) -> PerformanceReadings:
    labelled = fold_labelled(baseline.layout, table, 3600) if labels else {}
    return read_performance(baseline, labelled, add_up(fold(baseline.layout, table, 3600)), metric, **options)


def forest(rows: int, *, seed=0, shares=(0.5, 0.3, 0.2), hard=0.5, wrong=0.0, start=START, scores=True) -> pa.Table:
    """Rows of three classes with calibrated scores. `hard` of them are hard to tell; `wrong` of the labels are moved to
    the next class, which the scores know nothing of.
    """
    rng = np.random.default_rng(seed)
    is_hard = rng.random(rows) < hard
    told = rng.choice(3, rows, p=shares)
    sure = np.where(is_hard, 0.6, 0.95)
    own = np.eye(3)[told]
    chances = sure[:, None] * own + (1 - sure[:, None]) / 2 * (1 - own)
    label = np.array([rng.choice(3, p=p) for p in chances])
    label = np.where(rng.random(rows) < wrong, (label + 1) % 3, label)
    columns = {
        "prediction_id": [f"{seed}-{i}" for i in range(rows)],
        "timestamp": pa.array(((start + np.arange(rows) * 60) * 1e6).astype("int64"), pa.timestamp("us", "UTC")),
        "model_version": ["1"] * rows,
        "prediction": pa.array(np.array(CLASSES)[told].tolist(), pa.string()),
        "confidence": sure,
        "feature_is_hard": is_hard.astype(float),
        "tag_side": pa.array(rng.choice(["sun", "shade"], rows, p=[0.9, 0.1]).tolist()),
        "label": pa.array(np.array(CLASSES)[label].tolist(), pa.string()),
    }
    given_scores = {f"score_{name}": chances[:, i] for i, name in enumerate(CLASSES)} if scores else {}
    return pa.table(columns | given_scores)


def numbers(rows: int, *, seed=0, wide=0.2, factor=1.0, start=START, scale=1.0) -> pa.Table:
    """A regression whose error is five times as large where the feature `zone` is 1; `wide` of the rows are there."""
    rng = np.random.default_rng(seed)
    is_wide, size = rng.random(rows) < wide, rng.normal(0, 1, rows)
    truth = scale * (size + rng.normal(0, 1, rows) * np.where(is_wide, 1.0, 0.2) * factor)
    return pa.table(
        {
            "prediction_id": [f"{seed}-{i}" for i in range(rows)],
            "timestamp": pa.array(((start + np.arange(rows) * 60) * 1e6).astype("int64"), pa.timestamp("us", "UTC")),
            "model_version": ["1"] * rows,
            "prediction": scale * size,
            "feature_zone": is_wide.astype(float),
            "feature_size": size,
            "label": truth,
        }
    )


FOREST = build(forest(4000), model="m", version="1", cuts=[["side"]], task="classification")
NUMBERS = build(numbers(4000), model="m", version="1", cuts=[], task="regression")


# What is counted


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 600), max_size=6), st.randoms(use_true_random=False), st.booleans())
def test_any_split_and_order_of_labels_gives_the_same_sums_to_the_last_bit(cuts, random, scores):
    table = forest(600, seed=3, scores=scores)
    parts = [table.slice(a, b - a) for a, b in pairwise([0, *sorted(cuts), 600])]
    random.shuffle(parts)
    whole = sum(fold_labelled(FOREST.layout, table, 3600).values())
    merged = np.zeros_like(whole)
    for part in parts:
        for counts in fold_labelled(FOREST.layout, part, 3600).values():
            merged += counts
    np.testing.assert_array_equal(merged, whole)


def test_a_label_taken_back_leaves_nothing_behind():
    counted = sum(fold_labelled(FOREST.layout, forest(500, seed=4), 3600).values())
    both = counted + sum(fold_labelled(FOREST.layout, forest(300, seed=5), 3600).values())
    np.testing.assert_array_equal(both - counted, sum(fold_labelled(FOREST.layout, forest(300, seed=5), 3600).values()))


def test_every_labelled_row_is_in_one_stratum_one_class_and_one_crossed_cell():
    cells = FOREST.layout.labelled_cells
    for part in ("strata_rows", "predicted", "actual", "crossed_rows"):
        counted = cells.read(FOREST.labelled, part).reshape(len(FOREST.layout.segments), -1)
        np.testing.assert_array_equal(counted.sum(axis=1), FOREST.labelled[:, 0], err_msg=part)
    hits = [cells.read(FOREST.labelled, part) for part in ("strata_correct", "hit", "crossed_correct")]
    for found in hits:
        np.testing.assert_array_equal(found.reshape(len(found), -1).sum(axis=1), FOREST.labelled[:, 1])


def test_a_profile_of_a_hundred_and_fifty_classes_stays_narrow():
    names = [f"c{i:03}" for i in range(150)]
    table = predictions(3000)
    table = table.set_column(table.column_names.index("prediction"), "prediction", pa.array(names * 20))
    layout = build(table, model="m", version="1", cuts=[], task="classification").layout
    assert layout.labelled_width < 750


# Metrics with labels


def scored(table: pa.Table, metric: str, baseline: Baseline) -> float:
    labelled = sum(fold_labelled(baseline.layout, table, 3600).values())
    return float(METRICS[metric].score(baseline.layout.labelled_cells, labelled)[0])


@pytest.mark.parametrize("scores", [True, False])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_scores_of_classes_are_those_of_scikit_learn(scores, seed):
    table = forest(700, seed=seed, wrong=0.2, scores=scores)
    truth, told = (table.column(name).to_pylist() for name in ("label", "prediction"))
    chances = np.column_stack([forest(700, seed=seed, wrong=0.2).column(f"score_{name}") for name in CLASSES])
    assert scored(table, "accuracy", FOREST) == pytest.approx(sk.accuracy_score(truth, told))
    assert scored(table, "macro_f1", FOREST) == pytest.approx(sk.f1_score(truth, told, average="macro"))
    assert scored(table, "precision", FOREST) == pytest.approx(sk.precision_score(truth, told, average="macro"))
    assert scored(table, "recall", FOREST) == pytest.approx(sk.recall_score(truth, told, average="macro"))
    # The table holds its confidences as float32, and the sums are kept in millionths.
    assert scored(table, "log_loss", FOREST) == pytest.approx(sk.log_loss(truth, chances, labels=CLASSES), abs=2e-6)
    squares = ((chances - (np.array(truth)[:, None] == np.array(CLASSES))) ** 2).sum(axis=1).mean()
    assert scored(table, "brier", FOREST) == pytest.approx(squares, abs=2e-6)


def test_scores_of_numbers_are_those_of_scikit_learn():
    table = numbers(900, seed=7)
    truth, told = (table.column(name).to_numpy() for name in ("label", "prediction"))
    assert scored(table, "mae", NUMBERS) == pytest.approx(sk.mean_absolute_error(truth, told), rel=1e-6)
    assert scored(table, "rmse", NUMBERS) == pytest.approx(sk.root_mean_squared_error(truth, told), rel=1e-6)
    assert scored(table, "r2", NUMBERS) == pytest.approx(sk.r2_score(truth, told), rel=1e-6)


def test_calibration_is_the_mean_gap_over_the_bins():
    table = forest(800, seed=8, wrong=0.3)
    confidence = table.column("confidence").to_numpy()
    hit = np.array(table.column("label").to_pylist()) == np.array(table.column("prediction").to_pylist())
    gaps = [abs((confidence - hit)[confidence == c].sum()) for c in np.unique(confidence)]
    assert scored(table, "calibration", FOREST) == pytest.approx(sum(gaps) / 800, abs=1e-6)
    assert scored(forest(8000, seed=8), "calibration", FOREST) < 0.02


def test_an_impossible_label_costs_much_and_not_everything():
    table = forest(2, seed=1)
    sure = {f"score_{name}": pa.array([float(name == "ash")] * 2) for name in CLASSES}
    for name, values in sure.items():
        table = table.set_column(table.column_names.index(name), name, values)
    label = table.column_names.index("label")
    assert scored(table.set_column(label, "label", pa.array(["elm"] * 2)), "log_loss", FOREST) == pytest.approx(
        -np.log(1e-6), abs=1e-5
    )
    assert scored(table.set_column(label, "label", pa.array(["ash"] * 2)), "log_loss", FOREST) == 0


def test_one_score_of_two_classes_leaves_the_rest_to_the_other():
    table = pa.table(
        {
            "timestamp": pa.array([START * 10**6] * 2, pa.timestamp("us", "UTC")),
            "prediction": ["yes", "no"],
            "confidence": [0.7, 0.9],
            "score_yes": [0.7, 0.1],
            "label": ["no", "no"],
        }
    )
    baseline = build(table, model="m", version="1", cuts=[], task="classification")
    assert scored(table, "log_loss", baseline) == pytest.approx(-(np.log(0.3) + np.log(0.9)) / 2, abs=1e-5)
    assert scored(table, "brier", baseline) == pytest.approx((2 * 0.7**2 + 2 * 0.1**2) / 2, abs=1e-5)


@pytest.mark.parametrize("confidence", [None, [None] * 500])
def test_without_confidences_the_labels_are_still_read(confidence):
    table = predictions(500).drop_columns(["confidence"])
    if confidence is not None:
        table = table.append_column("confidence", pa.array(confidence, pa.float64()))
    baseline = build(table, model="m", version="1", cuts=[], task="classification")
    found = read(table, "accuracy", baseline)
    assert found.value[0] == pytest.approx(0.9, abs=0.05)
    assert np.isnan(found.estimate).all()
    assert all(np.isnan(scored(table, metric, baseline)) for metric in ("log_loss", "brier", "calibration"))


def test_the_policy_allows_the_metrics_that_can_be_read():
    for task, names in PERFORMANCE_METRICS.items():
        assert set(names) == {name for name, metric in METRICS.items() if metric.task == task}


# With labels: how much worse, how surely, since when


def test_a_worse_model_is_seen_with_the_hour_it_began():
    fine, bad = predictions(1200, seed=1, start=AFTER), predictions(600, seed=2, error=0.4, start=AFTER + 1200 * 60)
    performance = read(pa.concat_tables([fine, bad]))
    assert performance.evidence_ln[0] > 15
    assert performance.drop[0] == pytest.approx(0.3, abs=0.06)
    assert performance.window_start[0] == np.datetime64(AFTER + 1200 * 60, "s")
    assert performance.labelled_since_change[0] == 600


def test_a_steady_model_shows_no_evidence_of_a_drop():
    assert read(predictions(3000, seed=3, start=AFTER)).evidence_ln[0] < 1


def test_slices_of_a_broken_feed_do_not_count_against_the_model():
    bad = predictions(600, seed=2, error=0.4, start=AFTER)
    slices = list(fold(BASELINE.layout, bad, 3600))
    assert read(bad).evidence_ln[0] > 20
    assert read(bad, left_out=slices).labelled.tolist() == [0] * len(BASELINE.layout.segments)


@pytest.mark.parametrize("metric", [name for name, metric in METRICS.items() if metric.task == "classification"])
def test_every_metric_of_classes_tells_a_worse_model_from_a_steady_one(metric):
    fine, bad = forest(3000, seed=11, start=AFTER), forest(1500, seed=12, wrong=0.4, start=AFTER + 3000 * 60)
    steady, worse = read(fine, metric, FOREST), read(pa.concat_tables([fine, bad]), metric, FOREST)
    assert steady.evidence_ln[0] < 2
    assert worse.evidence_ln[0] > 15
    assert worse.drop[0] > 0.1
    assert worse.window_start[0] == np.datetime64(AFTER + 3000 * 60, "s")
    assert worse.drop[0] == pytest.approx(METRICS[metric].drop(worse.expected, worse.value)[0])


@pytest.mark.parametrize("metric", [name for name, metric in METRICS.items() if metric.task == "regression"])
def test_every_metric_of_numbers_tells_a_worse_model_from_a_steady_one(metric):
    fine, bad = numbers(3000, seed=11, start=AFTER), numbers(1500, seed=12, factor=2, start=AFTER + 3000 * 60)
    steady, worse = read(fine, metric, NUMBERS), read(pa.concat_tables([fine, bad]), metric, NUMBERS)
    assert steady.evidence_ln[0] < 2
    assert worse.evidence_ln[0] > 15
    assert worse.drop[0] > 0.3
    assert worse.window_start[0] == np.datetime64(AFTER + 3000 * 60, "s")


def test_overconfidence_is_a_loss_that_accuracy_cannot_see():
    fine, sure = forest(3000, seed=13, start=AFTER), forest(3000, seed=14, start=AFTER + 180_000, scores=False)
    sure = sure.set_column(sure.column_names.index("confidence"), "confidence", pa.array([0.999] * 3000))
    both = pa.concat_tables([fine.select(sure.column_names), sure])
    blind, seen = (read(both, metric, FOREST) for metric in ("accuracy", "log_loss"))
    assert blind.evidence_ln[0] < 2
    assert seen.evidence_ln[0] > 15
    assert seen.drop[0] > 0.5


def _losses(kind: str, rng: np.random.Generator, shape: tuple[int, int], more: float = 1.0) -> np.ndarray:
    """Losses of which few rows make up most, or some, or none in particular; `more` of them."""
    rare = {"sure": (0.01, 4.6, 0.01), "very sure": (0.001, 6.9, 0.001), "too sure": (0.01, 13.8, 0.0)}
    if kind in rare:
        share, wrong, right = rare[kind]
        return np.where(rng.random(shape) < share * more, wrong, right)
    return more * np.abs(rng.standard_t(3, shape) if kind == "heavy" else rng.normal(size=shape))


def _sums(losses: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return np.full(len(losses), float(losses.shape[1])), losses.sum(axis=1), (losses**2).sum(axis=1)


@pytest.mark.parametrize("usual", [500, 5000])
@pytest.mark.parametrize("rows", [30, 200])
@pytest.mark.parametrize("kind", ["sure", "very sure", "too sure", "heavy", "normal"])
def test_evidence_of_a_mean_loss_is_below_one_on_average_however_few_rows_make_it_up(kind, rows, usual):
    rng = np.random.default_rng(0)
    now, before = (_sums(_losses(kind, rng, (1000, n))) for n in (rows, usual))
    evidence = loss_evidence_ln(now, before, np.zeros(1000))
    assert np.exp(evidence).mean() < 1
    assert evidence.max() < 5


@pytest.mark.parametrize(("kind", "more"), [("too sure", 6), ("heavy", 2), ("normal", 1.3)])
def test_evidence_of_a_mean_loss_sees_a_rise(kind, more):
    rng = np.random.default_rng(1)
    now, before = _sums(_losses(kind, rng, (50, 1000), more)), _sums(_losses(kind, rng, (50, 5000)))
    assert np.median(loss_evidence_ln(now, before, np.zeros(50))) > 15


# What the drop is made of


@settings(max_examples=25, deadline=None)
@given(st.floats(0, 1), st.floats(0, 0.5), st.integers(0, 10**6), st.sampled_from(["accuracy", "log_loss", "brier"]))
def test_covariate_and_concept_part_add_up_to_the_drop(hard, wrong, seed, metric):
    found = read(forest(400, seed=seed, hard=hard, wrong=wrong, start=AFTER), metric, FOREST)
    np.testing.assert_allclose(found.covariate_part + found.concept_part, found.drop, atol=1e-12)


@pytest.mark.parametrize("metric", ["accuracy", "log_loss", "brier"])
def test_harder_rows_are_the_covariate_part_and_moved_labels_the_concept_part(metric):
    harder = read(forest(4000, seed=15, hard=0.9, start=AFTER), metric, FOREST)
    moved = read(forest(4000, seed=16, wrong=0.25, start=AFTER), metric, FOREST)
    assert harder.covariate_part[0] > 0.8 * harder.drop[0] > 0
    assert abs(harder.concept_part[0]) < 0.2 * harder.drop[0]
    assert moved.concept_part[0] > 0.8 * moved.drop[0] > 0


@pytest.mark.parametrize("metric", ["macro_f1", "calibration"])
def test_a_metric_that_is_no_mean_over_rows_is_not_taken_apart(metric):
    found = read(forest(1000, seed=17, hard=0.9, start=AFTER), metric, FOREST)
    assert np.isnan(found.covariate_part).all()
    assert np.isnan(found.concept_part).all()


# Without labels


def test_the_estimate_without_labels_follows_a_change_of_confidence():
    table = predictions(1500, seed=5, start=AFTER)
    shy = table.set_column(table.column_names.index("confidence"), "confidence", pa.array(np.full(1500, 0.6)))
    usual, worse = (read(t, labels=False) for t in (table, shy))
    assert abs(usual.estimated_drop[0]) < 0.03
    assert worse.estimated_drop[0] > 0.3


@pytest.mark.parametrize("metric", ["accuracy", "log_loss", "brier"])
def test_the_estimate_foresees_what_harder_rows_will_show(metric):
    table = forest(4000, seed=18, hard=0.9, start=AFTER)
    found = read(table, metric, FOREST, labels=False)
    assert found.estimate[0] == pytest.approx(scored(table, metric, FOREST), rel=0.05)
    assert found.estimated_drop[0] > 0.1


def test_the_estimate_cannot_see_another_concept():
    assert (
        abs(read(forest(4000, seed=19, wrong=0.4, start=AFTER), "accuracy", FOREST, labels=False).estimated_drop[0])
        < 0.02
    )


def test_a_metric_that_cannot_be_estimated_borrows_the_drop_of_accuracy():
    table = forest(4000, seed=18, hard=0.9, start=AFTER)
    borrowed, own = (read(table, metric, FOREST, labels=False) for metric in ("macro_f1", "accuracy"))
    assert np.isnan(borrowed.estimate).all()
    np.testing.assert_array_equal(borrowed.estimated_drop, own.estimated_drop)


def test_a_segment_with_few_labels_leans_on_all_rows():
    few = forest(4000).filter(pa.array(np.r_[np.ones(3990, bool), np.zeros(10, bool)]))
    side = np.where(np.arange(3990) < 4, "cave", "sun")
    few = few.set_column(few.column_names.index("tag_side"), "tag_side", pa.array(side.tolist()))
    baseline = build(few, model="m", version="1", cuts=[["side"]], task="classification")
    table = forest(600, seed=20, hard=0.0)
    table = table.set_column(table.column_names.index("tag_side"), "tag_side", pa.array(["cave"] * 600))
    cave = baseline.layout.segments.index("side=cave")
    assert read(table, "accuracy", baseline, labels=False).estimate[cave] == pytest.approx(0.95, abs=0.07)


@pytest.mark.skipif(not STREAMS.is_dir(), reason="the streams are not on this machine")
def test_the_estimate_on_the_car_loan_is_within_a_third_of_a_point():
    before, after = (_car_loan(name) for name in ("carloan_reference", "carloan_analysis"))
    baseline = build(before, model="loan", version="1", cuts=[], task="classification")
    errors = []
    for chunk in (after.slice(at, 5000) for at in range(0, 50_000, 5000)):
        windows = add_up({0: sum(fold(baseline.layout, chunk, 3600).values())})
        now, _ = estimate(baseline.layout, "accuracy", baseline.labelled, baseline.counts, windows)
        errors.append(abs(now[0] - scored(chunk, "accuracy", baseline)))
    assert np.mean(errors) <= 0.0034


def _car_loan(name: str) -> pa.Table:
    rows = pq.read_table(STREAMS / f"{name}.parquet")
    chance = rows.column("y_pred_proba").to_numpy()
    texts = {
        key: [str(int(v)) for v in rows.column(of).to_pylist()]
        for key, of in (("prediction", "y_pred"), ("label", "repaid"))
    }
    times = pa.array((START + np.arange(len(chance)) * 60) * 10**6, pa.timestamp("us", "UTC"))
    return pa.table({"timestamp": times, **texts, "confidence": np.maximum(chance, 1 - chance)})


# Without labels: the error of a regression


def test_the_expected_error_moves_with_the_rows_on_which_the_model_errs():
    usual, wider = (numbers(3000, seed=22, wide=share, start=AFTER) for share in (0.2, 0.7))
    same, more = (read(table, "mae", NUMBERS, labels=False) for table in (usual, wider))
    assert abs(same.estimated_drop[0]) < 0.1
    assert more.estimate[0] == pytest.approx(scored(wider, "mae", NUMBERS), rel=0.05)
    assert more.estimated_drop[0] > 0.5
    assert read(wider, "rmse", NUMBERS, labels=False).estimate[0] == pytest.approx(
        scored(wider, "rmse", NUMBERS), rel=0.05
    )


def test_the_expected_error_is_a_column_whose_drift_is_read():
    names = [column.name for column in NUMBERS.layout.columns]
    assert names[-1] == "expected_error"
    total = NUMBERS.layout.column_extra(NUMBERS.counts, len(names) - 1)[0, 4]
    assert total / 4000 == pytest.approx(scored(numbers(4000), "mae", NUMBERS), rel=1e-3)


def test_rows_are_expected_alike_in_any_batch_and_after_the_baseline_was_stored():
    again, table = Baseline.from_bytes(NUMBERS.to_bytes()), numbers(500, seed=23)
    whole = sum(fold(NUMBERS.layout, table, 3600).values())
    parts = [table.slice(i, 50) for i in range(0, 500, 50)]
    merged = sum(sum(fold(again.layout, part, 3600).values()) for part in parts)
    np.testing.assert_allclose(merged, whole, rtol=1e-9)
    whole = sum(fold_labelled(NUMBERS.layout, table, 3600).values())
    merged = sum(sum(fold_labelled(again.layout, part, 3600).values()) for part in parts)
    np.testing.assert_allclose(merged, whole, rtol=1e-9)


def test_the_parts_of_a_regression_tell_other_rows_from_another_concept():
    wider, worse = numbers(4000, seed=24, wide=0.7, start=AFTER), numbers(4000, seed=25, factor=2, start=AFTER)
    for metric in ("mae", "rmse"):
        rows, concept = read(wider, metric, NUMBERS), read(worse, metric, NUMBERS)
        assert rows.covariate_part[0] > 0.8 * rows.drop[0] > 0
        assert concept.concept_part[0] > 0.8 * concept.drop[0] > 0
        np.testing.assert_allclose(rows.covariate_part + rows.concept_part, rows.drop, rtol=1e-9)


def test_a_regression_without_labels_or_a_pattern_in_its_errors_has_no_expected_error():
    silent = build(numbers(500).drop_columns(["label"]), model="m", version="1", cuts=[], task="regression")
    steady = numbers(500).drop_columns(["feature_zone", "feature_size"])
    steady = steady.set_column(steady.column_names.index("label"), "label", steady.column("prediction"))
    for baseline in (silent, build(steady, model="m", version="1", cuts=[], task="regression")):
        assert "expected_error" not in [column.name for column in baseline.layout.columns]
        assert np.isnan(read(numbers(300, seed=26), "mae", baseline).estimate).all()


def test_rows_without_their_features_are_expected_to_err_as_the_rest():
    table = numbers(400, seed=27).drop_columns(["feature_zone"])
    assert np.isfinite(read(table, "mae", NUMBERS, labels=False).estimate).all()
    broken = numbers(400, seed=27)
    nothing = pa.array([float("inf")] * 400)
    broken = broken.set_column(broken.column_names.index("feature_size"), "feature_size", nothing)
    assert np.isfinite(read(broken, "mae", NUMBERS).evidence_ln).all()


# Shares of the labels


@pytest.mark.parametrize("shares", [(0.5, 0.3, 0.2), (0.2, 0.3, 0.5), (0.9, 0.1, 0.0)])
def test_the_shares_of_the_labels_are_found_from_the_predictions_alone(shares):
    rng = np.random.default_rng(0)
    alike = np.array([[0.8, 0.1, 0.1], [0.1, 0.7, 0.2], [0.1, 0.2, 0.7]])
    confusion = np.round(alike * 5000 * np.array([0.5, 0.3, 0.2]))
    found, problem = label_shift(confusion, rng.multinomial(20_000, alike @ shares).astype(float))
    assert problem == ""
    np.testing.assert_allclose(found, shares, atol=0.02)


@pytest.mark.parametrize(
    ("confusion", "predicted", "problem"),
    [
        (np.full((2, 2), 100.0), [300.0, 300.0], "too much alike"),
        (np.eye(2) * 100, [90.0, 9.0], "fewer than 200 rows"),
        (np.zeros((2, 2)), [300.0, 300.0], "no labels"),
    ],
)
def test_shares_that_cannot_be_told_are_unknown_and_the_reason_is_given(confusion, predicted, problem):
    found, said = label_shift(confusion, np.array(predicted))
    assert np.isnan(found).all()
    assert problem in said


def test_the_reading_names_the_classes_with_their_shares_now_and_before():
    shift = read(forest(3000, seed=21, shares=(0.2, 0.3, 0.5), start=AFTER), baseline=FOREST, labels=False).label_shift
    assert shift.classes == (*CLASSES, "other")
    label = np.array(forest(4000).column("label").to_pylist())
    np.testing.assert_allclose(shift.baseline[:3], [(label == name).mean() for name in CLASSES])
    assert np.isnan(shift.now[3])
    assert shift.now[2] > shift.baseline[2] + 0.1
    assert np.nansum(shift.now) == pytest.approx(1)


def test_the_view_of_all_shows_the_parts_and_the_shares():
    policy = parse("{model: m, task: {kind: classification}, segments: [[side]]}")
    at = datetime.fromtimestamp(AFTER + 3000 * 60, UTC)
    table = forest(3000, seed=21, wrong=0.2, start=AFTER)
    counted = (counting(FOREST.layout, table, 3600) for counting in (fold, fold_labelled))
    readings = Comparison.to(FOREST).read(*counted, Question({}, "psi", "accuracy"), at)
    shown = [row["performance"] for row in segments_view(policy, readings, dict.fromkeys(readings.segments, "ok"))]
    assert shown[0]["covariate_part"] + shown[0]["concept_part"] == pytest.approx(shown[0]["drop"])
    assert shown[0]["concept_part"] > 0.1
    assert [each["class"] for each in shown[0]["label_shift"]["classes"]] == [*CLASSES, "other"]
    assert all(row["label_shift"] is None for row in shown[1:])
    assert json.loads(json.dumps(shown, allow_nan=False)) == shown


def test_a_regression_and_a_baseline_without_labels_have_no_shares():
    assert read(numbers(300), "mae", NUMBERS).label_shift is None
    assert learn_confusion(FOREST.layout, forest(10).drop_columns(["label"])).size == 0


# Labels that come late


def test_late_labels_revise_the_slice_in_which_the_prediction_was_made(store, tmp_path):
    intake = Intake(store, tmp_path)
    table = batch(720)  # twelve hours, a row a minute
    ids = table.column("prediction_id").to_pylist()
    intake.post(table)
    intake.label(ids[360:], table.column("prediction").to_pylist()[360:])
    intake.run()
    before = _performance(intake)
    intake.now = NOON + timedelta(days=3)
    intake.label(
        ids[:360], ["returns" if told == "fit" else "fit" for told in table.column("prediction").to_pylist()[:360]]
    )
    intake.run()
    after = _performance(intake)
    start, six = (np.datetime64(START + hours * 3600, "s") for hours in (0, 6))
    assert (before.labelled[0], before.value[0], before.window_start[0]) == (360, 1.0, six)
    assert (after.labelled[0], after.value[0], after.window_start[0]) == (720, 0.5, start)


def _performance(intake: Intake) -> PerformanceReadings:
    return read_performance(INTAKE_BASELINE, intake.cells.load_labelled(INTAKE_BASELINE), None, "accuracy")
