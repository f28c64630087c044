"""Evidence that a mean loss rose: for losses of which a few rows make up most."""

import numpy as np

from monitors.readings import FloatArray
from monitors.statistics.evidence import mean_of

INFLATION = 1.5
"""Losses are less dependent on each other than inputs are: what they wobble is learnt, and half is added for safety."""
RISES = (0.05, 0.1, 0.2, 0.4, 0.8)
"""Of the mean, in standard deviations of a row's loss."""
_LEAST_SPREAD = 1e-3
"""Of the mean: losses that are all alike differ by rounding only."""

Sums = tuple[FloatArray, FloatArray, FloatArray]
"""Rows with a loss, its sum and its sum of squares [...]."""


def loss_evidence_ln(now: Sums, usual: Sums, wobble: FloatArray) -> FloatArray:
    """One-sided evidence that the losses of a window are larger in the mean than the usual ones [...].

    With m the usual mean, s its standard deviation and y = (x - m) / s: e = mean over t of `RISES` of
    exp(r (t sum of y - t^2 / 6 (sum of y^2 + 2 n))). Its mean is at most 1 for rows of the usual mean and variance,
    however few of them make up most of the loss: a surprise that rests on one huge loss pays for its square. A normal
    mixture, as for inputs, has no bound there: a loss of 7 in one row of 1,000 gave it e^100 with nothing changed.

    r = (1 / n) / (1.5 / n + 1 / M + wobble) makes the window worth as many rows as its dependence, the M usual rows and
    the wobble of the mean leave it. The usual rows hold one more, of the loss that a unit of loss belongs to in the
    mean: none yet is not none ever.

    Read it: as every evidence, ln 20 = 3 is what chance shows at most once in 20. Source: Delyon, 2009; Howard, Ramdas,
    McAuliffe and Sekhon, 2020.

    >>> import numpy as np
    >>> def rows(n, wrong):  # each wrong one costs 5, each right one nothing
    ...     return tuple(np.array(v) for v in (n, 5.0 * wrong, 25.0 * wrong))
    >>> usual = rows(5000.0, 50)
    >>> [round(float(loss_evidence_ln(rows(200.0, wrong), usual, np.array(0.0))), 1) for wrong in (2, 4, 20)]
    [-1.3, -0.4, 11.5]
    """
    rows, total, squares = now
    before, its_total, its_squares = usual
    typical = (squares + its_squares) / np.maximum(total + its_total, 1e-300)
    mean = (its_total + typical) / (before + 1)
    variance = (its_squares + typical**2) / (before + 1) - mean**2
    variance = np.maximum(variance, 1e-300 + (_LEAST_SPREAD * mean) ** 2)
    rise = (total - rows * mean) / np.sqrt(variance)
    square = np.maximum(squares - 2 * mean * total + rows * mean**2, 0) / variance
    worth = 1 / (INFLATION + rows / np.maximum(before, 1) + rows * wobble)
    t = np.asarray(RISES)
    return mean_of(worth[..., None] * (t * rise[..., None] - t**2 / 6 * (square + 2 * rows)[..., None]), -1)
