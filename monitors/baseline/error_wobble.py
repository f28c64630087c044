"""How much the errors of a model usually move from slice to slice, learned from the labels of the baseline."""

from collections.abc import Sequence

import numpy as np

from monitors.baseline.wobble import FEWEST_BLOCKS, blocks, moderate
from monitors.counting.labelled_cells import LabelledCells
from monitors.counting.scores import FIRST, METRICS, loss_sums
from monitors.readings import FloatArray


def learn_error_wobble(cells: LabelledCells, labelled: Sequence[FloatArray], rungs: Sequence[int]) -> FloatArray:
    """Variance [R, S] beyond sampling of the mean error, in units of the variance of a row's error.

    An error is 0 or 1 for a classification, the absolute error for a regression. From T windows of n rows, which sum up
    to E, with mean m and variance s2 of all rows: ratio = sum of (E - n m)^2 / (n s2) over T - 1, and the rest as for
    inputs, in `moderate`. Read it: .01 says that the mean error of a window of any size is uncertain as if it had 100
    rows. Source: Smyth, 2004.

    Args:
        cells: of the labelled profiles.
        labelled: labelled profiles [S, width] of the baseline's slices in order of time.
        rungs: window lengths in slices [R].

    >>> import numpy as np
    >>> cells, rng = LabelledCells("regression", strata=1, classes=1), np.random.default_rng(0)
    >>> def slices(restless):
    ...     means = 1 + restless * rng.normal(size=200)
    ...     rows = [np.abs(mean) + rng.normal(0, 0.5, 100) for mean in means]
    ...     return [np.array([[100, e.sum(), (e**2).sum(), 0, 0, 100, e.sum(), (e**2).sum()]]) for e in rows]
    >>> still, restless = (learn_error_wobble(cells, slices(r), (1,))[0, 0] for r in (0.0, 0.3))
    >>> bool(still < 0.005), bool(restless > 0.1)
    (True, True)
    """
    totals = np.stack([profile[:, : cells.totals] for profile in labelled])
    loss = METRICS[FIRST[cells.task]].evidence
    all_rows, total, squares = loss_sums(cells, totals.sum(axis=0), loss)
    mean = total / np.maximum(all_rows, 1)
    variance = np.maximum(squares / np.maximum(all_rows, 1) - mean**2, 1e-12)
    learnt = np.full((len(rungs), totals.shape[1]), np.nan)
    for rung, length in enumerate(rungs):
        if len(totals) // length >= FEWEST_BLOCKS:
            rows, sums, _ = loss_sums(cells, blocks(totals, length), loss)
            squared = (sums - rows * mean) ** 2 / (np.maximum(rows, 1) * variance)
            learnt[rung] = _extra(rows, squared)
    return _without_gaps(learnt)


def _extra(rows: FloatArray, squared: FloatArray) -> FloatArray:
    # The mean comes from these very windows, which takes one window's worth of movement out of them.
    free = np.where(rows > 0, 1 - rows / np.maximum(rows.sum(axis=0), 1), 0).sum(axis=0)[:, None]
    ratio = np.where(rows > 0, squared, 0).sum(axis=0)[:, None] / np.maximum(free, 1e-9)
    extra, factor = moderate(ratio, free, rows.mean(axis=0)[:, None], np.ones_like(ratio))
    return np.asarray((extra * factor)[:, 0])


def _without_gaps(learnt: FloatArray) -> FloatArray:
    """A rung that was too thin to learn takes the next longer one's, then the shorter one's."""
    for rung in reversed(range(len(learnt) - 1)):
        learnt[rung] = np.where(np.isnan(learnt[rung]), learnt[rung + 1], learnt[rung])
    for rung in range(1, len(learnt)):
        learnt[rung] = np.where(np.isnan(learnt[rung]), learnt[rung - 1], learnt[rung])
    return np.nan_to_num(learnt)
