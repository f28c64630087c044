"""The metrics that the gate compares, each of rows that count any number of times: so that rows can be drawn again."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np

from monitors.readings import FloatArray
from policies.gate.pairs import Side

Measure = Callable[[FloatArray, Side, FloatArray], FloatArray]
"""From the truth of N rows, one side's answers and weights [B, N], how often each row counts, to B values."""

CONFIDENCE_BINS = 10
"""Bins of confidence of equal width: what a person reads as "of those it was 80 to 90 % sure of"."""


def accuracy(truth: FloatArray, side: Side, weights: FloatArray) -> FloatArray:
    """Share of right rows."""
    return _mean(side.right(truth), weights)


def macro_f1(truth: FloatArray, side: Side, weights: FloatArray) -> FloatArray:
    """Mean over classes, labelled or said, of 2 hits / (labelled + said): it falls as soon as one class is lost.

    Source: van Rijsbergen, Information Retrieval, 1979.

    >>> truth, side = np.array([0.0, 0.0, 1.0]), Side(np.array([0.0, 0.0, 2.0]))
    >>> macro_f1(truth, side, np.ones((1, 3))).round(3).tolist()
    [0.333]
    """
    classes, places = np.unique(np.concatenate([truth, side.said]), return_inverse=True)
    is_label, is_said = np.eye(len(classes))[places[: len(truth)]], np.eye(len(classes))[places[len(truth) :]]
    either = weights @ (is_label + is_said)
    hits = weights @ (is_label * is_said)
    f1 = 2 * hits / np.maximum(either, 1e-12)
    return np.asarray(f1.sum(axis=1) / np.maximum((either > 0).sum(axis=1), 1))


def log_loss(truth: FloatArray, side: Side, weights: FloatArray) -> FloatArray:  # noqa: ARG001  as all measures
    """Mean of -ln of the probability that was given to the label."""
    return _mean(_given(side.log_loss), weights)


def brier(truth: FloatArray, side: Side, weights: FloatArray) -> FloatArray:  # noqa: ARG001  as all measures
    """Mean of the sum over classes of (probability - [it is the label])^2."""
    return _mean(_given(side.brier), weights)


def calibration(truth: FloatArray, side: Side, weights: FloatArray) -> FloatArray:
    """Expected calibration error over bins of equal width: sum of n_k / n |mean confidence - accuracy| of the bin.

    Source: Naeini, Cooper and Hauskrecht, 2015.

    >>> side = Side(np.zeros(4), confidence=np.array([0.95, 0.95, 0.55, 0.55]))
    >>> calibration(np.array([0.0, 0.0, 0.0, 1.0]), side, np.ones((1, 4))).round(3).tolist()
    [0.05]
    """
    gaps = (_given(side.confidence) - side.right(truth))[:, None] * np.eye(CONFIDENCE_BINS)[bins_of(side)]
    return np.asarray(np.abs(weights @ gaps).sum(axis=1) / weights.sum(axis=1))


def mae(truth: FloatArray, side: Side, weights: FloatArray) -> FloatArray:
    """Mean absolute error."""
    return _mean(np.abs(side.said - truth), weights)


def rmse(truth: FloatArray, side: Side, weights: FloatArray) -> FloatArray:
    """Root of the mean squared error."""
    return np.sqrt(_mean((side.said - truth) ** 2, weights))


def r2(truth: FloatArray, side: Side, weights: FloatArray) -> FloatArray:
    """1 - squared error / variance of the label; NaN where the labels do not vary. Source: Wright, 1921."""
    centred = truth - truth.mean()
    spread = _mean(centred**2, weights) - _mean(centred, weights) ** 2
    error = _mean((side.said - truth) ** 2, weights)
    return np.where(spread > 1e-12, 1 - error / np.maximum(spread, 1e-12), np.nan)


MEASURES: Mapping[str, Measure] = MappingProxyType(
    {each.__name__: each for each in (accuracy, macro_f1, log_loss, brier, calibration, mae, rmse, r2)}
)
OF_CONFIDENCE = frozenset({"log_loss", "brier", "calibration"})


def bins_of(side: Side) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """The bin of each row's confidence, 0 to `CONFIDENCE_BINS` - 1."""
    places = np.floor(_given(side.confidence) * CONFIDENCE_BINS).astype(np.int64)
    return np.clip(places, 0, CONFIDENCE_BINS - 1)


def _mean(values: FloatArray, weights: FloatArray) -> FloatArray:
    return np.asarray(weights @ values / weights.sum(axis=1))


def _given(values: FloatArray | None) -> FloatArray:
    return np.zeros(0) if values is None else values
