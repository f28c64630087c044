"""Shares: what part of the rows is in each bin, now and before, for any number of columns at once."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from monitors.readings import FloatArray

ZERO_FILL = 1e-4


def plain_shares(counts: FloatArray) -> FloatArray:
    """Shares of counts [..., B]; NaN where there are no rows."""
    rows = total(counts)[..., None]
    return np.asarray(counts / np.where(rows > 0, rows, np.nan))


def smoothed_shares(counts: FloatArray, there: NDArray[np.bool_] | None = None) -> FloatArray:
    """Shares of counts [..., B] with half a row added to every bin that is `there` (all, if not given)."""
    added = counts + (0.5 if there is None else 0.5 * there)
    return np.asarray(added / total(added)[..., None])


def normal_scores(shares: FloatArray) -> FloatArray:
    """Standardised normal scores of the mid-ranks of ordered bins: mean 0 and variance 1 under `shares` [..., B]."""
    middle = np.cumsum(shares, axis=-1) - shares / 2
    scores = ndtri(np.clip(middle, 1e-9, 1 - 1e-9))
    scores = scores - total(shares * scores)[..., None]
    spread = np.sqrt(total(shares * scores**2))[..., None]
    return np.asarray(scores / np.maximum(spread, 1e-12))


def total(values: FloatArray) -> FloatArray:
    """Sum over the bins; three times as fast as `.sum(axis=-1)` where these are few."""
    return np.asarray(np.einsum("...b->...", values))


@dataclass(frozen=True, eq=False)
class Pair:
    """Shares of the same bins side by side, `now` and `before` [..., B], and what several statistics need of them.

    A bin that is empty on both sides is no bin. `scores` [..., B] are where ordered bins lie; if not given, at the
    normal scores of `before`. What is computed once is kept, so read several statistics from one pair.
    """

    now: FloatArray
    before: FloatArray
    scores: FloatArray | None = None

    @classmethod
    def plain(cls, current: FloatArray, baseline: FloatArray, scores: FloatArray | None = None) -> "Pair":
        """Of two vectors of counts, as Evidently divides them."""
        return cls(plain_shares(current), plain_shares(baseline), scores)

    @classmethod
    def smoothed(
        cls,
        current: FloatArray,
        baseline: FloatArray,
        scores: FloatArray | None = None,
        there: NDArray[np.bool_] | None = None,
    ) -> "Pair":
        """Of two vectors of counts with half a row in every bin that is `there`, so that none is zero."""
        return cls(smoothed_shares(current, there), smoothed_shares(baseline, there), scores)

    @property
    def filled(self) -> "Pair":
        """With .0001 in place of a zero, or a millionth of the smallest share where that is below .0001.

        What Evidently does so that a logarithm exists; a bin that is empty on both sides stays so.
        """
        # Not kept where it is the pair itself: a pair that holds itself is freed late.
        return self if self._is_full else self._filled

    @cached_property
    def _is_full(self) -> bool:
        return bool((self.now > 0).all() and (self.before > 0).all())

    @cached_property
    def _filled(self) -> "Pair":
        there = (self.now > 0) | (self.before > 0)
        return Pair(_fill(self.now, there), _fill(self.before, there), self.scores)

    @cached_property
    def gap(self) -> FloatArray:
        """Shares now less shares before."""
        return np.asarray(self.now - self.before)

    @cached_property
    def climb(self) -> FloatArray:
        """Distance of the two distribution functions after each bin."""
        return np.abs(np.cumsum(self.gap, axis=-1))

    @cached_property
    def ln_now(self) -> FloatArray:
        return np.log(nonzero(self.now))

    @cached_property
    def ln_before(self) -> FloatArray:
        return np.log(nonzero(self.before))

    @cached_property
    def ln_ratio(self) -> FloatArray:
        """ln(now / before), 0 where a bin is empty on both sides."""
        return np.asarray(self.ln_now - self.ln_before)

    @cached_property
    def positions(self) -> FloatArray:
        """Where the bins lie: the scores given, or the normal scores of the shares before."""
        return normal_scores(self.filled.before) if self.scores is None else self.scores


def nonzero(shares: FloatArray) -> FloatArray:
    """Shares with 1 in place of 0: a harmless divisor, and a logarithm of 0."""
    return np.where(shares == 0, 1.0, shares)


def _fill(shares: FloatArray, there: NDArray[np.bool_]) -> FloatArray:
    smallest = np.where(shares > 0, shares, np.inf).min(axis=-1, keepdims=True)
    fill = np.where(smallest <= ZERO_FILL, smallest / 1e6, ZERO_FILL)
    return np.where((shares == 0) & there, fill, shares)
