"""Scores: metrics of labelled counts, for any number of segments at once."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from monitors.counting.labelled_cells import LabelledCells
from monitors.readings import FloatArray

Score = Callable[[LabelledCells, FloatArray], FloatArray]


@dataclass(frozen=True)
class Metric:
    """How a metric is read: its value from labelled profiles [..., width] as [...], NaN without labels.

    `worse` says what a loss of quality is: a `fall` or `rise` in its own units, or a rise `relative` to the expected.
    `evidence` names the rows' loss whose mean carries the evidence. `mean_of` names what it is the mean of in each
    stratum, where it is one, and so can be expected without labels and be taken apart.
    """

    task: str
    score: Score
    worse: str
    evidence: str
    mean_of: str | None = None

    def drop(self, expected: FloatArray, value: FloatArray) -> FloatArray:
        """How much worse `value` is than `expected`, above 0 for worse."""
        if self.worse == "fall":
            return np.asarray(expected - value)
        rise = value - expected
        if self.worse == "rise":
            return np.asarray(rise)
        safe = np.where(expected > 0, expected, np.nan)
        return np.asarray(rise / safe)


def accuracy(cells: LabelledCells, profile: FloatArray) -> FloatArray:
    """Share of predictions that are their label: correct / n.

    Read it: 1 is all right. Beside the share of the largest class it says what the model adds.
    """
    return _mean(cells, profile, "correct", "rows")


def precision(cells: LabelledCells, profile: FloatArray) -> FloatArray:
    """Mean over classes of hits / predictions of the class; classes neither predicted nor a label are left out.

    Read it: how often "it is class c" is right, each class counting the same. 0 for a class that is never predicted.
    Source: van Rijsbergen, Information Retrieval, 1979.
    """
    return _over_classes(cells, profile, _precisions(cells, profile))


def recall(cells: LabelledCells, profile: FloatArray) -> FloatArray:
    """Mean over classes of hits / labels of the class; classes neither predicted nor a label are left out.

    Read it: how much of each class is found, each class counting the same. Source: van Rijsbergen, 1979.
    """
    return _over_classes(cells, profile, _recalls(cells, profile))


def macro_f1(cells: LabelledCells, profile: FloatArray) -> FloatArray:
    """Mean over classes of 2 p r / (p + r), p and r the class's precision and recall.

    Read it: falls as soon as one class is lost, however rare. The mean of the classes' F1, not F1 of the means.
    Source: van Rijsbergen, 1979; Opitz and Burst, 2019, on the two macro averages.
    """
    p, r = _precisions(cells, profile), _recalls(cells, profile)
    return _over_classes(cells, profile, 2 * p * r / np.maximum(p + r, 1e-12))


def log_loss(cells: LabelledCells, profile: FloatArray) -> FloatArray:
    """Mean of -ln p(label) over rows with a confidence, p at least 10^-6.

    Read it: 0 is certain and right, ln K is not knowing; being sure and wrong costs most. Source: Good, 1952.
    """
    return _mean(cells, profile, "log_loss", "scored")


def brier(cells: LabelledCells, profile: FloatArray) -> FloatArray:
    """Mean over rows with a confidence of the sum over classes of (p - [it is the label])^2.

    Read it: 0 is certain and right, 1 - 1 / K not knowing, 2 certain and wrong; twice the one-sided form that is usual
    for two classes. Source: Brier, 1950.
    """
    return _mean(cells, profile, "brier", "scored")


def calibration(cells: LabelledCells, profile: FloatArray) -> FloatArray:
    """Expected calibration error: sum over confidence bins of n_k / n |mean confidence - accuracy| of the bin.

    Bins are the baseline's, equally filled. Read it: .05 says that confidences are off by five points on average. Few
    labels read too high, by up to the root of K / n for K bins. Source: Naeini, Cooper and Hauskrecht, 2015.

    >>> import numpy as np
    >>> cells = LabelledCells("classification", strata=2, classes=3)
    >>> profile = np.zeros(cells.width)
    >>> profile[cells.start("scored")] = profile[cells.start("strata_rows")] = 10
    >>> profile[cells.start("strata_correct")], profile[cells.start("strata_confidence")] = 7, 9
    >>> round(float(calibration(cells, profile)), 2)
    0.2
    """
    gap = np.abs(cells.read(profile, "strata_confidence") - cells.read(profile, "strata_correct"))[..., :-1]
    return _share(gap.sum(axis=-1), cells.read(profile, "scored"))


def mae(cells: LabelledCells, profile: FloatArray) -> FloatArray:
    """Mean absolute error, in the units of the label."""
    return _mean(cells, profile, "absolute", "rows")


def rmse(cells: LabelledCells, profile: FloatArray) -> FloatArray:
    """Root of the mean squared error, in the units of the label. Far above `mae`: a few errors are very large."""
    return np.sqrt(_mean(cells, profile, "squared", "rows"))


def r2(cells: LabelledCells, profile: FloatArray) -> FloatArray:
    """Coefficient of determination: 1 - squared error / variance of the label; NaN where labels do not vary.

    Read it: 1 is all right, 0 no better than always saying the mean, below 0 worse than that. Falls, too, when the
    labels vary less and errors stay as they were. Source: Wright, 1921.

    >>> import numpy as np
    >>> cells = LabelledCells("regression", strata=1, classes=1)
    >>> labels = np.array([1.0, 2.0, 3.0])  # predicted: 1, 2, 4
    >>> profile = np.array([3.0, 1.0, 1.0, labels.sum(), (labels**2).sum(), 3.0, 1.0, 1.0])
    >>> round(float(r2(cells, profile)), 3)
    0.5
    """
    rows, squared, total, squares = (cells.read(profile, n) for n in ("rows", "squared", "actual", "actual_squared"))
    spread = squares - total**2 / np.maximum(rows, 1)
    varies = spread > 1e-12 * np.maximum(squares, 1e-300)
    return np.where(varies, 1 - squared / np.where(varies, spread, 1), np.nan)


METRICS: Mapping[str, Metric] = {
    "accuracy": Metric("classification", accuracy, "fall", "error", "correct"),
    "macro_f1": Metric("classification", macro_f1, "fall", "error"),
    "precision": Metric("classification", precision, "fall", "error"),
    "recall": Metric("classification", recall, "fall", "error"),
    "log_loss": Metric("classification", log_loss, "relative", "log_loss", "log_loss"),
    "brier": Metric("classification", brier, "relative", "brier", "brier"),
    "calibration": Metric("classification", calibration, "rise", "brier"),
    "mae": Metric("regression", mae, "relative", "absolute", "absolute"),
    "rmse": Metric("regression", rmse, "relative", "absolute", "squared"),
    "r2": Metric("regression", r2, "fall", "absolute"),
}
FIRST = {"classification": "accuracy", "regression": "mae"}
"""The metric of each task that stands in where another cannot be expected row by row."""


def loss_sums(cells: LabelledCells, totals: FloatArray, loss: str) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Rows with a loss, its sum and its sum of squares [...], from totals [..., cells.totals].

    `loss` as in `Metric.evidence`: "error" is 1 for a wrong prediction.
    """
    if loss == "error":
        wrong = cells.read(totals, "rows") - cells.read(totals, "correct")
        return cells.read(totals, "rows"), wrong, wrong
    rows, squares = ("rows", "squared") if loss == "absolute" else ("scored", f"{loss}_squared")
    return cells.read(totals, rows), cells.read(totals, loss), cells.read(totals, squares)


def _mean(cells: LabelledCells, profile: FloatArray, total: str, rows: str) -> FloatArray:
    return _share(cells.read(profile, total), cells.read(profile, rows))


def _share(part: FloatArray, whole: FloatArray) -> FloatArray:
    return np.where(whole > 0, part / np.maximum(whole, 1), np.nan)


def _precisions(cells: LabelledCells, profile: FloatArray) -> FloatArray:
    return np.asarray(cells.read(profile, "hit") / np.maximum(cells.read(profile, "predicted"), 1))


def _recalls(cells: LabelledCells, profile: FloatArray) -> FloatArray:
    return np.asarray(cells.read(profile, "hit") / np.maximum(cells.read(profile, "actual"), 1))


def _over_classes(cells: LabelledCells, profile: FloatArray, by_class: FloatArray) -> FloatArray:
    there = (cells.read(profile, "actual") > 0) | (cells.read(profile, "predicted") > 0)
    return _share(np.where(there, by_class, 0.0).sum(axis=-1), there.sum(axis=-1))
