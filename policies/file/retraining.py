"""The parts of a policy that say when to retrain, and what has to be so before it starts."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from policies.file.curation import Curate
from policies.file.kinds import Leaf, format_moment, one_of, read_moment, span, whole
from policies.file.shapes import OrNothing, Part, Several, Shorthand, Variants, about
from policies.file.trainers import TRAINERS, BuiltinTrainer, Trainer
from policies.file.tree import ScalarNode

_POSITIVE = span(timedelta(seconds=1))


@dataclass(frozen=True)
class PerformanceTrigger:
    """Retrain where labels show that the model became worse."""


@dataclass(frozen=True)
class TwinTrigger:
    """Retrain where a cheap fresh model beats a stale one on the same labels."""


@dataclass(frozen=True)
class Breadth:
    """How much of the model has to drift."""

    segments: int = field(default=1, metadata=about(whole(1), "At least this many segments."))
    columns: int = field(default=1, metadata=about(whole(1), "At least this many columns in each of them."))


@dataclass(frozen=True)
class DriftTrigger:
    """Retrain where inputs or outputs drift, if asked for only with an estimated loss of quality."""

    drift: Breadth = field(metadata=about(Part(Breadth), "How much has to drift."))
    also: str | None = field(
        default=None,
        metadata=about(one_of("estimated_drop"), "What has to be seen in the same segment as well.", name="and"),
    )


Trigger = PerformanceTrigger | DriftTrigger | TwinTrigger
_TRIGGER = Shorthand(
    {"performance": PerformanceTrigger(), "twin": TwinTrigger(), "drift": DriftTrigger(Breadth())}, Part(DriftTrigger)
)


@dataclass(frozen=True)
class Requires:
    """What training needs before it is worth starting."""

    labelled_rows: int = field(
        default=500,
        metadata=about(whole(0), "Rows with a label after the estimated change; 0 where labels never come."),
    )


@dataclass(frozen=True)
class Budget:
    """How many retrainings may start in how long."""

    count: int = field(metadata=about(whole(1), "Retrainings."))
    per: timedelta = field(metadata=about(_POSITIVE, "In any span of this length."))


@dataclass(frozen=True)
class Period:
    """A span of time, its end excluded: `2026-11-27/2026-12-01` ends as December begins."""

    start: datetime
    end: datetime

    def covers(self, at: datetime) -> bool:
        return self.start <= at < self.end


def _read_period(node: ScalarNode) -> Period:
    start, divider, end = node.text.partition("/")
    if not divider:
        raise ValueError
    period = Period(read_moment(start), read_moment(end))
    if period.end <= period.start:
        raise ValueError("it ends before it begins")
    return period


PERIOD = Leaf(
    "two dates or times like 2026-11-27/2026-12-01 (UTC, the end is excluded)",
    _read_period,
    lambda period: f"{format_moment(period.start)}/{format_moment(period.end)}",
    {"type": "string", "pattern": r"^\d{4}-\d{2}-\d{2}[^/]*/\d{4}-\d{2}-\d{2}[^/]*$"},
)


@dataclass(frozen=True)
class Retrain:
    """When to retrain, and what has to be so before it starts."""

    when: tuple[Trigger, ...] = field(
        default=(PerformanceTrigger(), DriftTrigger(Breadth(), "estimated_drop"), TwinTrigger()),
        metadata=about(Several(_TRIGGER), "Any of these starts a retraining, with size, evidence and persistence."),
    )
    requires: Requires = field(default=Requires(), metadata=about(Part(Requires), "What training needs."))
    curate: Curate = field(default=Curate(), metadata=about(Part(Curate), "Which labelled rows teach."))
    cooldown: timedelta = field(
        default=timedelta(hours=1), metadata=about(span(), "Rest after a retraining ended, however it ended.")
    )
    budget: Budget | None = field(
        default=None, metadata=about(OrNothing(Part(Budget)), "The most retrainings; no limit if absent.")
    )
    approval: str = field(
        default="automatic", metadata=about(one_of("automatic", "required"), "Whether a person has to agree first.")
    )
    freeze: tuple[Period, ...] = field(
        default=(), metadata=about(Several(PERIOD), "When nothing is retrained; UTC, the end excluded.")
    )
    trainer: Trainer = field(default=BuiltinTrainer(), metadata=about(Variants(TRAINERS), "Who makes the new model."))
