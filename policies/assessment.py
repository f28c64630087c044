"""The readings held against the policy's thresholds, for all segments at once."""

from dataclasses import dataclass
from datetime import datetime

import numpy as np

from monitors.readings import FloatArray, Readings
from policies.bars import BoolArray, e_bh_bar, ln_threshold
from policies.file.policy import Policy
from policies.limits import Limits, limits_of

MIN_ROWS = 200  # fewer rows in the longest window say too little about a distribution
MIN_LABELLED = 30  # fewer labels say too little about performance


@dataclass(frozen=True, eq=False)
class DriftCheck:
    """S segments x C columns. `size` is NaN where the policy ignores or silences it.

    `over` (S x C): the size reaches its limit. `bar`: the log e-value that e-BH asks now; `evident` (S): the segment
    reaches it, and so does a column of it that counts. `drifting` (S x C): the column has size and evidence, in a
    segment with evidence.
    """

    size: FloatArray
    over: BoolArray
    bar: float
    evident: BoolArray
    drifting: BoolArray


@dataclass(frozen=True, eq=False)
class PerformanceCheck:
    """S segments. `over`: the drop reaches its limit; `evident`: its evidence reaches `bar`; both need 30 labels."""

    over: BoolArray
    bar: float
    evident: BoolArray


@dataclass(frozen=True, eq=False)
class QualityCheck:
    """`cells` (S x Q columns x K kinds) that are broken, `fault` (S) with one or without any traffic, `quiet` (S)."""

    cells: BoolArray
    fault: BoolArray
    quiet: BoolArray


@dataclass(frozen=True, eq=False)
class Assessment:
    """All checks, against `limits`. `silent`, `insufficient` and `blind` (S): silenced whole, too few rows, none."""

    threshold_ln: float
    limits: Limits
    drift: DriftCheck
    performance: PerformanceCheck
    quality: QualityCheck
    silent: BoolArray
    insufficient: BoolArray
    blind: BoolArray


def assess(policy: Policy, readings: Readings, now: datetime, *, heed_silences: bool = True) -> Assessment:
    """Holds the readings against the policy at `now`; without `heed_silences` as if nothing were silenced."""
    heard = policy if heed_silences else None
    threshold = ln_threshold(policy, len(readings.segments))
    limits = limits_of(policy, readings.segments, readings.drift.columns)
    silent = _silent_segments(heard, readings, now)
    hidden = _silent_cells(heard, readings, readings.drift.columns, now)
    hidden_quality = _silent_cells(heard, readings, readings.quality.columns, now)
    blind = (readings.rows == 0) | (readings.last_row_at is None)
    return Assessment(
        threshold_ln=threshold,
        limits=limits,
        drift=_check_drift(limits, readings, silent, hidden, threshold),
        performance=_check_performance(limits, readings, silent, threshold),
        quality=_check_quality(policy, limits, readings, silent, hidden_quality, threshold),
        silent=silent,
        insufficient=((readings.rows < MIN_ROWS) | np.isnan(readings.drift.segment_evidence_ln)) & ~blind,
        blind=blind,
    )


def _check_drift(
    limits: Limits, readings: Readings, silent: BoolArray, hidden: BoolArray, threshold_ln: float
) -> DriftCheck:
    drift = readings.drift
    size = np.where(hidden | limits.ignored, np.nan, drift.size)
    evidence = np.where(silent, np.nan, drift.segment_evidence_ln)
    bar = e_bh_bar(evidence, threshold_ln)
    over = size >= limits.size
    # A segment whose evidence comes from ignored or silenced columns alone has none that counts.
    counted = (~np.isnan(size) & (drift.evidence_ln >= bar)).any(axis=1)
    evident = np.asarray(evidence >= bar) & counted
    return DriftCheck(size, over, bar, evident, over & (drift.evidence_ln >= bar) & evident[:, None])


def _check_performance(limits: Limits, readings: Readings, silent: BoolArray, threshold_ln: float) -> PerformanceCheck:
    performance = readings.performance
    readable = (performance.labelled >= MIN_LABELLED) & ~silent
    evidence = np.where(readable, performance.evidence_ln, np.nan)
    bar = e_bh_bar(evidence, threshold_ln)
    return PerformanceCheck((performance.drop >= limits.drop) & readable, bar, evidence >= bar)


def _check_quality(
    policy: Policy, limits: Limits, readings: Readings, silent: BoolArray, hidden: BoolArray, threshold_ln: float
) -> QualityCheck:
    quality, excess = readings.quality, readings.quality.share - readings.quality.expected
    cells = (excess >= limits.share[:, None, :]) & (quality.evidence_ln >= threshold_ln) & ~hidden[:, :, None]
    # Traffic is judged as a whole: a segment that shrinks is a change of mix, which drift shows.
    whole = (np.arange(len(readings.segments)) == 0) & ~silent
    stopped = whole & (quality.volume_ratio == 0)
    return QualityCheck(
        cells, cells.any(axis=(1, 2)) | stopped, whole & (quality.volume_ratio < policy.data_quality.volume)
    )


def _silent_segments(policy: Policy | None, readings: Readings, now: datetime) -> BoolArray:
    active = [silence for silence in policy.silences if now < silence.until] if policy else []
    whole = [silence for silence in active if silence.column is None]
    return np.array([any(silence.covers(name) for silence in whole) for name in readings.segments], bool)


def _silent_cells(policy: Policy | None, readings: Readings, columns: tuple[str, ...], now: datetime) -> BoolArray:
    hidden = np.zeros((len(readings.segments), len(columns)), bool)
    for silence in policy.silences if policy else ():
        if now < silence.until:
            segments = [silence.covers(name) for name in readings.segments]
            hidden |= np.outer(segments, [silence.concerns(column) for column in columns])
    return hidden
