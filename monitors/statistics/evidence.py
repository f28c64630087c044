"""Evidence of change: e-values against "the baseline plus its usual wobble", for arrays of windows at once.

An e-value is on average at most 1 while nothing changes, so 1/e bounds the chance of seeing it by accident (Ville,
1939; Shafer, 2021). All are natural logarithms.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.special import betainc, gammaln

from monitors.readings import FloatArray, IntArray
from monitors.statistics.shares import normal_scores

CONCENTRATIONS = (8.0, 32.0, 128.0, 512.0)
SHIFTS = (0.1, 0.3, 1.0)
ORDERED_WEIGHTS = (0.3, 0.5, 0.2)
"""Of distribution, location and scale in the evidence of an ordered column."""
FARTHEST = 5.0
USUAL_DEVIATIONS = 5.5
"""Wobble is usual up to so many standard deviations: a million columns a month reach five."""


def mean_of(evidence_ln: FloatArray, axis: int, weights: FloatArray | None = None) -> FloatArray:
    """Logarithm of the (weighted) mean of e-values along an axis: the mean of e-values is an e-value.

    Entries of -inf count as e-values of 0; `weights` need not add up to 1 and must fit to be multiplied with.
    """
    top = np.max(evidence_ln, axis=axis, keepdims=True)
    top = np.where(np.isfinite(top), top, 0.0)
    terms = np.exp(evidence_ln - top)
    total = terms.sum(axis=axis) if weights is None else (terms * weights).sum(axis=axis)
    parts = evidence_ln.shape[axis] if weights is None else np.broadcast_to(weights, terms.shape).sum(axis=axis)
    return np.asarray(np.log(np.maximum(total / parts, 1e-300)) + np.squeeze(top, axis))


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


def distribution_evidence_ln(
    counts: FloatArray,
    usual: FloatArray,
    stiffness: FloatArray,
    shares: FloatArray | None = None,
    loose_ln: FloatArray | None = None,
) -> FloatArray:
    """Evidence that counts [..., B] left the `usual` shares [..., B], with stiffness kappa [...].

    e = mean over k of DM(c; k p) / DM(c; kappa p'), k = kappa / 2 and those of `CONCENTRATIONS` below it: a Bayes
    factor of looser against usual wobble, p' the usual shares and p the baseline's `shares`, where these differ.
    `loose_ln` [K, ...], sums of lnG(k p_b), saves time where it is known for the very `shares`.

    >>> import numpy as np
    >>> p, kappa = np.array([0.5, 0.5]), np.array(1000.0)
    >>> bool(distribution_evidence_ln(np.array([50.0, 50.0]), p, kappa) < 0)
    True
    >>> bool(distribution_evidence_ln(np.array([80.0, 20.0]), p, kappa) > 10)
    True
    """
    shares = usual if shares is None else shares
    rows = counts.sum(axis=-1)
    filled = shares > 0
    is_full = bool(filled.all())

    def gamma_sum(weights: FloatArray) -> FloatArray:
        if is_full:
            return np.asarray(gammaln(weights).sum(axis=-1))
        return np.asarray(gammaln(np.where(filled, weights, 1.0)).sum(axis=-1))

    def likelihood_ln(total: FloatArray, weights: FloatArray, weights_ln: FloatArray) -> FloatArray:
        return np.asarray(gammaln(total) - gammaln(total + rows) + gamma_sum(counts + weights) - weights_ln)

    usual_weights = stiffness[..., None] * usual
    usual_ln = likelihood_ln(stiffness, usual_weights, gamma_sum(usual_weights))
    half = usual_weights / 2
    loose = [likelihood_ln(stiffness / 2, half, gamma_sum(half)) - usual_ln]
    for i, k in enumerate(CONCENTRATIONS):
        weights = k * shares
        known = gamma_sum(weights) if loose_ln is None else loose_ln[i]
        looser = likelihood_ln(np.asarray(k), weights, known) - usual_ln
        loose.append(np.where(k < stiffness / 2, looser, -np.inf))
    stacked = np.stack(loose)
    return mean_of(stacked, 0, np.isfinite(stacked).astype(np.float64))


def usual_shares(shares: FloatArray, scores: FloatArray, moves: FloatArray, is_coarse: NDArray[np.bool_]) -> FloatArray:
    """Shares [..., B] moved along the usual `scores` [2, ..., B] by `moves` [2, ...], made to add up to 1.

    p exp(sum of moves x scores), as a shift of a normal does; where a column `is_coarse` [...], all but a few of its
    values being equal, p (1 + sum of moves x scores), which can go all the way to one value.
    """
    along = moves[0][..., None] * scores[0] + moves[1][..., None] * scores[1]
    moved = shares * np.where(is_coarse[..., None], np.maximum(1 + along, 1e-3), np.exp(np.minimum(along, 50)))
    return np.asarray(moved / moved.sum(axis=-1, keepdims=True))


def usual_moves(distances: FloatArray, rows: FloatArray, extra: FloatArray) -> FloatArray:
    """How far [2, ...] windows of `rows` [...] rows moved of themselves, being seen at `distances` [2, ...].

    About d w / (w + 1 / n), w the variance of the wobble `extra` [2, ...], and never more than `USUAL_DEVIATIONS`.
    """
    most = USUAL_DEVIATIONS * np.sqrt(extra)
    return np.clip(distances * extra / (extra + 1 / np.maximum(rows, 1)), -most, most)


def shift_evidence_ln(distance: FloatArray, variance: FloatArray) -> FloatArray:
    """Evidence that a mean with sampling `variance` is not 0, seen at `distance`: a mixture of normals.

    e = mean over t of sqrt(v / (v + t^2)) exp(d^2 t^2 / (2 v (v + t^2))). Source: Robbins, 1970.

    >>> import numpy as np
    >>> bool(shift_evidence_ln(np.array(0.5), np.array(0.004)) > 20)
    True
    """
    terms = []
    for t in SHIFTS:
        wide = variance + t * t
        terms.append(0.5 * np.log(variance / wide) + distance**2 * (t * t) / (2 * variance * wide))
    return mean_of(np.stack(terms), 0)


def scores_of(shares: FloatArray) -> FloatArray:
    """Location and scale scores [2, ..., B] of ordered bins: mean 0 and variance 1 under `shares`, not correlated.

    The first are the normal scores, the second their squares made orthogonal to them: a shift of half a standard
    deviation reads .5 in the mean of the first. None lies farther out than `FARTHEST`, for a mean in which one row of
    a rare bin counts as a hundred others is nothing like normal.

    >>> import numpy as np
    >>> location, scale = scores_of(np.array([0.25, 0.25, 0.25, 0.25]))
    >>> location.round(2).tolist(), scale.round(2).tolist()
    ([-1.36, -0.38, 0.38, 1.36], [1.0, -1.0, -1.0, 1.0])
    """
    z = normal_scores(shares)
    square = z**2 - 1
    square = square - (shares * square * z).sum(axis=-1, keepdims=True) * z
    spread = np.sqrt((shares * square**2).sum(axis=-1, keepdims=True))
    return np.asarray(np.clip(np.stack([z, square / np.maximum(spread, 1e-12)]), -FARTHEST, FARTHEST))


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
