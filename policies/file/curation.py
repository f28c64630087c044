"""The part of a policy that says which labelled rows teach, and how much each counts."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import timedelta

from policies.file.kinds import one_of, share, span, whole
from policies.file.measures import COLUMN_NAME
from policies.file.shapes import OrNothing, Part, Several, about

LABEL = "label"
_POSITIVE = span(timedelta(seconds=1))


@dataclass(frozen=True)
class Balance:
    """How many training rows a segment has at least and at most."""

    by: tuple[str, ...] = field(
        metadata=about(Several(COLUMN_NAME, at_least=1), "The columns that cut the rows; `label` is the label itself.")
    )
    least: int | None = field(
        default=None,
        metadata=about(OrNothing(whole(1)), "A segment with fewer rows is filled up with its newest older ones."),
    )
    most: int | None = field(
        default=None,
        metadata=about(OrNothing(whole(1)), "Of a segment with more rows some are left out, evenly over time."),
    )

    def problems(self) -> Iterable[tuple[tuple[str, ...], str]]:
        if self.least is None and self.most is None:
            yield (), "`balance` does nothing without `least` or `most`"
        if self.least and self.most and self.least > self.most:
            yield ("least",), f"at least {self.least} and at most {self.most} rows cannot both be"


@dataclass(frozen=True)
class Producers:
    """How much of what is learnt may come from one producer."""

    column: str = field(metadata=about(COLUMN_NAME, "The tag or feature that says who a row came from."))
    most: float = field(
        metadata=about(share(above=True), "The largest share of one producer; all rows without one count as one.")
    )


@dataclass(frozen=True)
class Curate:
    """Which labelled rows teach, and how much each counts. Rows that choose or judge a model are never touched."""

    oldest: timedelta | None = field(
        default=None, metadata=about(OrNothing(_POSITIVE), "Rows older than this teach nothing.")
    )
    half_life: timedelta | None = field(
        default=None, metadata=about(OrNothing(_POSITIVE), "The age at which a row counts half.")
    )
    duplicates: timedelta | None = field(
        default=None,
        metadata=about(
            OrNothing(_POSITIVE), "Of rows with equal features and label one teaches in each window of this length."
        ),
    )
    conflicts: str = field(
        default="keep",
        metadata=about(
            one_of("keep", "newest", "leave_out"), "Rows with equal features and another label: which of them teach."
        ),
    )
    suspicious: str = field(
        default="list",
        metadata=about(
            one_of("list", "leave_out", "ignore"),
            "Rows whose label models that have not seen them find very unlikely: listed, left out too, or not sought.",
        ),
    )
    balance: Balance | None = field(
        default=None, metadata=about(OrNothing(Part(Balance)), "Rows of each segment; as they come if absent.")
    )
    producers: Producers | None = field(
        default=None, metadata=about(OrNothing(Part(Producers)), "The most of one producer; no limit if absent.")
    )

    def at_odds_with(self, task: str) -> Iterable[tuple[tuple[str, ...], str]]:
        """Keys that a task of this kind cannot have; their places in a policy."""
        if self.balance is not None and LABEL in self.balance.by and task == "regression":
            yield ("retrain", "curate", "balance", "by"), "the labels of a regression are numbers, and cut no segments"
