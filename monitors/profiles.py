"""Profiles: the counts of rows per segment on the baseline's bins. Vectors that add."""

from collections.abc import Iterator, Mapping

import numpy as np
import pyarrow as pa

from monitors.columns import EXTRA_CELLS
from monitors.counting import Entry, count
from monitors.layouts import Layout
from monitors.readings import FloatArray


def fold(layout: Layout, table: pa.Table, slice_seconds: int) -> dict[int, FloatArray]:
    """Counts of a batch of predictions: slice start (unix seconds) → profile [S, width].

    Folding adds: any split, order and merge of a stream gives the same counts (sums to within rounding).
    """
    if not table.num_rows:
        return {}
    return count(layout, table, slice_seconds, layout.width, list(_prediction_entries(layout, table)))


def add(profiles: dict[int, FloatArray], more: Mapping[int, FloatArray]) -> dict[int, FloatArray]:
    """`profiles` with `more` added to them."""
    for start, counts in more.items():
        profiles[start] = profiles[start] + counts if start in profiles else counts
    return profiles


def _prediction_entries(layout: Layout, table: pa.Table) -> Iterator[Entry]:
    yield Entry(0)
    for column, start, end in zip(layout.columns, layout.offsets, layout.offsets[1:], strict=False):
        cells = column.cells(table)
        yield Entry(start + cells.bins, where=None if cells.counted.all() else cells.counted)
        extra = end - EXTRA_CELLS
        marks = (cells.missing, cells.unseen, cells.out_of_range, cells.wrong_type)
        yield from (Entry(extra + i, where=mark) for i, mark in enumerate(marks) if mark.any())
        if column.kind == "number":
            values = cells.values.astype(np.float64)
            yield Entry(extra + 4, weight=values)
            yield Entry(extra + 5, weight=values * values)
