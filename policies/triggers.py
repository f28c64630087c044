"""What may ask for a retraining: each trigger of the policy, held against every segment in the same shape."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

import numpy as np

from monitors.readings import FloatArray, IntArray, Readings, TimeArray
from policies.assessment import Assessment
from policies.bars import BoolArray, twin_bar
from policies.file.policy import DriftTrigger, PerformanceTrigger, Policy, Trigger
from policies.limits import Limits
from policies.states import LEANING_LN

LEAST_LABELS = 100  # what a model of one small segment needs at the least


@dataclass(frozen=True, eq=False)
class Case:
    """One trigger on the first S segments: what it saw, what it asks, and what follows.

    `size` against `limit`, `evidence_ln` against `bar`; `over` and `evident` are where they are reached, `exceeded`
    where both are and nothing forbids, `leaning` where a person should look. `run` counts this evaluation in a row.
    `run` evaluations in a row have to be `persist`, `labelled` rows have to be `needed`, each segment its own.
    `measures` says what the size is, `columns` names the column it was seen in, `started` its window's start.
    At least `breadth` segments have to persist. `estimated_drop` is there where the trigger asks for it.
    """

    code: str
    name: str
    measures: tuple[str, ...]
    columns: tuple[str | None, ...]
    size: FloatArray
    limit: FloatArray
    over: BoolArray
    evidence_ln: FloatArray
    bar: float
    evident: BoolArray
    exceeded: BoolArray
    leaning: BoolArray
    run: IntArray
    persist: IntArray
    labelled: IntArray
    needed: IntArray
    started: TimeArray
    breadth: int = 1
    estimated_drop: FloatArray | None = None

    @property
    def firing(self) -> BoolArray:
        """Where the trigger fires: size, evidence and persistence, in enough segments."""
        lasting = self.exceeded & (self.run >= self.persist)
        return lasting if np.count_nonzero(lasting) >= self.breadth else np.zeros_like(lasting)

    @property
    def ready(self) -> BoolArray:
        """Where it fires and labels suffice to train on what came after the change."""
        return self.firing & (self.labelled >= self.needed)


def open_case(
    trigger: Trigger, policy: Policy, readings: Readings, assessment: Assessment, runs: Mapping[str, int]
) -> Case:
    """One trigger held against every segment, with its run so far."""
    if isinstance(trigger, PerformanceTrigger):
        return _performance_case(policy, readings, assessment, runs)
    if isinstance(trigger, DriftTrigger):
        return _drift_case(trigger, policy, readings, assessment, runs)
    return _twin_case(policy, readings, assessment, runs)


def count_runs(name: str, exceeded: BoolArray, segments: tuple[str, ...], runs: Mapping[str, int]) -> IntArray:
    """How many evaluations in a row, this one included, each segment was exceeded; 0 where it is not now."""
    before = [runs.get(f"{name}:{segment}", 0) for segment in segments]
    return np.where(exceeded, np.array(before, np.int64) + 1, 0)


def needed_labels(policy: Policy, readings: Readings, limits: Limits) -> IntArray:
    """Rows with a label that a retraining needs after the change, for each segment.

    For `all` what the policy requires; for a smaller segment its share of it, as its rows come in proportion, but no
    less than 100 (or than the policy's own figure, if that is smaller). A segment's own figure is taken as it is.
    """
    required = policy.retrain.requires.labelled_rows
    part = readings.baseline_rows / max(1, int(readings.baseline_rows[0]))
    scaled = np.minimum(required, np.maximum(LEAST_LABELS, np.ceil(required * part)))
    scaled[0] = required
    return np.where(limits.is_own, limits.labelled_rows, scaled.astype(np.int64))


def drift_name(trigger: DriftTrigger) -> str:
    """The name under which runs of a drift trigger are counted: `drift`, `drift+estimated_drop`, `drift/3` columns."""
    breadth = f"/{trigger.drift.columns}" if trigger.drift.columns > 1 else ""
    return f"drift{breadth}" + (f"+{trigger.also}" if trigger.also else "")


def _performance_case(policy: Policy, readings: Readings, assessment: Assessment, runs: Mapping[str, int]) -> Case:
    performance, check = readings.performance, assessment.performance
    exceeded = check.over & check.evident & ~assessment.blind
    return Case(
        code="performance_drop",
        name="performance",
        measures=(f"drop of {performance.metric}",) * len(exceeded),
        columns=(None,) * len(exceeded),
        size=performance.drop,
        limit=assessment.limits.drop,
        over=check.over,
        evidence_ln=performance.evidence_ln,
        bar=check.bar,
        evident=check.evident,
        exceeded=exceeded,
        leaning=check.evident | (check.over & (performance.evidence_ln >= LEANING_LN)),
        run=count_runs("performance", exceeded, readings.segments, runs),
        persist=assessment.limits.persist,
        labelled=performance.labelled_since_change,
        needed=needed_labels(policy, readings, assessment.limits),
        started=performance.window_start,
    )


def _drift_case(
    trigger: DriftTrigger, policy: Policy, readings: Readings, assessment: Assessment, runs: Mapping[str, int]
) -> Case:
    drift, check, name = readings.drift, assessment.drift, drift_name(trigger)
    rows_suffice = ~(assessment.insufficient | assessment.blind)
    exceeded = (np.count_nonzero(check.drifting, axis=1) >= trigger.drift.columns) & rows_suffice
    drop = readings.performance.estimated_drop if trigger.also else None
    if drop is not None:
        exceeded = exceeded & (drop >= assessment.limits.drop)
    lead = _leading_columns(drift.evidence_ln, assessment)
    led = np.arange(len(lead)), lead
    leaning = (check.over & (drift.evidence_ln >= LEANING_LN)).any(axis=1)
    return Case(
        code="drift_with_estimated_drop",
        name=name,
        measures=tuple(f"{drift.statistics[column]} of {drift.columns[column]}" for column in lead),
        columns=tuple(drift.columns[column] for column in lead),
        size=check.size[led],
        limit=assessment.limits.size[led],
        over=np.count_nonzero(check.over, axis=1) >= trigger.drift.columns,
        evidence_ln=drift.segment_evidence_ln,
        bar=check.bar,
        evident=check.evident,
        exceeded=exceeded,
        leaning=(check.evident | leaning) & rows_suffice,
        run=count_runs(name, exceeded, readings.segments, runs),
        persist=assessment.limits.persist,
        labelled=readings.performance.labelled_since_change,
        needed=needed_labels(policy, readings, assessment.limits),
        started=drift.window_start[led],
        breadth=trigger.drift.segments,
        estimated_drop=drop,
    )


def _twin_case(policy: Policy, readings: Readings, assessment: Assessment, runs: Mapping[str, int]) -> Case:
    """The twin is one test of the whole model: only `all` has values."""
    twin = readings.twin
    lead = float(twin.wins - twin.losses) if twin else np.nan
    evidence, bar = twin.evidence_ln if twin else np.nan, twin_bar(policy, twin)
    over, evident = lead > 0, evidence >= bar
    heard = not (assessment.silent[0] or assessment.blind[0])
    exceeded = np.array([over and evident and heard])
    return Case(
        code="twin_better",
        name="twin",
        measures=("wins less losses of a fresh twin",),
        columns=(None,),
        size=np.array([lead]),
        limit=np.array([1.0]),
        over=np.array([over]),
        evidence_ln=np.array([evidence]),
        bar=bar,
        evident=np.array([evident]),
        exceeded=exceeded,
        leaning=np.array([evident and heard]),
        run=count_runs("twin", exceeded, readings.segments[:1], runs),
        persist=assessment.limits.persist[:1],
        labelled=np.array([twin.labelled if twin else 0]),
        needed=assessment.limits.labelled_rows[:1],
        started=np.array([_seconds(twin.began if twin else None)], "datetime64[s]"),
    )


def _seconds(at: datetime | None) -> np.datetime64:
    return np.datetime64("NaT") if at is None else np.datetime64(int(at.timestamp()), "s")


def _leading_columns(evidence_ln: FloatArray, assessment: Assessment) -> IntArray:
    """The column to speak of, for each segment: the strongest that drifts, else the strongest that may count."""
    check = assessment.drift
    score = np.where(np.isnan(check.size) | np.isnan(evidence_ln), -np.inf, evidence_ln)
    return np.asarray(np.argmax(np.where(check.drifting, score + 1e9, score), axis=1), np.int64)
