"""Profiles: the counts of rows per segment on the baseline's bins. Vectors that add."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from monitors.columns import CONFIDENCE_BINS, EXTRA_CELLS, Column, numbers
from monitors.readings import FloatArray, IntArray
from monitors.segments import ALL, Cut, assign, parents, text_of
from monitors.slices import slice_starts

CLASSES = 200
"""Classes with counts of their own; the rest share one."""
_FLOATS_AT_ONCE = 200_000


@dataclass(frozen=True, eq=False)
class Layout:
    """What each float of a profile counts; frozen in the baseline.

    A profile is a float64 array [S segments, width]: rows, then for each column its bins, missing, unseen, out of
    range, wrong type, sum and sum of squares. A labelled profile is [S, labelled_width]; classification: rows, correct,
    rows by confidence bin, correct by confidence bin, then predicted, actual and hit by class; regression: rows,
    absolute error, squared error, sum and sum of squares of the label.
    """

    task: str
    columns: tuple[Column, ...]
    cuts: tuple[Cut, ...]
    classes: tuple[str, ...]

    @cached_property
    def segments(self) -> tuple[str, ...]:
        return (ALL, *(name for cut in self.cuts for name in cut.segment_names()))

    @cached_property
    def parents(self) -> IntArray:
        return parents(self.cuts, self.segments)

    @cached_property
    def offsets(self) -> tuple[int, ...]:
        return tuple(int(o) for o in 1 + np.cumsum([0, *(c.width for c in self.columns)]))

    @property
    def width(self) -> int:
        return self.offsets[-1]

    @property
    def confidence_cells(self) -> int:
        """Confidence bins of a labelled profile: those of the column `confidence`, and one for rows without."""
        return 1 + next((c.bins for c in self.columns if c.name == "confidence"), CONFIDENCE_BINS)

    @property
    def labelled_width(self) -> int:
        if self.task == "regression":
            return 5
        return 2 + 2 * self.confidence_cells + 3 * (len(self.classes) + 1)

    def column_bins(self, profile: FloatArray, column: int) -> FloatArray:
        """The bins of one column of profiles [..., width]."""
        start = self.offsets[column]
        return profile[..., start : start + self.columns[column].bins]

    def column_extra(self, profile: FloatArray, column: int) -> FloatArray:
        """missing, unseen, out of range, wrong type, sum, sum of squares of one column [..., 6]."""
        end = self.offsets[column + 1]
        return profile[..., end - EXTRA_CELLS : end]


def fold(layout: Layout, table: pa.Table, slice_seconds: int) -> dict[int, FloatArray]:
    """Counts of a batch of predictions: slice start (unix seconds) → profile [S, width].

    Folding adds: any split, order and merge of a stream gives the same counts (sums to within rounding).
    """
    if not table.num_rows:
        return {}
    return _count(layout, table, slice_seconds, layout.width, list(_prediction_entries(layout, table)))


def fold_labelled(layout: Layout, table: pa.Table, slice_seconds: int) -> dict[int, FloatArray]:
    """Counts of predictions with their `label`: start of the prediction's slice → profile [S, labelled_width]."""
    if not table.num_rows:
        return {}
    entries = _error_entries if layout.task == "regression" else _class_entries
    return _count(layout, table, slice_seconds, layout.labelled_width, list(entries(layout, table)))


def add(profiles: dict[int, FloatArray], more: Mapping[int, FloatArray]) -> dict[int, FloatArray]:
    """`profiles` with `more` added to them."""
    for start, counts in more.items():
        profiles[start] = profiles[start] + counts if start in profiles else counts
    return profiles


@dataclass(frozen=True, eq=False)
class _Entry:
    """What the rows add to a profile: a cell per row (or one for all), a weight per row, for some of the rows."""

    cell: IntArray | int
    weight: FloatArray | None = None
    where: NDArray[np.bool_] | None = None


def _count(
    layout: Layout, table: pa.Table, slice_seconds: int, width: int, entries: Sequence[_Entry]
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


def _add_entries(corners: Sequence[IntArray], entries: Sequence[_Entry], rows: IntArray, size: int) -> FloatArray:
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


def _prediction_entries(layout: Layout, table: pa.Table) -> Iterator[_Entry]:
    yield _Entry(0)
    for column, start, end in zip(layout.columns, layout.offsets, layout.offsets[1:], strict=False):
        cells = column.cells(table)
        yield _Entry(start + cells.bins, where=None if cells.counted.all() else cells.counted)
        extra = end - EXTRA_CELLS
        marks = (cells.missing, cells.unseen, cells.out_of_range, cells.wrong_type)
        yield from (_Entry(extra + i, where=mark) for i, mark in enumerate(marks) if mark.any())
        if column.kind == "number":
            values = cells.values.astype(np.float64)
            yield _Entry(extra + 4, weight=values)
            yield _Entry(extra + 5, weight=values * values)


def confidence_bins(layout: Layout, table: pa.Table) -> IntArray:
    """Confidence bin of each row; the last bin holds rows without a confidence."""
    column = next((c for c in layout.columns if c.name == "confidence"), None)
    if column is None:
        return np.full(table.num_rows, layout.confidence_cells - 1, dtype=np.int64)
    cells = column.cells(table)
    return np.where(cells.counted, cells.bins, layout.confidence_cells - 1).astype(np.int64)


def _class_entries(layout: Layout, table: pa.Table) -> Iterator[_Entry]:
    predicted, actual = text_of(table, "prediction"), text_of(table, "label")
    hit = np.asarray(pc.fill_null(pc.equal(predicted, actual), False).to_numpy(zero_copy_only=False), dtype=bool)
    confidence, bins = confidence_bins(layout, table), layout.confidence_cells
    classes = len(layout.classes) + 1
    first = 2 + 2 * bins
    yield _Entry(0)
    yield _Entry(1, where=hit)
    yield _Entry(2 + confidence)
    yield _Entry(2 + bins + confidence, where=hit)
    yield _Entry(first + _class_places(layout, predicted))
    yield _Entry(first + classes + _class_places(layout, actual))
    yield _Entry(first + 2 * classes + _class_places(layout, actual), where=hit)


def _class_places(layout: Layout, values: pa.ChunkedArray) -> IntArray:
    found = pc.index_in(values, value_set=pa.array(layout.classes, pa.string()))
    return np.asarray(pc.fill_null(found, len(layout.classes)).to_numpy(zero_copy_only=False), dtype=np.int64)


def _error_entries(layout: Layout, table: pa.Table) -> Iterator[_Entry]:
    del layout
    predicted = numbers(table, "prediction", "")[0].astype(np.float64)
    actual = numbers(table, "label", "")[0].astype(np.float64)
    usable = np.isfinite(predicted) & np.isfinite(actual)
    error, actual = np.where(usable, predicted - actual, 0.0), np.where(usable, actual, 0.0)
    yield _Entry(0, where=usable)
    for cell, weight in enumerate((np.abs(error), error * error, actual, actual * actual), start=1):
        yield _Entry(cell, weight=weight)
