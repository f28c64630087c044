"""Corrections: the part of a statistic that sampling and the usual wobble alone would give, and what is left of it.

`noise` is the variance of a share in units of p(1 - p): (1 + (n - 1) rho) / n + 1 / M, n rows now and M before.
"""

import numpy as np

from monitors.readings import FloatArray
from monitors.statistics.shares import normal_scores, total

_PER_FREE_SHARE = {
    "psi": 1.0,
    "chisquare": 1.0,
    "kl_div": 1 / 2,
    "g_test": 1 / 2,
    "jensenshannon": 1 / 8,
    "hellinger": 1 / 8,
}
_DISTANCES = frozenset({"jensenshannon", "hellinger", "TVD", "ks", "wasserstein"})
_MEAN_OF_NORMAL = float(np.sqrt(2 / np.pi))
_MEAN_OF_KOLMOGOROV = float(np.sqrt(np.pi / 2) * np.log(2))
_BETWEEN_LOOKS = 0.5826
"""-zeta(1/2) / sqrt(2 pi): what a random walk climbs above the highest place where it is looked at."""


def sampling_part(name: str, shares: FloatArray, scores: FloatArray | None = None) -> FloatArray:
    """What a statistic, or the square of a distance, shows per unit of noise while nothing changes [...].

    psi, chisquare, kl_div, g_test, jensenshannon and hellinger show a part of each of the B - 1 free shares. TVD and
    wasserstein show the mean of |normal| at every bin; ks Kolmogorov's mean, less what is missed by looking only
    between bins (Broadie, Glasserman & Kou, 1997), and never more than TVD. It depends on the baseline alone, so it
    can be kept with it.

    Args:
        name: of a statistic.
        shares: the baseline's [..., B]; a bin of 0 is no bin.
        scores: where ordered bins lie, in standard deviations of the baseline; if not given, at its normal scores.

    >>> import numpy as np
    >>> equal = np.full(10, 0.1)
    >>> [round(float(sampling_part(name, equal)), 3) for name in ("psi", "TVD", "ks", "wasserstein")]
    [9.0, 1.432, 0.469, 1.222]
    """
    if name in _PER_FREE_SHARE:
        return np.asarray(_PER_FREE_SHARE[name] * np.maximum((shares > 0).sum(axis=-1) - 1, 0))
    if name == "wasserstein":
        below = np.cumsum(shares, axis=-1)[..., :-1]
        steps = np.diff(normal_scores(shares) if scores is None else scores, axis=-1)
        return np.asarray((_MEAN_OF_NORMAL * total(np.sqrt(np.maximum(below * (1 - below), 0)) * steps)) ** 2)
    mean = _MEAN_OF_NORMAL * total(np.sqrt(shares * (1 - shares))) / 2
    if name == "ks":
        mean = np.minimum(_MEAN_OF_KOLMOGOROV - _BETWEEN_LOOKS * np.sqrt(total(shares**2)), mean)
    return np.asarray(mean**2)


def take_off(name: str, value: FloatArray, noise: FloatArray, part: FloatArray) -> FloatArray:
    """A statistic of smoothed shares less `part`, its `sampling_part`, times noise; never below 0.

    Distances lose it from their squares: chance and change add up as variances do, so a change that is large beside
    the noise keeps its size.
    """
    if name in _DISTANCES:
        return np.asarray(np.sqrt(np.maximum(value**2 - part * noise, 0)))
    return np.asarray(np.maximum(value - part * noise, 0))


def corrected(
    name: str, value: FloatArray, noise: FloatArray, shares: FloatArray, scores: FloatArray | None = None
) -> FloatArray:
    """A statistic of smoothed shares with the part taken off that sampling and the usual wobble alone would give.

    Arguments as of `sampling_part` and `take_off`. About 0 on half of all windows while nothing changes.

    >>> import numpy as np
    >>> noise, equal = np.array(1 / 200 + 1 / 2000), np.full(10, 0.1)
    >>> round(float(corrected("psi", np.array(0.06), noise, equal)), 4)
    0.0105
    """
    return take_off(name, value, noise, sampling_part(name, shares, scores))
