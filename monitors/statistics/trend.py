"""Trend: whether a share rises or falls over periods."""

from math import sqrt

import numpy as np

from monitors.readings import FloatArray


def trend_z(counts: FloatArray, rows: FloatArray) -> float:
    """How far a share's slope over periods is from none, in standard errors.

        z = sum (t - t_) (k_t - p n_t) / sqrt(p (1 - p) sum n_t (t - t_)^2),   p = K / N, t_ = sum n_t t / N

    The test of Cochran (1954) and Armitage (1955). Read it: above 2.6 the share rises, below -2.6 it falls, with one
    chance in a hundred of being wrong where it is steady; 0 where there are fewer than two periods with rows.

    Args:
        counts: of what is looked at [T], by period in order of time.
        rows: of all in the period [T].

    >>> round(trend_z(np.array([5.0, 10.0, 20.0]), np.array([100.0, 100.0, 100.0])), 2)
    3.3
    """
    total = rows.sum()
    share = counts.sum() / total if total else 0.0
    at = np.arange(len(rows)) - (np.arange(len(rows)) * rows).sum() / max(total, 1)
    spread = share * (1 - share) * (rows * at**2).sum()
    return float((at * (counts - share * rows)).sum() / sqrt(spread)) if spread > 0 else 0.0
