"""Statistics of change between shares of the same bins, named and defined as Evidently 0.7 names and defines them.

Each takes a `Pair` of shares [..., B] and gives one value [...], for any number of columns at once. Of plain shares the
value is Evidently's on these bins; of smoothed ones it is what `corrected` takes the part of sampling from.
"""

from collections.abc import Callable

import numpy as np

from monitors.readings import FloatArray
from monitors.statistics.shares import Pair, nonzero, total

Formula = Callable[[Pair], FloatArray]
Statistic = Callable[[FloatArray, FloatArray], FloatArray]

SMALLEST_SPREAD = 0.001


def psi(pair: Pair) -> FloatArray:
    """Population stability index: sum of (p - q) ln(p / q), p now and q before, zeros filled.

    Under .1 is usually called small, over .25 large. Source: Siddiqi, Credit Risk Scorecards, 2006.

    >>> import numpy as np
    >>> round(float(psi(Pair(np.array([0.3, 0.7]), np.array([0.5, 0.5])))), 3)
    0.169
    """
    filled = pair.filled
    return total(filled.gap * filled.ln_ratio)


def kl_div(pair: Pair) -> FloatArray:
    """Kullback-Leibler divergence of the baseline from now, in nats: sum of q ln(q / p), zeros filled.

    0 means equal; it grows without bound, and most where a value of the baseline is gone. Source: Kullback & Leibler,
    1951; Evidently's direction, which is not the usual one.

    >>> import numpy as np
    >>> round(float(kl_div(Pair(np.array([0.3, 0.7]), np.array([0.5, 0.5])))), 3)
    0.087
    """
    filled = pair.filled
    now, before = total(filled.now), total(filled.before)  # filled shares add up to more than 1
    return np.asarray(np.log(now / before) - total(filled.before * filled.ln_ratio) / before)


def jensenshannon(pair: Pair) -> FloatArray:
    """Jensen-Shannon distance with natural logarithm: sqrt of the mean divergence of both from their middle.

    Between 0 (equal) and sqrt(ln 2) = .833 (nothing in common). Source: Lin, 1991; Endres & Schindelin, 2003.

    >>> import numpy as np
    >>> round(float(jensenshannon(Pair(np.array([0.3, 0.7]), np.array([0.5, 0.5])))), 3)
    0.145
    """
    ln_middle = np.log(nonzero((pair.now + pair.before) / 2))
    divergence = total(pair.now * (pair.ln_now - ln_middle) + pair.before * (pair.ln_before - ln_middle)) / 2
    return np.asarray(np.sqrt(np.maximum(divergence, 0)))


def hellinger(pair: Pair) -> FloatArray:
    """Hellinger distance: sqrt of 1 minus the sum of sqrt(p q), which is half the sum of (sqrt p - sqrt q)^2.

    Between 0 (equal) and 1 (nothing in common). Source: Hellinger, 1909.

    >>> import numpy as np
    >>> round(float(hellinger(Pair(np.array([0.3, 0.7]), np.array([0.5, 0.5])))), 3)
    0.145
    """
    return np.asarray(np.sqrt(total((np.sqrt(pair.now) - np.sqrt(pair.before)) ** 2) / 2))


def tvd(pair: Pair) -> FloatArray:
    """Total variation distance: half the sum of |p - q|; the share of rows that moved. Between 0 and 1.

    Source: Levin, Peres & Wilmer, Markov Chains and Mixing Times, 2009, chapter 4.

    >>> import numpy as np
    >>> round(float(tvd(Pair(np.array([0.3, 0.7]), np.array([0.5, 0.5])))), 2)
    0.2
    """
    return total(np.abs(pair.gap)) / 2


def ks(pair: Pair) -> FloatArray:
    """Kolmogorov-Smirnov distance on the bins: the largest |F - G|. Between 0 and 1; needs ordered bins.

    .2 says that a fifth of the rows moved past some value. On bins it is a lower bound of the distance between the
    rows themselves. Source: Smirnov, 1948.

    >>> import numpy as np
    >>> round(float(ks(Pair(np.array([0.3, 0.7]), np.array([0.5, 0.5])))), 2)
    0.2
    """
    return np.asarray(pair.climb.max(axis=-1))


def chisquare(pair: Pair) -> FloatArray:
    """Pearson's chi-square per row: sum of (p - q)^2 / q, a zero of q filled. .1 is a small effect, .5 a large one.

    The size, not the p-value: a p-value shrinks with the rows and flags differences too small to matter.
    Source: Pearson, 1900; Cohen's w is its square root (1988).

    >>> import numpy as np
    >>> round(float(chisquare(Pair(np.array([0.3, 0.7]), np.array([0.5, 0.5])))), 3)
    0.16
    """
    return total(pair.gap**2 / nonzero(pair.filled.before))


def g_test(pair: Pair) -> FloatArray:
    """Likelihood ratio per row, G / 2n: sum of p ln(p / q), in nats, a zero of q filled.

    The mean surprise of a row now to whoever expected the baseline: 0 means equal, .05 is a small effect, .25 a large
    one (half of chi-square, for small changes). The size, not the p-value. Source: Wilks, 1938; Sokal & Rohlf, 1981.

    >>> import numpy as np
    >>> round(float(g_test(Pair(np.array([0.3, 0.7]), np.array([0.5, 0.5])))), 3)
    0.082
    """
    return total(pair.now * pair.filled.ln_ratio)


def wasserstein(pair: Pair) -> FloatArray:
    """Wasserstein distance in standard deviations of the baseline: integral of |F - G| over the bins' positions.

    .1 is a shift of a tenth of a standard deviation; needs ordered bins. Source: Vallender, 1974.

    >>> import numpy as np
    >>> round(float(wasserstein(Pair(np.array([0.1, 0.2, 0.3, 0.4]), np.full(4, 0.25)))), 2)
    0.45
    >>> float(wasserstein(Pair(np.array([0.0, 1.0]), np.array([0.5, 0.5]), scores=np.array([10.0, 30.0]))))
    1.0
    """
    moved = total(pair.climb[..., :-1] * np.diff(pair.positions, axis=-1))
    mean = total(pair.before * pair.positions)
    variance = total(pair.before * (pair.positions - mean[..., None]) ** 2)
    return np.asarray(moved / np.maximum(np.sqrt(variance), SMALLEST_SPREAD))


def missing_share(missing: FloatArray, rows: FloatArray) -> FloatArray:
    """Share of the rows that have no value in a column; NaN without rows. Source: Evidently's MissingValueCount.

    Less the baseline's share it needs no correction: two shares of one source differ by 0 on average, however few
    rows they are of.

    >>> import numpy as np
    >>> float(missing_share(np.array(5.0), np.array(100.0)))
    0.05
    """
    return np.asarray(missing / np.where(rows > 0, rows, np.nan))


FORMULAS: dict[str, Formula] = {
    "psi": psi,
    "kl_div": kl_div,
    "jensenshannon": jensenshannon,
    "hellinger": hellinger,
    "TVD": tvd,
    "ks": ks,
    "chisquare": chisquare,
    "g_test": g_test,
    "wasserstein": wasserstein,
}
ORDERED = frozenset({"ks", "wasserstein"})
"""Statistics that need ordered bins; on categories they are read as TVD."""


def every(pair: Pair) -> dict[str, FloatArray]:
    """All statistics of one pair, which share what they need."""
    return {name: formula(pair) for name, formula in FORMULAS.items()}


def _of(shares: Callable[[FloatArray, FloatArray], Pair], formula: Formula) -> Statistic:
    return lambda current, baseline: formula(shares(current, baseline))


RAW: dict[str, Statistic] = {name: _of(Pair.plain, formula) for name, formula in FORMULAS.items()}
"""Statistics of two vectors of counts [..., B] as Evidently defines them: what is shown as `uncorrected`."""

STATISTICS: dict[str, Statistic] = {name: _of(Pair.smoothed, formula) for name, formula in FORMULAS.items()}
"""The same of smoothed shares: what `corrected` takes the part of sampling from."""
