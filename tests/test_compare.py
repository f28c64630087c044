from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pytest
from streams import START, predictions

from monitors.baseline.baselines import build
from monitors.compare import Comparison, Question
from monitors.counting.labelled import fold_labelled
from monitors.counting.profiles import fold
from monitors.statistics.formulas import STATISTICS

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


def test_no_rows_and_one_row_read_without_an_exception():
    readings = COMPARISON.read({}, {}, QUESTION, datetime.fromtimestamp(AFTER, tz=UTC))
    assert readings.rows.sum() == 0
    assert np.isnan(readings.drift.size).all()
    assert read(predictions(1, start=AFTER)).rows[0] == 1


def test_confidences_of_other_models_are_not_compared_with_those_in_service():
    honest = build(HISTORY, model="m", version="1", cuts=[], task="classification", out_of_fold=True)
    sure = predictions(1500, seed=8, start=AFTER)
    sure = sure.set_column(sure.column_names.index("confidence"), "confidence", pa.array(np.full(1500, 0.99)))
    at = datetime.fromtimestamp(AFTER + 1500 * 60, tz=UTC)
    drift = Comparison.to(honest).read(fold(honest.layout, sure, 3600), {}, QUESTION, at).drift
    assert np.isnan(drift.size[0, drift.columns.index("confidence")])
    assert drift.segment_evidence_ln[0] < 2
