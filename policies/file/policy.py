"""The training lead's file as frozen values; each field says what its key may hold and what it means.

These fields are the one declaration of the policy file: `parse`, `dump` and `json_schema` all walk them. Durations are
timedeltas, times are aware and in UTC, shares are 0..1; everything is hashable. The parts live in `measures`,
`retraining` and `trainers`; import them from here.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from fnmatch import fnmatchcase

from policies.file.curation import Balance, Curate, Producers
from policies.file.gating import GATE_METRICS, Drops, settled_drops
from policies.file.kinds import boolean, moment, number, one_of, share, size, span, text, whole
from policies.file.measures import (
    COLUMN_KINDS,
    COLUMN_NAME,
    PERFORMANCE_METRICS,
    SUCCESS_METRICS,
    ColumnDrift,
    ColumnRule,
    DataQuality,
    Drift,
    Performance,
    Task,
    Window,
)
from policies.file.notices import DEFAULT_NOTICES, NOTICE_KINDS
from policies.file.overrides import Override, problems_of
from policies.file.retraining import (
    Breadth,
    Budget,
    DriftTrigger,
    PerformanceTrigger,
    Period,
    Requires,
    Retrain,
    Trigger,
    TwinTrigger,
)
from policies.file.shapes import OrNothing, Part, Several, Shorthand, Table, about
from policies.file.trainers import BuiltinTrainer, CommandTrainer, KubernetesTrainer, Trainer, WebhookTrainer

__all__ = [
    "Balance",
    "Breadth",
    "Budget",
    "BuiltinTrainer",
    "Canary",
    "ColumnDrift",
    "ColumnRule",
    "CommandTrainer",
    "Curate",
    "DataQuality",
    "Drift",
    "DriftTrigger",
    "Gate",
    "KubernetesTrainer",
    "Override",
    "Performance",
    "PerformanceTrigger",
    "Period",
    "Policy",
    "Producers",
    "Requires",
    "Retrain",
    "Silence",
    "Task",
    "Trainer",
    "Trigger",
    "TwinTrigger",
    "Watch",
    "WebhookTrainer",
    "Window",
]

_POSITIVE = span(timedelta(seconds=1))


@dataclass(frozen=True)
class Canary:
    """A trial of the new model on live traffic, before it is released."""

    share: float = field(metadata=about(share(above=True), "The share of traffic that it serves; none in the shadow."))
    duration: timedelta = field(metadata=about(_POSITIVE, "How long.", name="for"))
    mode: str = field(
        default="canary",
        metadata=about(
            one_of("canary", "shadow"), "Whether it serves its share, or is asked about rows that the champion serves."
        ),
    )


@dataclass(frozen=True)
class Gate:
    """What the new model has to show on unseen rows before it is released."""

    min_gain: float = field(
        default=0.0,
        metadata=about(number(-1, 1), "The least gain on all rows: points, or the relative fall of an error."),
    )
    max_segment_drop: float = field(
        default=0.02,
        metadata=about(share(), "The most that one segment may lose: points, or the relative rise of an error."),
    )
    min_segment_labels: int = field(
        default=100, metadata=about(whole(1), "Fewer labels than this settle nothing about a segment.")
    )
    must_pass: str | None = field(
        default=None, metadata=about(OrNothing(text()), "A file of cases that must all come out right.")
    )
    latency_p95: timedelta | None = field(
        default=None,
        metadata=about(OrNothing(span(timedelta(milliseconds=1))), "The slowest 95th percentile of one prediction."),
    )
    max_size: int | None = field(
        default=None, metadata=about(OrNothing(size()), "The largest size of the model's files.")
    )
    metrics: Drops = field(
        default=(),
        metadata=about(
            Table(OrNothing(share())),
            "The most that each metric may lose on all rows: points, or the relative rise of an error or loss; "
            "null for one that is not judged.",
        ),
    )
    outcome_alignment: str = field(
        default="warn",
        metadata=about(
            one_of("warn", "require"), "Whether a success that does not show in task.outcome is told, or refuses."
        ),
    )
    canary: Canary | None = field(
        default=None, metadata=about(OrNothing(Part(Canary)), "A first share of traffic; none if absent.")
    )


@dataclass(frozen=True)
class Watch:
    """What happens after a release."""

    duration: timedelta = field(
        default=timedelta(days=7), metadata=about(span(), "How long a release is watched.", name="for")
    )
    rollback: str = field(
        default="automatic",
        metadata=about(one_of("automatic", "manual"), "Who rolls back a release that became worse."),
    )


@dataclass(frozen=True)
class Silence:
    """A part of the model that may neither trigger nor fault for a while, and who says so.

    `segment` and `column` are names or patterns (`*` matches everything); an absent one matches everything too.
    """

    until: datetime = field(metadata=about(moment(), "When the silence ends."))
    reason: str = field(metadata=about(text(), "Why."))
    who: str = field(metadata=about(text(), "Who decided it."))
    segment: str | None = field(default=None, metadata=about(text(), "A segment, or a pattern like intent=*."))
    column: str | None = field(default=None, metadata=about(text(), "A column, or a pattern like debug_*."))

    def problems(self) -> Iterable[tuple[tuple[str, ...], str]]:
        if self.segment is None and self.column is None:
            yield (), "a silence names a `segment`, a `column` or both; to stop all retraining use `retrain.freeze`"

    def covers(self, segment: str) -> bool:
        """Whether it hides the segment, or a column of it."""
        return fnmatchcase(segment, self.segment or "*")

    def concerns(self, column: str) -> bool:
        """Whether it hides the column, in the segments that it covers."""
        return fnmatchcase(column, self.column or "*")


_COLUMN_RULE = Shorthand({kind: ColumnRule(kind) for kind in COLUMN_KINDS}, Part(ColumnRule))


@dataclass(frozen=True)
class Policy:
    """One policy file; only `model` and `task` have no default. A `shadow` starts nothing."""

    model: str = field(
        metadata=about(
            text("a model name of letters, digits, . _ -", r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}"), "The model it is for."
        )
    )
    task: Task = field(metadata=about(Part(Task), "What the model does."))
    version: int = field(default=1, metadata=about(whole(1, 1), "The version of this file format."))
    owner: str | None = field(default=None, metadata=about(OrNothing(text()), "Whom to ask."))
    segments: tuple[tuple[str, ...], ...] = field(
        default=(),
        metadata=about(
            Several(Several(COLUMN_NAME, at_least=1)),
            "The columns that cut segments, one list a cut; `all` is always there.",
        ),
    )
    columns: tuple[tuple[str, ColumnRule], ...] = field(
        default=(), metadata=about(Table(_COLUMN_RULE), "What columns are, where inference would guess wrong.")
    )
    window: Window = field(default=Window(), metadata=about(Part(Window), "How time is cut."))
    evaluate: timedelta = field(
        default=timedelta(minutes=15), metadata=about(_POSITIVE, "How often the readings are taken and decided on.")
    )
    drift: Drift = field(default=Drift(), metadata=about(Part(Drift), "What counts as a change."))
    performance: Performance = field(
        default=Performance(), metadata=about(Part(Performance), "What counts as a loss of quality.")
    )
    data_quality: DataQuality = field(
        default=DataQuality(), metadata=about(Part(DataQuality), "What counts as broken input.")
    )
    false_alarms_per_year: float = field(
        default=1.0,
        metadata=about(number(0, above=True), "False alarms a year that are acceptable, over all segments."),
    )
    persist: int = field(default=2, metadata=about(whole(1), "Evaluations in a row before something counts."))
    retrain: Retrain = field(default=Retrain(), metadata=about(Part(Retrain), "When to retrain."))
    gate: Gate = field(default=Gate(), metadata=about(Part(Gate), "What a new model has to show."))
    watch: Watch = field(default=Watch(), metadata=about(Part(Watch), "What happens after a release."))
    overrides: tuple[Override, ...] = field(
        default=(),
        metadata=about(
            Several(Part(Override)), "Segments that differ; an exact name wins, then the first pattern that fits."
        ),
    )
    silences: tuple[Silence, ...] = field(
        default=(), metadata=about(Several(Part(Silence)), "What may neither trigger nor fault for a while.")
    )
    notices: tuple[str, ...] = field(
        default=DEFAULT_NOTICES,
        metadata=about(Several(one_of(*NOTICE_KINDS)), "What notices are sent of; [] for none."),
    )
    shadow: bool = field(
        default=False,
        metadata=about(boolean(), "A second policy of the model, which only says what it would have done."),
    )

    def __post_init__(self) -> None:
        """Settles the metrics that depend on the task, so that no reader ever meets an empty one."""
        if not self.task.success_metric:
            settled = replace(self.task, success_metric=SUCCESS_METRICS[self.task.kind][0])
            object.__setattr__(self, "task", settled)
        if not self.performance.metric:
            settled_performance = replace(self.performance, metric=PERFORMANCE_METRICS[self.task.kind][0])
            object.__setattr__(self, "performance", settled_performance)
        drops = settled_drops(self.gate.metrics, self.task.kind)
        if drops != self.gate.metrics:
            object.__setattr__(self, "gate", replace(self.gate, metrics=drops))

    def problems(self) -> Iterable[tuple[tuple[str, ...], str]]:
        """Keys that are at odds with each other."""
        allowed = PERFORMANCE_METRICS[self.task.kind]
        if self.performance.metric not in allowed:
            expected = f"{', '.join(allowed[:-1])} or {allowed[-1]}"
            message = f"for a {self.task.kind} expected {expected}, saw {self.performance.metric}"
            yield ("performance", "metric"), message
        for name in dict(self.gate.metrics).keys() - GATE_METRICS[self.task.kind].keys():
            known = ", ".join(GATE_METRICS[self.task.kind])
            yield ("gate", "metrics", name), f"the gate of a {self.task.kind} has the metrics {known}, saw {name}"
        if self.gate.outcome_alignment == "require" and not self.task.outcome:
            yield ("gate", "outcome_alignment"), "without `task.outcome` there is nothing to be aligned with"
        if not self.performance.estimate and any(getattr(trigger, "also", None) for trigger in self.retrain.when):
            yield ("performance", "estimate"), "retrain.when asks for an estimated_drop, so the estimate cannot be off"
        yield from self.retrain.curate.at_odds_with(self.task.kind)
        kinds = self.column_kinds()
        for cut in self.segments:
            shown = f"[{', '.join(cut)}]"
            if len(set(cut)) < len(cut):
                yield ("segments",), f"the cut {shown} names a column twice"
            for ignored in (name for name in cut if kinds.get(name) == "ignore"):
                yield ("segments",), f'the cut {shown} needs "{ignored}", which `columns` ignores: make it a tag'
        if len({frozenset(cut) for cut in self.segments}) < len(self.segments):
            yield ("segments",), "the same cut is given twice"
        for problem in problems_of(self.overrides, self.segments):
            yield ("overrides",), problem

    def column_kinds(self) -> dict[str, str]:
        """Column name → number, category, boolean, time, text, embedding, tag or ignore, as far as the file says."""
        return {name: rule.kind for name, rule in self.columns}

    def drift_rule(self, column: str) -> ColumnDrift:
        """The settled statistic, threshold and ignore of a column; the target's name stands for `prediction`."""
        names = (column, self.task.target) if column == "prediction" else (column,)
        return self.drift.rule_for(*names)
