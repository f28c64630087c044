"""Counting: what rows add to the cells of profiles, by slice and segment.

Rows are counted once by group, which is a slice and one segment of each of several cuts, and groups are then added up
to segments. So one cut more costs next to nothing while the groups are much fewer than the rows.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from monitors.columns.bins import CodeArray, Float32Array
from monitors.counting.layouts import Layout
from monitors.counting.segments import encode, place
from monitors.counting.slices import slice_starts
from monitors.readings import FloatArray, IntArray

Rows = slice | IntArray
"""Some rows of a batch: a stretch of it, or their places."""

_ROWS_AT_ONCE = 65_536
_FLOATS_AT_ONCE = 1_000_000
_ROWS_A_GROUP = 16
"""Cuts share groups while these hold so many rows on average: with fewer, adding groups up costs more than counting."""


@dataclass(frozen=True, eq=False)
class Groups:
    """Rows in G groups, each within one slice and one segment of some cuts.

    `of_row` [n] is the group of each row, no group is empty. `targets` says for each of the cuts (and for `all`, in the
    first groups) to which profile [G] a group is added, counted over slices x segments.
    """

    of_row: CodeArray
    begins: IntArray
    targets: tuple[IntArray, ...]

    @classmethod
    def of(cls, of_row: IntArray, targets: Sequence[IntArray]) -> "Groups":
        small = of_row.astype(np.min_scalar_type(len(targets[0])))
        ends = np.cumsum(np.bincount(of_row, minlength=len(targets[0])))
        begins = np.concatenate([[0], ends[:-1]])
        return cls(small, begins, tuple(targets))

    @cached_property
    def order(self) -> IntArray:
        """The rows by group: those of a group from its place in `begins` on."""
        return np.argsort(self.of_row, kind="stable")

    def __len__(self) -> int:
        return len(self.begins)

    def tally(self, codes: CodeArray, size: int) -> FloatArray:
        """How many rows of each group have each of the codes 0..size-1 [G, size]."""
        kind = np.min_scalar_type(len(self) * size)
        places = self.of_row.astype(kind) * kind.type(size) + codes
        return np.bincount(places, minlength=len(self) * size).reshape(-1, size).astype(np.float64)

    def moments(self, values: Float32Array) -> FloatArray:
        """Sum and sum of squares of finite values by group [G, 2]."""
        by_group = values.take(self.order).astype(np.float64)
        found = np.empty((len(self), 2))
        np.add.reduceat(by_group, self.begins, out=found[:, 0])
        by_group *= by_group
        np.add.reduceat(by_group, self.begins, out=found[:, 1])
        return found

    def add_up(self, counts: FloatArray, profiles: FloatArray) -> None:
        """Add the counts of groups [G, width] to the profiles [slices x segments, width] that they belong to."""
        for target in self.targets:
            order = np.argsort(target, kind="stable")
            found, begins = np.unique(target[order], return_index=True)
            profiles[found] += np.add.reduceat(counts[order], begins, axis=0)


@dataclass(frozen=True, eq=False)
class Entry:
    """What the rows add to a profile: a cell per row (or one for all), a weight per row, for some of the rows."""

    cell: IntArray | int
    weight: FloatArray | None = None
    where: NDArray[np.bool_] | None = None


def count(
    layout: Layout, table: pa.Table, slice_seconds: int, width: int, entries: Sequence[Entry]
) -> dict[int, FloatArray]:
    """What the entries add up to: slice start (unix seconds) → profile [S, width]."""

    def counts_of(rows: Rows, every: Sequence[Groups]) -> list[FloatArray]:
        return [_entry_counts(entries, rows, groups, width) for groups in every]

    return count_parts(layout, table, slice_seconds, width, counts_of)


def count_parts(
    layout: Layout,
    table: pa.Table,
    slice_seconds: int,
    width: int,
    counts_of: Callable[[Rows, Sequence[Groups]], Iterable[FloatArray]],
) -> dict[int, FloatArray]:
    """Profiles [S, width] by slice start, a bounded part of the rows at a time.

    `counts_of` is given some rows and their groups, and gives the counts [G, width] of each.
    """
    segments = len(layout.segments)
    counted: dict[int, FloatArray] = {}
    for rows, starts, slice_of in _parts(table, slice_seconds, segments * width):
        every = _groups(layout, rows_of(table, rows), slice_of, len(starts))
        profiles = np.zeros((len(starts) * segments, width))
        for groups, counts in zip(every, counts_of(rows, every), strict=True):
            groups.add_up(counts, profiles)
        for start, profile in zip(starts.tolist(), profiles.reshape(len(starts), segments, width), strict=True):
            counted[start] = counted[start] + profile if start in counted else profile
    return counted


def rows_of(table: pa.Table, rows: Rows) -> pa.Table:
    """Some rows of a table; a stretch of it is no copy."""
    return table.slice(rows.start, rows.stop - rows.start) if isinstance(rows, slice) else table.take(rows)


def _entry_counts(entries: Iterable[Entry], rows: Rows, groups: Groups, width: int) -> FloatArray:
    counts = np.zeros(len(groups) * width)
    corner = groups.of_row.astype(np.int64) * width
    for entry in entries:
        place = corner + (entry.cell if isinstance(entry.cell, int) else entry.cell[rows])
        weight = None if entry.weight is None else entry.weight[rows]
        if entry.where is not None:
            where = entry.where[rows]
            place, weight = place[where], None if weight is None else weight[where]
        counts += np.bincount(place, weight, minlength=len(counts))
    return counts.reshape(-1, width)


def _parts(table: pa.Table, slice_seconds: int, slice_floats: int) -> Iterator[tuple[Rows, IntArray, IntArray]]:
    """Rows of a few slices, the starts of these, and the place of each row's slice among them."""
    begun = slice_starts(table.column("timestamp"), slice_seconds)
    first = begun.min()
    slice_of, places = _dense((begun - first) // slice_seconds, int(begun.max() - first) // slice_seconds + 1)
    starts = first + places * slice_seconds
    most = max(1, _FLOATS_AT_ONCE // slice_floats)
    if len(begun) <= _ROWS_AT_ONCE and len(starts) <= most:
        yield slice(0, len(begun)), starts, slice_of
        return
    is_ordered = bool((np.diff(slice_of) >= 0).all())
    order = np.argsort(slice_of, kind="stable")
    ends = np.searchsorted(slice_of[order], np.arange(0, len(starts) + most, most))
    bounds = sorted({*ends.tolist(), *range(0, len(begun), _ROWS_AT_ONCE)})
    for begin, end in pairwise(bounds):
        inside = slice_of[order[begin:end]]
        rows = slice(begin, end) if is_ordered else order[begin:end]
        yield rows, starts[inside[0] : inside[-1] + 1], inside - inside[0]


def _groups(layout: Layout, table: pa.Table, slice_of: IntArray, slices: int) -> list[Groups]:
    """All cuts in as few groups of rows as pay off."""
    sources = {source for cut in layout.cuts for source in cut.sources}
    encoded = {source: encode(table, source) for source in sources}
    corners = np.arange(slices) * len(layout.segments)
    found: list[Groups] = []
    of_row, targets, of_slice = slice_of, [corners], np.arange(slices)
    for cut in layout.cuts:
        segment = place(encoded, cut)
        joined, of_group, within = _cross(of_row, len(of_slice), segment - cut.first, cut.size)
        if len(of_group) * _ROWS_A_GROUP > len(slice_of) and len(of_slice) > slices:
            found.append(Groups.of(of_row, targets))
            of_slice, targets = np.arange(slices), []
            joined, of_group, within = _cross(slice_of, slices, segment - cut.first, cut.size)
        of_row, of_slice = joined, of_slice[of_group]
        targets = [*(target[of_group] for target in targets), corners[of_slice] + cut.first + within]
    return [*found, Groups.of(of_row, targets)]


def _cross(of_row: IntArray, groups: int, within: IntArray, size: int) -> tuple[IntArray, IntArray, IntArray]:
    """Groups crossed with 0..size-1: the new group of each row, and of each new group the old one and the number."""
    numbers, distinct = _dense(of_row * size + within, groups * size)
    return numbers, *np.divmod(distinct, size)


def _dense(codes: IntArray, size: int) -> tuple[IntArray, IntArray]:
    """Numbers 0, 1, … for the distinct codes 0..size-1, by row, and the code of each number."""
    if size > 4 * len(codes) + _ROWS_AT_ONCE:
        distinct, numbers = np.unique(codes, return_inverse=True)
        return numbers, distinct
    distinct = np.flatnonzero(np.bincount(codes, minlength=size))
    numbers = np.zeros(size, dtype=np.int64)
    numbers[distinct] = np.arange(len(distinct))
    return numbers.take(codes), distinct
