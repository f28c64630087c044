"""Statistics of change between two vectors of counts, for any number of vectors at once.

Each takes the current counts and the baseline's counts [..., B] and gives one value [...]. `expected` says how large
the value is when nothing changed, so that it can be taken off.
"""

from collections.abc import Callable

import numpy as np
from scipy.special import ndtri

from monitors.readings import FloatArray

Statistic = Callable[[FloatArray, FloatArray], FloatArray]
NOISE_OF_SQUARE_ROOT = float(np.sqrt(2 / np.pi))
_MEAN_OF_KOLMOGOROV = float(np.sqrt(np.pi / 2) * np.log(2))


def smoothed_shares(counts: FloatArray) -> FloatArray:
    """Shares of counts [..., B] with half a row added to every bin, so that none is zero."""
    added = counts + 0.5
    return np.asarray(added / added.sum(axis=-1, keepdims=True))


def psi(current: FloatArray, baseline: FloatArray) -> FloatArray:
    """Population stability index: sum of (p - q) ln(p / q).

    Under .1 is usually called small, over .25 large. Source: Siddiqi, Credit Risk Scorecards, 2006.

    >>> import numpy as np
    >>> round(float(psi(np.array([30.0, 70.0]), np.array([500.0, 500.0]))), 3)
    0.166
    """
    p, q = smoothed_shares(current), smoothed_shares(baseline)
    return np.asarray(((p - q) * np.log(p / q)).sum(axis=-1))


def kl_div(current: FloatArray, baseline: FloatArray) -> FloatArray:
    """Kullback-Leibler divergence from the baseline, in nats: sum of p ln(p / q).

    0 means equal; it grows without bound. Source: Kullback & Leibler, 1951.

    >>> import numpy as np
    >>> round(float(kl_div(np.array([30.0, 70.0]), np.array([500.0, 500.0]))), 3)
    0.081
    """
    p, q = smoothed_shares(current), smoothed_shares(baseline)
    return np.asarray((p * np.log(p / q)).sum(axis=-1))


def jensenshannon(current: FloatArray, baseline: FloatArray) -> FloatArray:
    """Jensen-Shannon distance with natural logarithm: sqrt of the mean divergence of both from their middle.

    Between 0 (equal) and sqrt(ln 2) = .833 (nothing in common). Source: Lin, 1991; Endres & Schindelin, 2003.

    >>> import numpy as np
    >>> round(float(jensenshannon(np.array([30.0, 70.0]), np.array([500.0, 500.0]))), 3)
    0.143
    """
    p, q = smoothed_shares(current), smoothed_shares(baseline)
    middle = (p + q) / 2
    divergence = (p * np.log(p / middle) + q * np.log(q / middle)).sum(axis=-1) / 2
    return np.asarray(np.sqrt(np.maximum(divergence, 0)))


def hellinger(current: FloatArray, baseline: FloatArray) -> FloatArray:
    """Hellinger distance: sqrt of 1 minus the sum of sqrt(p q). Between 0 and 1. Source: Hellinger, 1909.

    >>> import numpy as np
    >>> round(float(hellinger(np.array([30.0, 70.0]), np.array([500.0, 500.0]))), 3)
    0.144
    """
    p, q = smoothed_shares(current), smoothed_shares(baseline)
    return np.asarray(np.sqrt(np.maximum(1 - np.sqrt(p * q).sum(axis=-1), 0)))


def tvd(current: FloatArray, baseline: FloatArray) -> FloatArray:
    """Total variation distance: half the sum of |p - q|; the share of rows that moved. Between 0 and 1.

    Source: Levin, Peres & Wilmer, Markov Chains and Mixing Times, 2009, chapter 4.

    >>> import numpy as np
    >>> round(float(tvd(np.array([30.0, 70.0]), np.array([500.0, 500.0]))), 2)
    0.2
    """
    return np.asarray(np.abs(smoothed_shares(current) - smoothed_shares(baseline)).sum(axis=-1) / 2)


def ks(current: FloatArray, baseline: FloatArray) -> FloatArray:
    """Kolmogorov-Smirnov distance on the bins: the largest |F - G|. Between 0 and 1; needs ordered bins.

    Source: Smirnov, 1948. On bins it is a lower bound of the distance between the rows themselves.

    >>> import numpy as np
    >>> round(float(ks(np.array([30.0, 70.0]), np.array([500.0, 500.0]))), 2)
    0.2
    """
    steps = np.cumsum(smoothed_shares(current) - smoothed_shares(baseline), axis=-1)
    return np.asarray(np.abs(steps).max(axis=-1))


def chisquare(current: FloatArray, baseline: FloatArray) -> FloatArray:
    """Pearson's chi-square per row: sum of (p - q)^2 / q. 0 means equal; .1 is a small effect, .5 a large one.

    The size, not the p-value: a p-value shrinks with the rows and flags differences too small to matter.
    Source: Pearson, 1900; Cohen's w is its square root (1988).

    >>> import numpy as np
    >>> round(float(chisquare(np.array([30.0, 70.0]), np.array([500.0, 500.0]))), 3)
    0.157
    """
    p, q = smoothed_shares(current), smoothed_shares(baseline)
    return np.asarray(((p - q) ** 2 / q).sum(axis=-1))


def wasserstein(current: FloatArray, baseline: FloatArray) -> FloatArray:
    """Wasserstein distance in standard deviations, on the normal scores of the baseline's bins: integral of |F - G|.

    .1 is a shift of a tenth of a standard deviation; needs ordered bins. Source: Vallender, 1974.

    >>> import numpy as np
    >>> round(float(wasserstein(np.array([10.0, 20, 30, 40]), np.array([250.0, 250, 250, 250]))), 2)
    0.44
    """
    gaps = np.abs(np.cumsum(smoothed_shares(current) - smoothed_shares(baseline), axis=-1))[..., :-1]
    return np.asarray((gaps * np.diff(normal_scores(smoothed_shares(baseline)), axis=-1)).sum(axis=-1))


def normal_scores(shares: FloatArray) -> FloatArray:
    """Standardised normal scores of the mid-ranks of ordered bins: mean 0 and variance 1 under `shares` [..., B]."""
    middle = np.cumsum(shares, axis=-1) - shares / 2
    scores = ndtri(np.clip(middle, 1e-9, 1 - 1e-9))
    scores = scores - (shares * scores).sum(axis=-1, keepdims=True)
    spread = np.sqrt((shares * scores**2).sum(axis=-1, keepdims=True))
    return np.asarray(scores / np.maximum(spread, 1e-12))


STATISTICS: dict[str, Statistic] = {
    "psi": psi,
    "kl_div": kl_div,
    "jensenshannon": jensenshannon,
    "hellinger": hellinger,
    "TVD": tvd,
    "ks": ks,
    "chisquare": chisquare,
    "wasserstein": wasserstein,
}
ORDERED = frozenset({"ks", "wasserstein"})
"""Statistics that need ordered bins; on categories they are read as TVD."""


def corrected(name: str, value: FloatArray, noise: FloatArray, shares: FloatArray) -> FloatArray:
    """A statistic with the part taken off that sampling and the usual wobble alone would give; never below 0.

    `noise` [...] is the variance of a share in units of p(1 - p): (1 + (n - 1) / kappa) / n + 1 / M; `shares` [..., B]
    are the baseline's. Squared distances lose their expectation (B - 1) noise / 8; distances of order one lose the mean
    of a normal or of Kolmogorov's distribution.
    """
    freedom = np.maximum((shares > 0).sum(axis=-1) - 1, 0)
    if name in ("jensenshannon", "hellinger"):
        return np.asarray(np.sqrt(np.maximum(value**2 - freedom * noise / 8, 0)))
    if name == "ks":
        return np.asarray(np.maximum(value - _MEAN_OF_KOLMOGOROV * np.sqrt(noise), 0))
    if name == "TVD":
        deviation = np.sqrt(shares * (1 - shares)).sum(axis=-1) / 2
        return np.asarray(np.maximum(value - NOISE_OF_SQUARE_ROOT * deviation * np.sqrt(noise), 0))
    if name == "wasserstein":
        below = np.cumsum(shares, axis=-1)[..., :-1]
        widths = np.diff(normal_scores(shares), axis=-1)
        deviation = (np.sqrt(np.maximum(below * (1 - below), 0)) * widths).sum(axis=-1)
        return np.asarray(np.maximum(value - NOISE_OF_SQUARE_ROOT * deviation * np.sqrt(noise), 0))
    share_of_noise = {"psi": 1.0, "chisquare": 1.0, "kl_div": 0.5}[name]
    return np.asarray(np.maximum(value - share_of_noise * freedom * noise, 0))
