"""What /metrics shows, as one plain value, taken from stored state: any replica says the same."""

import math
from bisect import bisect_left
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Self

# From the one a person must see first to the one that needs nobody: what is kept when segments are capped.
SEGMENT_STATES = ("fault", "drifting", "blind", "watch", "insufficient", "ok")

EVALUATION_BOUNDS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
RETRAINING_BOUNDS = (10.0, 60.0, 300.0, 900.0, 3600.0, 14400.0, 43200.0, 86400.0)

OTHER = "other"


@dataclass(frozen=True)
class Durations:
    """How long something took: `counts[i]` lie at or below `bounds[i]` seconds, the last above all bounds."""

    bounds: tuple[float, ...]
    counts: tuple[int, ...]
    sum_seconds: float = 0.0

    @classmethod
    def of(cls, bounds: tuple[float, ...], seconds: Iterable[float] = ()) -> Self:
        """The durations of a list of seconds; an empty list counts nothing."""
        counts = [0] * (len(bounds) + 1)
        total = 0.0
        for each in seconds:
            counts[bisect_left(bounds, each)] += 1
            total += each
        return cls(bounds, tuple(counts), total)

    def observe(self, seconds: float) -> Self:
        """These durations and one more."""
        place = bisect_left(self.bounds, seconds)
        counts = (*self.counts[:place], self.counts[place] + 1, *self.counts[place + 1 :])
        return replace(self, counts=counts, sum_seconds=self.sum_seconds + seconds)


NO_EVALUATIONS = Durations.of(EVALUATION_BOUNDS)
NO_RETRAININGS = Durations.of(RETRAINING_BOUNDS)


@dataclass(frozen=True)
class ColumnDrift:
    """Drift of one column in one segment. NaN where it could not be read: then no series is shown."""

    column: str
    statistic: str
    size: float
    threshold: float
    evidence_ln: float


@dataclass(frozen=True)
class Performance:
    """One performance figure of a segment; `basis` is `labels` or `estimate`; NaN is not shown."""

    metric: str
    basis: str
    value: float


@dataclass(frozen=True)
class SegmentSnapshot:
    """One segment of a model at its last evaluation; `faults` holds the kinds that are open."""

    name: str
    state: str
    rows: int = 0
    drift: tuple[ColumnDrift, ...] = ()
    performance: tuple[Performance, ...] = ()
    faults: frozenset[str] = frozenset()
    outcome: float | None = None


@dataclass(frozen=True)
class TrialSnapshot:
    """A challenger on trial: its version, its mode and share of the traffic, and what came of it so far."""

    version: str
    mode: str
    share: float
    rows: int
    labels: int


@dataclass(frozen=True)
class TrainingSnapshot:
    """The training that runs, as its trainer tells it: the part that is done, and what the newest checkpoint says."""

    progress: float | None = None
    checkpoints: int = 0
    losses: Mapping[str, float] = field(default_factory=dict)
    scores: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class ModelSnapshot:
    """One model. Counts are for ever; None and "" mean not known yet, and show no series."""

    model: str
    version: str = ""
    predictions: int = 0
    labels: Mapping[str, int] = field(default_factory=dict)
    labels_unmatched: float | None = None
    label_delay_seconds: float | None = None
    rejected: Mapping[str, int] = field(default_factory=dict)
    ingest_lag_seconds: float | None = None
    last_prediction_seconds: float | None = None
    segments: tuple[SegmentSnapshot, ...] = ()
    evidence_threshold_ln: float | None = None
    decisions: Mapping[str, int] = field(default_factory=dict)
    hold_reasons: Mapping[str, int] = field(default_factory=dict)
    retrainings: Mapping[str, int] = field(default_factory=dict)
    retraining_running: bool = False
    training: TrainingSnapshot | None = None
    retraining_durations: Durations = NO_RETRAININGS
    budget_remaining: int | None = None
    verdicts: Mapping[str, int] = field(default_factory=dict)
    releases: int = 0
    rollbacks: int = 0
    post_release_regressions: int = 0
    between_regressions_seconds: float | None = None
    trial: TrialSnapshot | None = None
    aftermath: str = ""
    policy_reload_ok: bool | None = None
    unmeasured: int = 0
    schema: Mapping[str, int] = field(default_factory=dict)
    signals: int = 0
    silences: int = 0
    awaiting_approval: bool = False
    triggers: Mapping[str, int] = field(default_factory=dict)
    shadow_decisions: Mapping[tuple[str, str], int] = field(default_factory=dict)
    notices: Mapping[tuple[str, str], int] = field(default_factory=dict)
    notices_waiting: int = 0
    mlflow_in_step: bool | None = None
    failures: Mapping[str, int] = field(default_factory=dict)
    failure_shares: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Snapshot:
    """All of it. With the store away nothing stored is known: give `Snapshot(store_up=False)`, so that the
    scrape still succeeds and says so.
    """

    models: tuple[ModelSnapshot, ...] = ()
    backlog_rows: int | None = None
    kserve_events: Mapping[str, int] | None = None
    evaluations: Durations = NO_EVALUATIONS
    is_leader: bool = False
    store_up: bool = True
    aside_batches: int | None = None


@dataclass(frozen=True)
class Limits:
    """How many segments of a model, and columns of a segment, get series of their own."""

    segments: int = 200
    columns: int = 20


def bound(snapshot: Snapshot, limits: Limits) -> Snapshot:
    """The same snapshot within the limits: the tail of segments becomes `other`, only top columns are kept.

    `all` is always kept, then segments by how much they need a person, then by rows; columns by evidence.
    `other` has the worst state, the strongest drift of each column and every open fault of what it stands
    for; it has no performance, because a mean of ratios over unlike segments says nothing.
    """
    return replace(snapshot, models=tuple(_bound_model(each, limits) for each in snapshot.models))


def _bound_model(model: ModelSnapshot, limits: Limits) -> ModelSnapshot:
    ranked = sorted(model.segments, key=_rank)
    kept, tail = ranked[: limits.segments], ranked[limits.segments :]
    if tail:
        kept.append(_fold_tail(tail))
    return replace(model, segments=tuple(replace(each, drift=_top(each.drift, limits)) for each in kept))


def _rank(segment: SegmentSnapshot) -> tuple[bool, int, int, str]:
    return (segment.name != "all", _severity(segment), -segment.rows, segment.name)


def _severity(segment: SegmentSnapshot) -> int:
    return SEGMENT_STATES.index(segment.state)


def _fold_tail(tail: list[SegmentSnapshot]) -> SegmentSnapshot:
    strongest: dict[tuple[str, str], ColumnDrift] = {}
    for drift in (each for segment in tail for each in segment.drift):
        key = (drift.column, drift.statistic)
        if key not in strongest or _evidence(drift) > _evidence(strongest[key]):
            strongest[key] = drift
    return SegmentSnapshot(
        name=OTHER,
        state=min(tail, key=_severity).state,
        rows=sum(each.rows for each in tail),
        drift=tuple(strongest.values()),
        faults=frozenset().union(*(each.faults for each in tail)),
    )


def _top(drift: tuple[ColumnDrift, ...], limits: Limits) -> tuple[ColumnDrift, ...]:
    return tuple(sorted(drift, key=lambda each: (-_evidence(each), each.column))[: limits.columns])


def _evidence(drift: ColumnDrift) -> float:
    return -math.inf if math.isnan(drift.evidence_ln) else drift.evidence_ln
