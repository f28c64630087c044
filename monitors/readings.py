"""What was read: every monitor on every segment and column, as arrays."""

from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
TimeArray = NDArray[np.datetime64]

FAULT_KINDS = ("missing", "unseen", "out_of_range", "type")


@dataclass(frozen=True, eq=False)
class DriftReadings:
    """Change of the inputs and outputs: S segments x C columns.

    `size` is the named statistic with the part expected from sampling taken off, `uncorrected` the statistic as
    Evidently defines it. Both are of the window that shows the change best, which holds `rows`. `window_start`
    (datetime64[s], NaT where nothing was read) is when the window with the strongest evidence began, about when the
    change did. `borrowed` says how many rows' worth of its parent's shares the baseline of a thin segment leans on.
    Entries that could not be read are NaN, in all but `borrowed`.
    """

    columns: tuple[str, ...]
    statistics: tuple[str, ...]
    size: FloatArray
    uncorrected: FloatArray
    rows: FloatArray
    borrowed: FloatArray
    evidence_ln: FloatArray
    window_start: TimeArray
    segment_evidence_ln: FloatArray


@dataclass(frozen=True, eq=False)
class QualityReadings:
    """Broken input: S segments x C columns x K kinds (`FAULT_KINDS`).

    `share` is what the window shows, `expected` what the baseline shows (both 0..1).
    `volume_ratio` (S) is rows per slice now over rows per slice in the baseline; NaN where the baseline has no slices.
    """

    columns: tuple[str, ...]
    share: FloatArray
    expected: FloatArray
    evidence_ln: FloatArray
    window_start: TimeArray
    volume_ratio: FloatArray


@dataclass(frozen=True, eq=False)
class LabelShift:
    """Shares of the labels, K `classes`: `now` as the predictions tell, and in the `baseline`.

    `now` is NaN where it cannot be told, and `problem` says why.
    """

    classes: tuple[str, ...]
    now: FloatArray
    baseline: FloatArray
    problem: str


@dataclass(frozen=True, eq=False)
class PerformanceReadings:
    """How well the model does, S segments.

    With labels: `value` of the `metric` in the strongest window against `expected`, `drop` = expected - value (for
    errors like mae: the relative rise), one-sided `evidence_ln` that it is worse, `labelled` rows in that window,
    `labelled_since_change` rows with a label since `window_start`. The drop is `covariate_part` (other rows came) plus
    `concept_part` (the same rows have other labels).
    Without labels: `estimate` of the metric now and `estimated_drop` against the baseline's, and for "all" the
    `label_shift`.
    """

    metric: str
    labelled: IntArray
    value: FloatArray
    expected: FloatArray
    drop: FloatArray
    evidence_ln: FloatArray
    window_start: TimeArray
    labelled_since_change: IntArray
    covariate_part: FloatArray
    concept_part: FloatArray
    estimate: FloatArray
    estimated_drop: FloatArray
    label_shift: LabelShift | None


@dataclass(frozen=True)
class TwinReading:
    """Would a fresh model do better? Paired on unseen labels: `wins` of the fresh twin, `losses`, and the evidence.

    `labelled` rows were answered by both. `began` is about when the oldest row came that the fresh twins learned from
    or were tried on, `apart` how long it takes until labels for one more test are there; None where it is not known.
    """

    wins: int
    losses: int
    evidence_ln: float
    labelled: int
    began: datetime | None = None
    apart: timedelta | None = None


@dataclass(frozen=True, eq=False)
class Readings:
    """All readings of one model version at one moment. Index 0 of `segments` is always "all".

    `rows` (S) counts the rows in the longest window read; `parents` (S) holds the index of each parent, -1 for "all".
    `findings` are plain sentences about new and vanished segments and schema changes.
    """

    model: str
    version: str
    baseline: str
    at: datetime
    segments: tuple[str, ...]
    parents: IntArray
    rows: IntArray
    baseline_rows: IntArray
    last_row_at: datetime | None
    drift: DriftReadings
    quality: QualityReadings
    performance: PerformanceReadings
    twin: TwinReading | None
    findings: tuple[str, ...] = ()
