"""The readings held against the policy's thresholds, for all segments at once."""

from dataclasses import dataclass
from datetime import datetime

import numpy as np

from monitors.readings import FAULT_KINDS, FloatArray, Readings
from policies.bars import BoolArray, e_bh_bar, ln_threshold
from policies.policy import Policy

MIN_ROWS = 200  # fewer rows in the longest window say too little about a distribution
MIN_LABELLED = 30  # fewer labels say too little about performance


@dataclass(frozen=True, eq=False)
class DriftCheck:
    """S segments x C columns. `size` is NaN where the policy ignores or silences it, `limits` (C) are its thresholds.

    `over` (S x C): the size reaches its limit. `bar`: the log e-value that e-BH asks now; `evident` (S): the segment
    reaches it, and so does a column of it that counts. `drifting` (S x C): the column has size and evidence, in a
    segment with evidence.
    """

    size: FloatArray
    limits: FloatArray
    over: BoolArray
    bar: float
    evident: BoolArray
    drifting: BoolArray


@dataclass(frozen=True, eq=False)
class PerformanceCheck:
    """S segments. `over`: the drop reaches the policy's; `evident`: its evidence reaches `bar`; both need 30 labels."""

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
    """All checks. `silent`, `insufficient` and `blind` (S): silenced whole, too few rows, no rows at all."""

    threshold_ln: float
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
    silent = _silent_segments(heard, readings, now)
    hidden = _silent_cells(heard, readings, readings.drift.columns, now)
    hidden_quality = _silent_cells(heard, readings, readings.quality.columns, now)
    blind = (readings.rows == 0) | (readings.last_row_at is None)
    return Assessment(
        threshold_ln=threshold,
        drift=_check_drift(policy, readings, silent, hidden, threshold),
        performance=_check_performance(policy, readings, silent, threshold),
        quality=_check_quality(policy, readings, silent, hidden_quality, threshold),
        silent=silent,
        insufficient=((readings.rows < MIN_ROWS) | np.isnan(readings.drift.segment_evidence_ln)) & ~blind,
        blind=blind,
    )


def _check_drift(
    policy: Policy, readings: Readings, silent: BoolArray, hidden: BoolArray, threshold_ln: float
) -> DriftCheck:
    drift = readings.drift
    rules = [policy.drift_rule(column) for column in drift.columns]
    ignored = np.array([rule.ignore for rule in rules], bool)
    limits = np.array([rule.threshold for rule in rules], float)
    size = np.where(hidden | ignored, np.nan, drift.size)
    evidence = np.where(silent, np.nan, drift.segment_evidence_ln)
    bar = e_bh_bar(evidence, threshold_ln)
    over = size >= limits
    # A segment whose evidence comes from ignored or silenced columns alone has none that counts.
    counted = (~np.isnan(size) & (drift.evidence_ln >= bar)).any(axis=1)
    evident = np.asarray(evidence >= bar) & counted
    return DriftCheck(size, limits, over, bar, evident, over & (drift.evidence_ln >= bar) & evident[:, None])


def _check_performance(policy: Policy, readings: Readings, silent: BoolArray, threshold_ln: float) -> PerformanceCheck:
    performance = readings.performance
    readable = (performance.labelled >= MIN_LABELLED) & ~silent
    evidence = np.where(readable, performance.evidence_ln, np.nan)
    bar = e_bh_bar(evidence, threshold_ln)
    return PerformanceCheck((performance.drop >= policy.performance.max_drop) & readable, bar, evidence >= bar)


def _check_quality(
    policy: Policy, readings: Readings, silent: BoolArray, hidden: BoolArray, threshold_ln: float
) -> QualityCheck:
    quality, allowed = readings.quality, policy.data_quality
    # A value of another type is a missing value that something else stands in for.
    limits = {"unseen": allowed.unseen, "out_of_range": allowed.out_of_range}
    by_kind = np.array([limits.get(kind, allowed.missing) for kind in FAULT_KINDS])
    cells = (quality.share - quality.expected >= by_kind) & (quality.evidence_ln >= threshold_ln) & ~hidden[:, :, None]
    # Traffic is judged as a whole: a segment that shrinks is a change of mix, which drift shows.
    whole = (np.arange(len(readings.segments)) == 0) & ~silent
    stopped = whole & (quality.volume_ratio == 0)
    return QualityCheck(cells, cells.any(axis=(1, 2)) | stopped, whole & (quality.volume_ratio < allowed.volume))


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
