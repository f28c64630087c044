"""Profiles: the counts of rows per segment on the baseline's bins. Vectors that add."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pyarrow as pa

from monitors.columns.cells import MARKS, Cells
from monitors.columns.column import EXTRA_CELLS
from monitors.columns.derived import Derived
from monitors.columns.expected_error import NAME as EXPECTED_ERROR
from monitors.columns.joint import NAME as JOINT
from monitors.counting.groups import Groups, Rows, count_parts, rows_of
from monitors.counting.layouts import Layout
from monitors.readings import FloatArray


def fold(layout: Layout, table: pa.Table, slice_seconds: int) -> dict[int, FloatArray]:
    """Counts of a batch of predictions: slice start (unix seconds) → profile [S, width].

    Folding adds: any split, order and merge of a stream gives the same counts (sums to within rounding).
    """
    if not table.num_rows:
        return {}

    def counts_of(rows: Rows, every: Sequence[Groups]) -> list[FloatArray]:
        return _counts(layout, rows_of(table, rows), every)

    return count_parts(layout, table, slice_seconds, layout.width, counts_of)


def add(profiles: dict[int, FloatArray], more: Mapping[int, FloatArray]) -> dict[int, FloatArray]:
    """`profiles` with `more` added to them."""
    for start, counts in more.items():
        profiles[start] = profiles[start] + counts if start in profiles else counts
    return profiles


def _counts(layout: Layout, table: pa.Table, every: Sequence[Groups]) -> list[FloatArray]:
    found = [np.zeros((len(groups), layout.width)) for groups in every]
    for groups, counts in zip(every, found, strict=True):
        counts[:, 0] = np.diff(groups.begins, append=table.num_rows)
    spans = zip(layout.columns, layout.offsets, layout.offsets[1:], strict=False)
    for (column, begin, end), cells in zip(spans, _cells(layout, table), strict=True):
        codes, marks = int(cells.codes.max()) + 1, end - EXTRA_CELLS + MARKS
        for groups, counts in zip(every, found, strict=True):
            counts[:, begin:marks] = groups.tally(cells.codes, codes) @ cells.adds[:codes]
            if column.kind == "number":
                counts[:, marks:end] = groups.moments(cells.values)
    return found


def _cells(layout: Layout, table: pa.Table) -> Iterator[Cells]:
    """The cells of each column in turn; those of the derived ones, which are last, come from all others."""
    read: dict[str, Derived] = {}
    others: dict[str, Cells] = {}
    derived = {JOINT: layout.joint, EXPECTED_ERROR: layout.errors}
    for column in layout.columns:
        source = derived.get(column.derive)
        cells = source.cells(column, others) if source else column.cells(table, read)
        if layout.joint or layout.errors:
            others[column.name] = cells
        yield cells
