"""P-values, for a person who compares a column with Evidently: its score for ks, chisquare and g_test.

They decide nothing here. A p-value shrinks with the rows, and flags differences too small to matter.
"""

import numpy as np
from scipy.special import chdtrc, xlogy

from monitors.readings import FloatArray

P_VALUES = ("ks", "chisquare", "g_test")


def p_value(name: str, current: FloatArray, baseline: FloatArray) -> FloatArray:
    """P-values [...] of two vectors of counts [..., B], both with rows.

    chisquare and g_test: X2 = sum of (c - e)^2 / e and G = 2 sum of c ln(c / e), e the baseline's counts scaled to the
    rows now, against chi-square with one degree less than bins with rows; 0 where a bin is new, 1 where there is but
    one. ks: two-sided and of two samples, each bin one value, exact up to 10,000 rows (scipy's ks_2samp, one column
    after another). Source: Pearson, 1900; Wilks, 1938; Hodges, 1958.

    >>> import numpy as np
    >>> now, before = np.array([30.0, 70.0]), np.array([500.0, 500.0])
    >>> [f"{float(p_value(name, now, before)):.2g}" for name in P_VALUES]
    ['0.0012', '6.3e-05', '5e-05']
    """
    if name == "ks":
        return _kolmogorov(*np.broadcast_arrays(current, baseline))
    expected = baseline * (current.sum(axis=-1, keepdims=True) / baseline.sum(axis=-1, keepdims=True))
    there = expected > 0
    safe = np.where(there, expected, 1.0)
    terms = (current - expected) ** 2 / safe if name == "chisquare" else 2 * xlogy(current, current / safe)
    square = np.where(there, terms, np.where(current > 0, np.inf, 0.0)).sum(axis=-1)
    freedom = (there | (current > 0)).sum(axis=-1) - 1
    return np.where(freedom > 0, chdtrc(np.maximum(freedom, 1), np.maximum(square, 0)), 1.0)


def _kolmogorov(current: FloatArray, baseline: FloatArray) -> FloatArray:
    from scipy.stats import ks_2samp  # noqa: PLC0415  it takes half a second to import

    bins = np.arange(current.shape[-1])
    found = np.empty(current.shape[:-1])
    for at in np.ndindex(found.shape):
        found[at] = ks_2samp(*(np.repeat(bins, counts[at].astype(np.int64)) for counts in (baseline, current))).pvalue
    return found
