"""Bins of a number: edges frozen in the baseline, and a lookup several times faster than a binary search."""

import sys
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Float32Array = NDArray[np.float32]
BinArray = NDArray[np.intp]
CodeArray = NDArray[np.unsignedinteger]

_PATTERNS = 65_536
_TOP = 1 if sys.byteorder == "little" else 0
_MOVED = 0.05
"""The share of a bin's rows that may change sides when an edge is rounded."""
_LARGEST_CENTRE = 1e30
"""Taken off the largest float32, it changes nothing: no value overflows."""


def quantile_edges(values: Float32Array, bins: int) -> Float32Array:
    """Inner edges of about `bins` equally filled bins of the finite `values`; strictly increasing, maybe fewer.

    A value that fills a bin alone gets an edge on either side, so that a change to both sides of it shows. An edge is
    rounded to 8 significant bits where few rows lie between: `Lookup` finds it without a search.

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
    return np.unique(_aligned(ordered, np.concatenate([edges, above]), _MOVED * len(ordered) / bins))


def _aligned(ordered: Float32Array, edges: Float32Array, most_rows: float) -> Float32Array:
    """Each edge, or the nearby least number of a range of `Lookup` if at most so many ordered values lie between."""
    pattern = np.where(edges == 0, np.float32(0), edges).view(np.uint32) >> 16
    is_negative = edges < 0
    near = np.stack([pattern, np.where(is_negative, pattern - 1, pattern + 1)]) << 16
    least = np.where(is_negative, near | 0xFFFF, near).astype(np.uint32).view(np.float32)
    least = np.where(np.isfinite(least), least, edges)
    moved = np.abs(np.searchsorted(ordered, least) - np.searchsorted(ordered, edges))
    best = moved.argmin(axis=0), np.arange(len(edges))
    return np.where(moved[best] <= most_rows, least[best], edges).astype(np.float32)


@dataclass(frozen=True, eq=False)
class Lookup:
    """Bin of each float32, equal bit for bit to `np.searchsorted(edges, x, side="right")`.

    The top 16 bits of a float32 name one of 65,536 ranges. `table` holds the bin of each range, or `mark` where an edge
    lies inside it: only values in such ranges are searched. Ranges are wide far from zero, so where the edges lie close
    together, `centre` is taken off first.
    """

    edges: Float32Array
    centre: np.float32
    table: CodeArray
    mark: int
    is_marked: bool

    @classmethod
    def of(cls, edges: Float32Array) -> "Lookup":
        """The table for strictly increasing float32 edges."""
        centre = _centre(edges)
        moved = edges - centre
        feet = np.arange(_PATTERNS, dtype=np.uint32) << 16
        ends = [(feet | low).view(np.float32) for low in (np.uint32(0), np.uint32(0xFFFF))]
        first, last = (np.searchsorted(moved, end, side="right") for end in ends)
        mark = len(edges) + 1
        table = np.where((first == last) | np.isnan(ends[1]), first, mark).astype(np.min_scalar_type(mark))
        # Where taking the centre off rounds, a value below an edge may land on it.
        with np.errstate(over="ignore"):  # below the smallest float lies minus infinity, which is below every edge
            below = np.nextafter(edges, np.float32(-np.inf))
        blurred = moved[below - centre == moved]
        table[blurred.view(np.uint32) >> 16] = mark
        return cls(edges, centre, table, mark, bool((table == mark).any()))

    def bins(self, values: Float32Array) -> CodeArray:
        """Bin numbers 0..len(edges) of float32 values; NaN has no meaning here and must be masked by the caller."""
        moved = np.ascontiguousarray(values - self.centre if self.centre else values)
        found = self.table.take(moved.view(np.uint16)[_TOP::2])
        if self.is_marked:
            marked = (found == self.mark).nonzero()[0]
            found[marked] = np.searchsorted(self.edges, values[marked], side="right")
        return found


def _centre(edges: Float32Array) -> np.float32:
    """The middle edge, where the middle half of the edges lies within a factor of two; else 0."""
    if not len(edges):
        return np.float32(0)
    low, middle, high = edges[[len(edges) // 4, len(edges) // 2, 3 * len(edges) // 4]].tolist()
    is_far = high - low < min(abs(low), abs(high)) and abs(middle) < _LARGEST_CENTRE
    return np.float32(middle if is_far else 0)
