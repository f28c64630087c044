"""Excess: how surely a count is more than chance gives, as bounds that hold for any number of rows."""

from math import log, sqrt

import numpy as np

from monitors.readings import FloatArray


def excess_ln(count: FloatArray, expected: FloatArray) -> FloatArray:
    """How surely counts are more than expected, as ln of a bound on the chance of so many.

        P(X >= k) <= exp(-(k ln(k / m) - k + m))   for X with a Poisson or binomial distribution of mean m, k > m

    0 where no more than expected were counted. Read it: 4.6 is a chance of at most 1 in 100. Source: Chernoff 1952;
    Hoeffding 1963.

    >>> excess_ln(np.array([20.0, 5.0]), np.array([8.0, 5.0])).round(2).tolist()
    [6.33, 0.0]
    """
    k, m = np.maximum(count, 1e-9), np.maximum(expected, 1e-9)
    return np.asarray(np.where(k > m, k * np.log(k / m) - k + m, 0.0))


def rise_ln(now: float, rows: float, before: float, rows_before: float) -> float:
    """How surely a rate is above what it was, as ln of a bound on the chance: k of n rows now, c of m rows before.

        P <= exp(-(k + c) KL(k / (k + c) || n / (n + m)))

    Given k + c, k is binomial where the rates are the same (Przyborowski & Wilenski 1940), and that is its Chernoff
    bound; 0 where the rate has not risen. Read it: 4.6 is a chance of at most 1 in 100.

    >>> round(rise_ln(30, 1000, 10, 1000), 2), rise_ln(10, 1000, 10, 1000)
    (5.23, 0.0)
    """
    both, share = now + before, rows / max(rows + rows_before, 1e-9)
    if not both or not rows_before or now / both <= share:
        return 0.0
    part = now / both
    rest = (1 - part) * log((1 - part) / (1 - share)) if part < 1 else 0.0
    return both * (part * log(part / share) + rest)


def share_at_most(count: float, rows: float) -> float:
    """What a share hardly exceeds that was counted as `count` of `rows`: two standard errors above it; 1 at most.

        min(1, (k + 1 + 2 sqrt(k + 1)) / (n + 2))

    >>> round(share_at_most(30, 100), 3), share_at_most(0, 0)
    (0.413, 1.0)
    """
    return min(1.0, (count + 1 + 2 * sqrt(count + 1)) / (rows + 2))
