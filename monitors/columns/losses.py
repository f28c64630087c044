"""Losses of single predictions: what each row with a label adds to the sums of a labelled profile."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from monitors.columns.numeric import numbers
from monitors.columns.values import text_of
from monitors.readings import FloatArray

LEAST_PROBABILITY = 1e-6
"""A label that was thought impossible costs as much as this: one such row must not decide a mean."""
_PREFIX = "score_"
_UNIT = 2.0**20


def class_losses(table: pa.Table, classes: Sequence[str]) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Confidence, log loss and Brier score of each row; NaN where it has no confidence.

    Log loss: -ln p(label), p at least `LEAST_PROBABILITY`. Brier score: sum over classes of (p - [it is the label])^2,
    0 to 2. p are the scores; what they leave to 1 is shared by the classes without one. A row without scores is read as
    its confidence for the predicted class, the rest shared by the K - 1 others: log loss is then -ln c where it was
    right and -ln((1 - c) / (K - 1)) where it was wrong.

    All three are kept in units of 2^-20, so that their sums are exact: the same in any order and split.

    Read it: 0 is certain and right; ln K (.69 for two classes) is the log loss of not knowing at all, 1 - 1 / K its
    Brier score. Source: Good, 1952; Brier, 1950.

    >>> import pyarrow as pa
    >>> rows = pa.table({"prediction": ["a", "a"], "label": ["a", "b"], "confidence": [0.9, 0.9]})
    >>> [values.round(2).tolist() for values in class_losses(rows, ["a", "b"])]
    [[0.9, 0.9], [0.11, 2.3], [0.02, 1.62]]
    """
    values, missing, wrong = numbers(table, "confidence", "")
    confidence = np.where(missing | wrong, np.nan, np.clip(values.astype(np.float64), 0, 1))
    own, squares = _of_confidence(table, confidence, max(len(classes), 2))
    scored = [name for name in table.column_names if name.startswith(_PREFIX)]
    if scored:
        has_scores, its_own, its_squares = _of_scores(table, scored, classes)
        own, squares = np.where(has_scores, its_own, own), np.where(has_scores, its_squares, squares)
    without = np.isnan(confidence)
    log_loss = -np.log(np.clip(own, LEAST_PROBABILITY, 1))
    brier = squares - 2 * own + 1
    return exact(confidence), exact(np.where(without, np.nan, log_loss)), exact(np.where(without, np.nan, brier))


def hits(table: pa.Table) -> NDArray[np.bool_]:
    """Which predictions are their label."""
    same = pc.equal(text_of(table, "prediction"), text_of(table, "label"))
    return np.asarray(pc.fill_null(same, False).to_numpy(zero_copy_only=False), dtype=bool)


def number_errors(table: pa.Table) -> tuple[FloatArray, FloatArray, NDArray[np.bool_]]:
    """Prediction less label of each row, the label, and which rows have both; 0 where one is missing or infinite."""
    predicted, actual = (numbers(table, name, "")[0].astype(np.float64) for name in ("prediction", "label"))
    usable = np.isfinite(predicted) & np.isfinite(actual)
    return np.where(usable, predicted - actual, 0.0), np.where(usable, actual, 0.0), usable


def _of_confidence(table: pa.Table, confidence: FloatArray, classes: int) -> tuple[FloatArray, FloatArray]:
    """The label's probability and the sum of squared probabilities, from the confidence alone."""
    rest = (1 - confidence) / (classes - 1)
    return np.where(hits(table), confidence, rest), confidence**2 + (classes - 1) * rest**2


def _of_scores(
    table: pa.Table, names: Sequence[str], classes: Sequence[str]
) -> tuple[NDArray[np.bool_], FloatArray, FloatArray]:
    """Which rows have scores, and the same two from them."""
    scores = np.column_stack([numbers(table, name, "")[0].astype(np.float64) for name in names])
    there = np.isfinite(scores)
    scores = np.clip(np.where(there, scores, 0.0), 0, 1)
    named = [name.removeprefix(_PREFIX) for name in names]
    unnamed = len(set(classes).difference(named))
    rest = np.maximum(1 - scores.sum(axis=1), 0) / max(unnamed, 1) if unnamed else np.zeros(len(scores))
    found = pc.index_in(text_of(table, "label"), value_set=pa.array(named, pa.string()))
    place = pc.fill_null(found, -1).to_numpy(zero_copy_only=False)
    own = np.where(place >= 0, scores[np.arange(len(scores)), place], rest)
    return np.asarray(there.any(axis=1)), own, (scores**2).sum(axis=1) + unnamed * rest**2


def exact(values: FloatArray) -> FloatArray:
    """Rounded to 2^-20: sums of such numbers are exact up to 2^33."""
    return np.asarray(np.rint(values * _UNIT) / _UNIT)
