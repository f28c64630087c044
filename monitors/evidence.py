"""Evidence of change: e-values against "the baseline plus its usual wobble", for arrays of windows at once.

An e-value is on average at most 1 while nothing changes, so 1/e bounds the chance of seeing it by accident (Ville,
1939; Shafer, 2021). All are natural logarithms.
"""

import numpy as np
from scipy.special import betainc, gammaln, logsumexp

from monitors.readings import FloatArray, IntArray
from monitors.statistics import normal_scores

CONCENTRATIONS = (8.0, 32.0, 128.0, 512.0)
SHIFTS = (0.1, 0.3, 1.0)
ORDERED_WEIGHTS = (0.4, 0.4, 0.2)
"""Of distribution, location and scale in the evidence of an ordered column."""


def mean_of(evidence_ln: FloatArray, axis: int, weights: FloatArray | None = None) -> FloatArray:
    """Logarithm of the (weighted) mean of e-values along an axis: the mean of e-values is an e-value."""
    if weights is None:
        return np.asarray(logsumexp(evidence_ln, axis=axis) - np.log(evidence_ln.shape[axis]))
    return np.asarray(logsumexp(evidence_ln, axis=axis, b=weights / weights.sum(axis=axis, keepdims=True)))


def dirichlet_multinomial_ln(counts: FloatArray, weights: FloatArray) -> FloatArray:
    """Logarithm of the Dirichlet-multinomial likelihood of ordered rows, [..., B] counts and weights a.

    ln DM(c; a) = lnG(A) - lnG(A + n) + sum of lnG(c_b + a_b) - lnG(a_b), A = sum of a; bins with a = 0 are left out.

    >>> import numpy as np
    >>> round(float(np.exp(dirichlet_multinomial_ln(np.array([1.0, 0.0]), np.array([1.0, 3.0])))), 2)
    0.25
    """
    there = weights > 0
    safe = np.where(there, weights, 1.0)
    terms = np.where(there, gammaln(counts + safe) - gammaln(safe), 0.0).sum(axis=-1)
    total = weights.sum(axis=-1)
    return np.asarray(gammaln(total) - gammaln(total + counts.sum(axis=-1)) + terms)


def distribution_evidence_ln(counts: FloatArray, shares: FloatArray, stiffness: FloatArray) -> FloatArray:
    """Evidence that counts [..., B] left the baseline's shares [..., B], with stiffness kappa [...].

    e = mean over k of DM(c; min(k, kappa / 2) p) / DM(c; kappa p): a Bayes factor of looser against usual wobble.

    >>> import numpy as np
    >>> p, kappa = np.array([0.5, 0.5]), np.array(1000.0)
    >>> bool(distribution_evidence_ln(np.array([50.0, 50.0]), p, kappa) < 0)
    True
    >>> bool(distribution_evidence_ln(np.array([80.0, 20.0]), p, kappa) > 10)
    True
    """
    kappa = stiffness[..., None]
    usual = dirichlet_multinomial_ln(counts, kappa * shares)
    loose = [dirichlet_multinomial_ln(counts, np.minimum(k, kappa / 2) * shares) - usual for k in CONCENTRATIONS]
    return mean_of(np.stack(loose), 0)


def shift_evidence_ln(distance: FloatArray, variance: FloatArray) -> FloatArray:
    """Evidence that a mean with sampling `variance` is not 0, seen at `distance`: a mixture of normals.

    e = mean over t of sqrt(v / (v + t^2)) exp(d^2 t^2 / (2 v (v + t^2))). Source: Robbins, 1970.

    >>> import numpy as np
    >>> bool(shift_evidence_ln(np.array(0.5), np.array(0.004)) > 20)
    True
    """
    spread = np.asarray(SHIFTS) ** 2
    v, d = variance[..., None], distance[..., None]
    return mean_of(0.5 * np.log(v / (v + spread)) + d**2 * spread / (2 * v * (v + spread)), -1)


def location_and_scale(counts: FloatArray, shares: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Mean of the standardised normal scores of counts [..., B], and of their square made orthogonal to them.

    Both have mean 0 and variance 1 per row under `shares`; a shift of half a standard deviation reads .5 in the first.
    """
    z = normal_scores(shares)
    square = z**2 - 1
    square = square - (shares * square * z).sum(axis=-1, keepdims=True) * z
    spread = np.sqrt((shares * square**2).sum(axis=-1, keepdims=True))
    square = square / np.maximum(spread, 1e-12)
    rows = np.maximum(counts.sum(axis=-1), 1)
    return np.asarray((counts * z).sum(axis=-1) / rows), np.asarray((counts * square).sum(axis=-1) / rows)


def rise_evidence_ln(hits: FloatArray, rows: FloatArray, share: FloatArray, stiffness: FloatArray) -> FloatArray:
    """One-sided evidence that a share rose above `share`: `hits` of `rows` against Beta(kappa p, kappa (1 - p)).

    e = mean over k of DM(c; a) / DM(c; kappa p) x P(Beta(a + c) > p) / P(Beta(a) > p), a = min(k, kappa / 2) p: the
    looser prior is cut to shares above the baseline's.

    >>> import numpy as np
    >>> one = lambda hits: float(rise_evidence_ln(np.array(hits), np.array(100.0), np.array(0.1), np.array(500.0)))
    >>> one(10.0) < 0, one(2.0) < 0, one(40.0) > 10
    (True, True, True)
    """
    p = np.clip(share, 1e-9, 1 - 1e-9)
    shares = np.stack([p, 1 - p], axis=-1)
    counts = np.stack([hits, rows - hits], axis=-1)
    usual = dirichlet_multinomial_ln(counts, stiffness[..., None] * shares)
    terms = []
    for k in CONCENTRATIONS:
        a = np.minimum(k, stiffness / 2)[..., None] * shares
        after, before = (1 - betainc(*np.moveaxis(x, -1, 0), p) for x in (a + counts, a))
        cut = np.log(np.maximum(after, 1e-300)) - np.log(np.maximum(before, 1e-300))
        terms.append(dirichlet_multinomial_ln(counts, a) - usual + cut)
    return mean_of(np.stack(terms), 0)


def stiffness(baseline_rows: FloatArray, bins: FloatArray | IntArray | int, wobble: FloatArray) -> FloatArray:
    """Kappa = 1 / (1 / (M + B / 2) + rho): the baseline's sampling error and the natural wobble rho together.

    >>> import numpy as np
    >>> round(float(stiffness(np.array(1000.0), 10, np.array(1e-9))))
    1005
    """
    return np.asarray(1 / (1 / (baseline_rows + np.asarray(bins) / 2) + wobble))
