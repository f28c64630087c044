"""Counting: what rows add to the cells of profiles, by slice and segment."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from monitors.layouts import Layout
from monitors.readings import FloatArray, IntArray
from monitors.segments import assign
from monitors.slices import slice_starts

_FLOATS_AT_ONCE = 200_000


@dataclass(frozen=True, eq=False)
class Entry:
    """What the rows add to a profile: a cell per row (or one for all), a weight per row, for some of the rows."""

    cell: IntArray | int
    weight: FloatArray | None = None
    where: NDArray[np.bool_] | None = None


def count(
    layout: Layout, table: pa.Table, slice_seconds: int, width: int, entries: Sequence[Entry]
) -> dict[int, FloatArray]:
    starts, slice_of = np.unique(slice_starts(table.column("timestamp"), slice_seconds), return_inverse=True)
    segment_of = [np.zeros(table.num_rows, dtype=np.int64), *(assign(table, cut) for cut in layout.cuts)]
    size = len(layout.segments) * width
    most = max(1, _FLOATS_AT_ONCE // size)
    order = np.argsort(slice_of, kind="stable")
    ends = np.searchsorted(slice_of[order], np.arange(0, len(starts) + most, most))
    counted: dict[int, FloatArray] = {}
    for chunk, (begin, end) in enumerate(pairwise(ends.tolist())):
        rows, inside = order[begin:end], starts[chunk * most : (chunk + 1) * most]
        corners = [((slice_of[rows] - chunk * most) * len(layout.segments) + s[rows]) * width for s in segment_of]
        profiles = _add_entries(corners, entries, rows, len(inside) * size)
        counted.update(zip(inside.tolist(), profiles.reshape(len(inside), -1, width), strict=True))
    return counted


def _add_entries(corners: Sequence[IntArray], entries: Sequence[Entry], rows: IntArray, size: int) -> FloatArray:
    total = np.zeros(size)
    for entry in entries:
        cell = entry.cell if isinstance(entry.cell, int) else entry.cell[rows]
        weight = None if entry.weight is None else entry.weight[rows]
        where = None if entry.where is None else entry.where[rows]
        for corner in corners:
            place = corner + cell
            if where is not None:
                total += np.bincount(place[where], None if weight is None else weight[where], minlength=size)
            else:
                total += np.bincount(place, weight, minlength=size)
    return total
