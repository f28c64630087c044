"""The parts of a policy that say what is measured: task, columns, window, drift, performance, data quality."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import timedelta
from fnmatch import fnmatchcase

from monitors.counting.scores import METRICS
from policies.file.kinds import boolean, number, one_of, share, span, text
from policies.file.shapes import OrNothing, Part, Shorthand, Table, about

STATISTICS = ("psi", "jensenshannon", "wasserstein", "ks", "chisquare", "g_test", "hellinger", "kl_div", "TVD")
COLUMN_KINDS = ("number", "category", "boolean", "time", "text", "embedding", "tag", "ignore")
SUCCESS_METRICS = {"classification": ("accuracy", "macro_f1"), "regression": ("mae", "rmse")}
PERFORMANCE_METRICS = {
    task: tuple(name for name, metric in METRICS.items() if metric.task == task) for task in SUCCESS_METRICS
}

COLUMN_NAME = text("the name of a column")
_STATISTIC = one_of(*STATISTICS)


@dataclass(frozen=True)
class Task:
    """What the model does."""

    kind: str = field(metadata=about(one_of("classification", "regression"), "What the model predicts."))
    target: str = field(
        default="prediction", metadata=about(COLUMN_NAME, "Another name for the prediction in segments.")
    )
    success_metric: str = field(
        default="",
        metadata=about(
            one_of(*(name for names in SUCCESS_METRICS.values() for name in names)),
            "What the gate's least gain is in, and reports show first; accuracy, or mae for a regression.",
        ),
    )
    outcome: str | None = field(
        default=None,
        metadata=about(OrNothing(text()), "The field of the labels' outcome that tells whether the user was helped."),
    )

    def problems(self) -> Iterable[tuple[tuple[str, ...], str]]:
        if self.success_metric not in ("", *SUCCESS_METRICS[self.kind]):
            allowed = " or ".join(SUCCESS_METRICS[self.kind])
            yield ("success_metric",), f"for a {self.kind} expected {allowed}, saw {self.success_metric}"


@dataclass(frozen=True)
class ColumnRule:
    """What a column is, where inference would guess wrong."""

    kind: str = field(
        metadata=about(one_of(*COLUMN_KINDS), "What the values are; a tag cuts segments and is never a feature.")
    )


@dataclass(frozen=True)
class Window:
    """How time is cut, and how late data may be."""

    slice: timedelta = field(
        default=timedelta(hours=1),
        metadata=about(span(timedelta(seconds=1)), "The grain of counting; windows are 1, 2, 4 ... 64 and 168 slices."),
    )
    season: str = field(
        default="none",
        metadata=about(
            one_of("none", "hour_of_day", "hour_of_week"),
            "Compare with the same hours of the baseline; hour_of_day needs two weeks of it, hour_of_week four.",
        ),
    )
    lateness: timedelta = field(
        default=timedelta(0), metadata=about(span(), "How long a slice stays open for late predictions.")
    )
    label_delay: timedelta = field(
        default=timedelta(0), metadata=about(span(), "How long after a prediction its label usually comes.")
    )


@dataclass(frozen=True)
class ColumnDrift:
    """Another statistic or threshold for one column, or none at all."""

    statistic: str | None = field(default=None, metadata=about(_STATISTIC, "The statistic for this column."))
    threshold: float | None = field(
        default=None, metadata=about(number(0), "The smallest size of interest for this column.")
    )
    ignore: bool = field(default=False, metadata=about(boolean(), "Never look at the drift of this column."))


@dataclass(frozen=True)
class Drift:
    """What counts as a change of inputs and outputs."""

    statistic: str = field(
        default="psi", metadata=about(_STATISTIC, "How size is measured; named as Evidently names it.")
    )
    threshold: float = field(
        default=0.05,
        metadata=about(
            number(0), "The smallest size of interest, of the statistic less what sampling alone would give."
        ),
    )
    columns: tuple[tuple[str, ColumnDrift], ...] = field(
        default=(),
        metadata=about(
            Table(Shorthand({"ignore": ColumnDrift(ignore=True)}, Part(ColumnDrift))),
            "Columns that differ, by name or pattern (debug_*); an exact name wins, then the first pattern.",
        ),
    )

    def rule_for(self, *names: str) -> ColumnDrift:
        """The settled statistic, threshold and ignore of a column known under these names."""
        exact = [rule for name, rule in self.columns if name in names]
        alike = [rule for name, rule in self.columns if any(fnmatchcase(known, name) for known in names)]
        rule = (exact + alike + [ColumnDrift()])[0]
        threshold = self.threshold if rule.threshold is None else rule.threshold
        return ColumnDrift(rule.statistic or self.statistic, threshold, rule.ignore)


@dataclass(frozen=True)
class Performance:
    """What counts as a loss of quality."""

    metric: str = field(
        default="",
        metadata=about(
            one_of(*(name for names in PERFORMANCE_METRICS.values() for name in names)),
            "What is watched with labels; accuracy, or mae for a regression, where not given.",
        ),
    )
    max_drop: float = field(
        default=0.03,
        metadata=about(
            share(), "The smallest loss of interest: points of a score like accuracy, or the relative rise of an error."
        ),
    )
    estimate: bool = field(default=True, metadata=about(boolean(), "Estimate the metric where labels are missing."))


@dataclass(frozen=True)
class DataQuality:
    """How much more than in the baseline counts as broken input."""

    missing: float = field(default=0.05, metadata=about(share(), "Missing values, and values of another type."))
    unseen: float = field(default=0.05, metadata=about(share(), "Categories that the baseline never had."))
    out_of_range: float = field(default=0.05, metadata=about(share(), "Numbers outside the baseline's range."))
    volume: float = field(
        default=0.5,
        metadata=about(share(), "Traffic below this share of the baseline's is a finding; none is a fault."),
    )
