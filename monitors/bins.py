"""Bins of a number: edges frozen in the baseline, and a lookup several times faster than a binary search."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Float32Array = NDArray[np.float32]
BinArray = NDArray[np.intp]

_PATTERNS = 65_536


def quantile_edges(values: Float32Array, bins: int) -> Float32Array:
    """Inner edges of about `bins` equally filled bins of the finite `values`; strictly increasing, maybe fewer.

    A value that fills a bin alone gets an edge on either side, so that a change to both sides of it shows.

    >>> import numpy as np
    >>> quantile_edges(np.arange(100, dtype=np.float32), 4).tolist()
    [25.0, 50.0, 75.0]
    >>> len(quantile_edges(np.full(9, 5, dtype=np.float32), 4))
    2
    """
    ordered = np.sort(values)
    at = np.arange(1, bins) * len(ordered) // bins
    edges, times = np.unique(ordered[at], return_counts=True)
    atoms = edges[times > 1]
    with np.errstate(over="ignore"):  # above the largest float lies infinity, an edge like any other
        above = np.nextafter(atoms, np.float32(np.inf))
    return np.unique(np.concatenate([edges, above])).astype(np.float32)


@dataclass(frozen=True, eq=False)
class Lookup:
    """Bin of each float32, equal bit for bit to `np.searchsorted(edges, x, side="right")`.

    The top 16 bits of a float32 name one of 65,536 ranges. A table holds the bin at the foot of each range and the
    first two edges inside it, so a lookup is one gather and two compares; ranges with more edges are searched.
    """

    edges: Float32Array
    foot: NDArray[np.uint16]
    first: Float32Array
    second: Float32Array
    crowded: NDArray[np.bool_]
    is_double: bool
    is_crowded: bool

    @classmethod
    def of(cls, edges: Float32Array) -> "Lookup":
        """The table for strictly increasing float32 edges."""
        ends = (np.arange(_PATTERNS, dtype=np.uint32) << 16)[:, None] | np.array([0, 0xFFFF], dtype=np.uint32)
        reals = np.nan_to_num(ends.view(np.float32), nan=np.inf)
        low, high = reals.min(axis=1), reals.max(axis=1)
        foot = np.searchsorted(edges, low, side="right")
        inside = np.searchsorted(edges, high, side="right") - foot
        never = np.float32(np.nan)  # no value is >= NaN
        padded = np.append(edges, [never, never])
        return cls(
            edges=edges,
            foot=foot.astype(np.uint16),
            first=np.where(inside > 0, padded[foot], never).astype(np.float32),
            second=np.where(inside > 1, padded[foot + 1], never).astype(np.float32),
            crowded=inside > 2,
            is_double=bool((inside > 1).any()),
            is_crowded=bool((inside > 2).any()),
        )

    def bins(self, values: Float32Array) -> BinArray:
        """Bin numbers 0..len(edges) of float32 values; NaN has no meaning here and must be masked by the caller."""
        pattern = values.view(np.uint32) >> 16
        found: BinArray = self.foot[pattern].astype(np.intp)
        found += values >= self.first[pattern]
        if self.is_double:
            found += values >= self.second[pattern]
        if self.is_crowded:
            some = self.crowded[pattern]
            found[some] = np.searchsorted(self.edges, values[some], side="right")
        return found
