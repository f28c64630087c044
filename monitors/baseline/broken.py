"""Broken values: where profiles count them, and how much their shares usually move from slice to slice."""

from collections.abc import Sequence

import numpy as np

from monitors.columns.column import EXTRA_CELLS
from monitors.counting.layouts import Layout
from monitors.readings import FAULT_KINDS, FloatArray, IntArray


def broken_cells(layout: Layout) -> IntArray:
    """Where a profile counts the broken values of each column and kind [C, K]."""
    ends = np.asarray(layout.offsets[1:], dtype=np.int64)
    return ends[:, None] - EXTRA_CELLS + np.arange(len(FAULT_KINDS))


def learn_broken_wobble(layout: Layout, slices: Sequence[FloatArray]) -> FloatArray:
    """Standard deviation [S, C, K] of the shares of broken values from slice to slice, beyond sampling.

    Some feeds miss more at night. tau^2 = max(Q - (T - 1) (1 + s) p (1 - p), 0) / (n - sum of n_t^2 / n), Q = sum of
    n_t (p_t - p)^2 over T slices of n_t rows, s = sqrt(2 / (T - 1)): what few slices show by chance is no wobble.
    Read it: most slices lie within two of them around the mean share. Source: DerSimonian & Laird, 1986.

    >>> import pyarrow as pa
    >>> from monitors.counting.layouts import learn_layout
    >>> from monitors.counting.profiles import fold
    >>> hours = pa.array([3_600_000_000 * (i // 100) for i in range(2_400)], pa.timestamp("us", "UTC"))
    >>> nightly = [None if i // 100 < 8 and i % 2 else 1.0 * (i % 9) for i in range(2_400)]
    >>> table = pa.table({"timestamp": hours, "prediction": ["a", "b"] * 1_200, "feature_x": nightly})
    >>> layout = learn_layout(table, cuts=[], columns={}, target="prediction", task="classification")
    >>> learn_broken_wobble(layout, list(fold(layout, table, 3600).values())).round(2)[0, :2, 0].tolist()
    [0.0, 0.24]
    """
    cells = broken_cells(layout)
    total = np.sum(slices, axis=0)
    segments, columns, kinds = np.nonzero(total[:, cells])
    at = cells[columns, kinds]
    rows = total[segments, 0]
    share = total[segments, at] / np.maximum(rows, 1)
    moved, times, squares = np.zeros(len(at)), np.zeros(len(at)), np.zeros(len(at))
    for profile in slices:
        n = profile[segments, 0]
        moved += (profile[segments, at] - n * share) ** 2 / np.maximum(n, 1)
        times += n > 0
        squares += n**2
    freedom = np.maximum(times - 1, 1)
    chance = (freedom + np.sqrt(2 * freedom)) * share * (1 - share)
    wobble = np.zeros((len(total), *cells.shape))
    spread = np.maximum(moved - chance, 0) / np.maximum(rows - squares / np.maximum(rows, 1), 1e-9)
    wobble[segments, columns, kinds] = np.where(times > 1, np.sqrt(spread), 0.0)
    return wobble
