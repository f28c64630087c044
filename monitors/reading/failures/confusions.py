"""Confusions: which class was taken for which, and how often the baseline's model did the same."""

from dataclasses import dataclass

import numpy as np

from monitors.reading.failures.rules import HIGH, LOW
from monitors.reading.failures.sight import LabelledRows
from monitors.readings import FloatArray, IntArray
from monitors.statistics.excess import share_at_most

Pair = tuple[str, str | None]


@dataclass(frozen=True, eq=False)
class Confusions:
    """Which confusion each error is [n], a place in `pairs` (predicted, actual); -1 where the row is no error.

    `group` [n] is what was predicted, as a number below `groups`, and `group_of` [P] that of each confusion. Of a
    regression there is one group, and the pairs are (high, None) and (low, None). `usual` [P, 2] are the baseline's
    rows of the confusion and those predicted so, zeros where it knows nothing of it; `tried` how many confusions there
    could be.
    """

    pairs: tuple[Pair, ...]
    of_row: IntArray
    groups: int
    group: IntArray
    group_of: IntArray
    usual: FloatArray
    tried: int

    def counts(self, of_row: IntArray) -> FloatArray:
        """Errors by confusion [P] among some rows, given as their part of `of_row`."""
        return np.bincount(of_row[of_row >= 0], minlength=len(self.pairs)).astype(np.float64)

    def even_parts(self, counts: FloatArray) -> FloatArray:
        """Of the errors of rows that were predicted so the part of each confusion [P] if labels fell at random.

        s_b / (1 - s_a) of the confusion of b for a, with s the shares of the errors' labels; of a regression's two
        directions the shares.
        """
        total = max(float(counts.sum()), 1.0)
        of_label: dict[str | None, float] = {}
        for (_, actual), count in zip(self.pairs, counts.tolist(), strict=True):
            of_label[actual] = of_label.get(actual, 0.0) + count / total
        if None in of_label:
            return counts / total
        return np.array([of_label[b] / max(1 - of_label.get(a, 0.0), 1 / total) for a, b in self.pairs])


def confusions_of(rows: LabelledRows) -> Confusions:
    """The confusions among the errors of a batch, and how often the baseline has them."""
    if rows.is_regression:
        nothing = np.zeros(len(rows), dtype=np.int64)
        of_row = np.where(rows.wrong, np.where(rows.errors > 0, 0, 1), -1)
        return Confusions(((HIGH, None), (LOW, None)), of_row, 1, nothing, nothing[:2] * 0, np.zeros((2, 2)), 2)
    (predicted, classes), (actual, labels) = rows.codes("prediction"), rows.codes("label")
    joined = predicted.astype(np.int64) * max(len(labels), 1) + actual
    distinct, of_error = np.unique(joined[rows.wrong], return_inverse=True)
    of_row = np.full(len(rows), -1, dtype=np.int64)
    of_row[rows.wrong] = of_error
    group, label = np.divmod(distinct, max(len(labels), 1))
    pairs = tuple((classes[a], labels[b]) for a, b in zip(group.tolist(), label.tolist(), strict=True))
    usual = np.array([_usual(rows, *pair) for pair in pairs]).reshape(-1, 2)
    tried = len(classes) * len(labels)
    return Confusions(pairs, of_row, len(classes), predicted.astype(np.int64), group, usual, tried)


def usual_error_rate(rows: LabelledRows, source: str, value: str) -> float:
    """The share of errors that the baseline's rows with this prediction, or with this label, hardly exceed; 0 where it
    says nothing of them.
    """
    table, places = _confusion(rows)
    if value not in places:
        return 0.0
    place = places[value]
    some = table[place] if source == "prediction" else table[:, place]
    return share_at_most(float(some.sum() - some[place]), float(some.sum())) if some.sum() else 0.0


def _usual(rows: LabelledRows, predicted: str, actual: str) -> tuple[float, float]:
    table, places = _confusion(rows)
    if not {predicted, actual} <= places.keys():
        return 0.0, 0.0
    return float(table[places[predicted], places[actual]]), float(table[places[predicted]].sum())


def _confusion(rows: LabelledRows) -> tuple[FloatArray, dict[str, int]]:
    """The baseline's table of predictions and labels, and the place of each class in it."""
    table = rows.baseline.confusion
    column = next(each for each in rows.baseline.layout.columns if each.name == "prediction")
    return table, dict(column.places) if table.size else {}
