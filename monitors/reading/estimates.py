"""Estimates: how well a model can be expected to do on rows whose labels have not come.

The rows of a window are counted by stratum: by confidence bin, or for a regression by leaf of `expected_error`. What
labels showed of each stratum is expected of its rows now. Sees a change of inputs, and no change of concept.
"""

import numpy as np

from monitors.counting.labelled_cells import LabelledCells
from monitors.counting.layouts import Layout
from monitors.counting.scores import FIRST, METRICS
from monitors.counting.windows import Windows
from monitors.readings import FloatArray, IntArray

SHRINK_ROWS = 5
"""A stratum's mean is that of its rows and of so many of the parent segment's."""
ROWS_ENOUGH = 500
"""The estimate is of the shortest window with so many rows, so that it is of now."""


def stratum_means(sums: FloatArray, rows: FloatArray, parents: IntArray) -> FloatArray:
    """Mean of each stratum, [S, ...] from sums and rows of the same shape, that of few rows close to the parent's.

    a_k = (sum_k + 5 parent's a_k) / (n_k + 5); for "all" the mean of all its rows stands for the parent.
    Read it: with 5 rows half is the parent's, with 500 a hundredth. Source: Efron and Morris, 1977.

    >>> import numpy as np
    >>> rows, right = np.array([[100.0, 100.0], [0.0, 5.0]]), np.array([[50.0, 90.0], [0.0, 0.0]])
    >>> stratum_means(right, rows, np.array([-1, 0])).round(2).tolist()
    [[0.51, 0.89], [0.51, 0.45]]
    """
    overall = sums[0].sum() / max(rows[0].sum(), 1)
    aligned = (slice(None), *[None] * (rows.ndim - 1))
    means = np.full(rows.shape, overall)
    while True:  # a level of the hierarchy a round, until the deepest has its parent's mean
        above = np.where((parents >= 0)[aligned], means[parents], overall)
        settled = (sums + SHRINK_ROWS * above) / (rows + SHRINK_ROWS)
        if np.array_equal(settled, means):
            return np.asarray(settled)
        means = settled


def estimate(
    layout: Layout, metric: str, known: FloatArray, baseline: FloatArray, windows: Windows
) -> tuple[FloatArray, FloatArray]:
    """The metric to expect of each segment now, and how much worse that is than expected of the baseline's rows.

    estimate = sum over strata of n_k a_k / n, with a_k as `stratum_means` gives it of the labelled profiles; for `rmse`
    its root. A metric that is no mean over rows is NaN, and its drop is that of the task's first one: accuracy or mae.

    For a classification this is confidence-based performance estimation; for a regression direct loss estimation, on
    counts. Read it: a drop says that rows came of which fewer are usually right; none says nothing about the concept.
    Source: NannyML, CBPE 2021 and DLE 2022; Bialek et al., 2024.

    Args:
        layout: of the profiles.
        metric: a name of `METRICS`.
        known: labelled profiles [S, labelled_width]: what is known of the strata.
        baseline: the baseline's profile [S, width].
        windows: over the profiles of now.
    """
    nothing = np.full(len(layout.segments), np.nan)
    if layout.strata_column is None or not known[0, 0]:
        return nothing, nothing
    name = metric if METRICS[metric].mean_of else FIRST[layout.task]
    part = METRICS[name].mean_of or ""
    means = stratum_means(*stratified(layout.labelled_cells, known, part), layout.parents)
    now, before = (
        _expected(_strata_counts(layout, profile, part), means, name) for profile in (rows_of_now(windows), baseline)
    )
    drop = METRICS[name].drop(before, now)
    return (now, drop) if name == metric else (nothing, drop)


def rows_of_now(windows: Windows) -> FloatArray:
    """The profile [S, width] of each segment's shortest window with `ROWS_ENOUGH` rows, else of its longest."""
    reach = np.minimum((windows.counts[:, :, 0] < ROWS_ENOUGH).sum(axis=0), len(windows.lengths) - 1)
    return np.asarray(windows.counts[reach, np.arange(windows.counts.shape[1])])


def stratified(cells: LabelledCells, profile: FloatArray, part: str) -> tuple[FloatArray, FloatArray]:
    """Sums of one loss and rows that have it, by stratum [..., K]; rows without a confidence have no log loss."""
    sums, rows = cells.read(profile, f"strata_{part}"), cells.read(profile, "strata_rows")
    return sums, _with_loss(rows, part)


def _with_loss(rows: FloatArray, part: str) -> FloatArray:
    if part in ("log_loss", "brier"):
        rows = rows.copy()
        rows[..., -1] = 0
    return rows


def _strata_counts(layout: Layout, profile: FloatArray, part: str) -> FloatArray:
    """Rows [S, K] by stratum of profiles [S, width]; those in no bin are in the last."""
    counts = layout.column_bins(profile, layout.strata_column or 0)
    without = profile[..., :1] - counts.sum(axis=-1, keepdims=True)
    return _with_loss(np.concatenate([counts, without], axis=-1), part)


def _expected(rows: FloatArray, means: FloatArray, metric: str) -> FloatArray:
    total = rows.sum(axis=-1)
    mean = np.where(total > 0, (rows * means).sum(axis=-1) / np.maximum(total, 1), np.nan)
    return np.asarray(np.sqrt(mean) if metric == "rmse" else mean)
