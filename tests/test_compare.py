from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest
from streams import START, predictions

from monitors.baselines import build
from monitors.compare import Comparison, Question
from monitors.labelled import fold_labelled
from monitors.profiles import fold
from monitors.statistics import STATISTICS

QUESTION = Question({}, "psi", "accuracy")
HISTORY = predictions(3000)
BASELINE = build(HISTORY, model="m", version="1", cuts=[["prediction"], ["group"]], task="classification")
COMPARISON = Comparison.to(BASELINE)
AFTER = START + 3000 * 60


def read(table: pa.Table, question: Question = QUESTION, left_out=(), *, labels=True):
    at = datetime.fromtimestamp(AFTER + table.num_rows * 60, tz=UTC)
    profiles, labelled = fold(BASELINE.layout, table, 3600), fold_labelled(BASELINE.layout, table, 3600)
    labelled = labelled if labels else {}
    return COMPARISON.read(profiles, labelled, question, at, left_out)


def column(readings, name: str) -> int:
    return readings.drift.columns.index(name)


@pytest.mark.parametrize("statistic", STATISTICS)
def test_a_baseline_compared_with_itself_reads_zero(statistic):
    at = datetime.fromtimestamp(AFTER, tz=UTC)
    readings = COMPARISON.read({START: BASELINE.counts}, {}, Question({}, statistic, "accuracy"), at)
    assert np.nanmax(np.abs(readings.drift.uncorrected)) < 1e-6
    assert np.nanmax(readings.drift.size) == 0
    assert np.nanmax(readings.drift.evidence_ln) < 1


@pytest.mark.parametrize("statistic", STATISTICS)
def test_every_statistic_sees_a_shift_and_not_its_absence(statistic):
    question = Question({}, statistic, "accuracy")
    quiet, moved = (read(predictions(1500, seed=7, shift=s, start=AFTER), question) for s in (0.0, 0.5))
    x1 = column(moved, "x1")
    assert quiet.drift.evidence_ln[0, x1] < 2
    assert moved.drift.evidence_ln[0, x1] > 15
    assert moved.drift.size[0, x1] > 3 * quiet.drift.size[0, x1]
    assert moved.drift.size[0, x1] <= moved.drift.uncorrected[0, x1]


def test_a_worse_model_is_seen_with_the_hour_it_began():
    fine, bad = predictions(1200, seed=1, start=AFTER), predictions(600, seed=2, error=0.4, start=AFTER + 1200 * 60)
    performance = read(pa.concat_tables([fine, bad])).performance
    assert performance.evidence_ln[0] > 15
    assert performance.drop[0] == pytest.approx(0.3, abs=0.06)
    assert performance.window_start[0] == np.datetime64(AFTER + 1200 * 60, "s")
    assert performance.labelled_since_change[0] == 600


def test_a_steady_model_shows_no_evidence_of_a_drop():
    assert read(predictions(3000, seed=3, start=AFTER)).performance.evidence_ln[0] < 1


def test_slices_of_a_broken_feed_do_not_count_against_the_model():
    bad = predictions(600, seed=2, error=0.4, start=AFTER)
    slices = list(fold(BASELINE.layout, bad, 3600))
    assert read(bad).performance.evidence_ln[0] > 20
    assert read(bad, left_out=slices).performance.labelled.tolist() == [0] * len(BASELINE.layout.segments)


def test_missing_values_are_a_fault_and_not_drift_of_the_rest():
    readings = read(predictions(600, seed=4, missing=0.4, start=AFTER))
    x1 = column(readings, "x1")
    assert readings.quality.share[0, x1, 0] == pytest.approx(0.4, abs=0.06)
    assert readings.quality.evidence_ln[0, x1, 0] > 20
    assert readings.drift.evidence_ln[0, x1] < 3


def test_the_estimate_without_labels_follows_a_change_of_confidence():
    table = predictions(1500, seed=5, start=AFTER)
    shy = table.set_column(table.column_names.index("confidence"), "confidence", pa.array(np.full(1500, 0.6)))
    usual, worse = (read(t, labels=False).performance for t in (table, shy))
    assert abs(usual.estimated_drop[0]) < 0.03
    assert worse.estimated_drop[0] > 0.3


def test_a_new_and_a_vanished_segment_are_findings():
    table = predictions(1500, seed=6, start=AFTER)
    groups = pa.array(["a"] * 1000 + ["c"] * 500)
    findings = read(table.set_column(table.column_names.index("tag_group"), "tag_group", groups)).findings
    assert any("group=b vanished" in f for f in findings)
    assert any("group=other" in f for f in findings)


def test_no_rows_and_one_row_read_without_an_exception():
    readings = COMPARISON.read({}, {}, QUESTION, datetime.fromtimestamp(AFTER, tz=UTC))
    assert readings.rows.sum() == 0
    assert np.isnan(readings.drift.size).all()
    assert read(predictions(1, start=AFTER)).rows[0] == 1


def test_the_change_of_a_regression_error_is_seen():
    rng = np.random.default_rng(0)

    def numbers(rows: int, spread: float, start: int) -> pa.Table:
        truth = rng.normal(0, 1, rows)
        table = predictions(rows, start=start).drop_columns(["prediction", "label", "confidence"])
        return table.append_column("prediction", pa.array(truth + rng.normal(0, spread, rows))).append_column(
            "label", pa.array(truth)
        )

    baseline = build(numbers(2000, 0.3, START), model="m", version="1", cuts=[["group"]], task="regression")
    table = pa.concat_tables([numbers(600, 0.3, AFTER), numbers(400, 0.6, AFTER + 36_000)])
    profiles, labelled = fold(baseline.layout, table, 3600), fold_labelled(baseline.layout, table, 3600)
    at = datetime.fromtimestamp(AFTER + 60_000, tz=UTC)
    performance = Comparison.to(baseline).read(profiles, labelled, Question({}, "psi", "mae"), at).performance
    assert performance.value[0] == pytest.approx(0.48, abs=0.05)
    assert performance.drop[0] == pytest.approx(1.0, abs=0.3)
    assert performance.evidence_ln[0] > 10


def test_a_version_that_has_just_begun_to_serve_has_not_stopped():
    at = datetime.fromtimestamp(AFTER, tz=UTC)
    assert np.isnan(COMPARISON.read({}, {}, QUESTION, at).quality.volume_ratio[0])
    first_hours = fold(BASELINE.layout, predictions(180, start=AFTER), 3600)
    assert np.isnan(COMPARISON.read(first_hours, {}, QUESTION, at + timedelta(hours=3)).quality.volume_ratio[0])


def test_traffic_that_stops_is_seen_by_the_clock():
    profiles = fold(BASELINE.layout, predictions(180, start=AFTER), 3600)
    two_days_later = datetime.fromtimestamp(AFTER, tz=UTC) + timedelta(days=2)
    assert COMPARISON.read(profiles, {}, QUESTION, two_days_later).quality.volume_ratio[0] == 0


def test_confidences_of_other_models_are_not_compared_with_those_in_service():
    honest = build(HISTORY, model="m", version="1", cuts=[], task="classification", out_of_fold=True)
    sure = predictions(1500, seed=8, start=AFTER)
    sure = sure.set_column(sure.column_names.index("confidence"), "confidence", pa.array(np.full(1500, 0.99)))
    at = datetime.fromtimestamp(AFTER + 1500 * 60, tz=UTC)
    drift = Comparison.to(honest).read(fold(honest.layout, sure, 3600), {}, QUESTION, at).drift
    assert np.isnan(drift.size[0, drift.columns.index("confidence")])
    assert drift.segment_evidence_ln[0] < 2


def test_values_out_of_range_that_stay_are_a_change_and_missing_ones_stay_a_fault():
    moved = predictions(6000, seed=9, shift=30.0, start=AFTER, missing=0.3)
    first, last = read(moved.slice(0, 300)), read(moved)
    x1 = column(first, "x1")
    for readings, is_fault in ((first, True), (last, False)):
        excess = readings.quality.share - readings.quality.expected
        assert (excess[0, x1, 2] > 0.05) == is_fault
        assert excess[0, x1, 0] > 0.2
    assert last.drift.evidence_ln[0, x1] > 50
