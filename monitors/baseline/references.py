"""References: what each column of each segment is expected to look like, ready to be compared with."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln

from monitors.baseline.leaning import rows_to_borrow
from monitors.columns.column import EXTRA_CELLS
from monitors.counting.layouts import Layout
from monitors.readings import FAULT_KINDS, FloatArray, IntArray
from monitors.statistics.evidence import CONCENTRATIONS, scores_of

FEWEST_OWN_ROWS = 30
"""A segment with fewer rows in the baseline leans on nobody: it hardly was there."""
_FEWEST_VALUES = 4
_EXACT_WIDTH = 12
_CELLS_AT_ONCE = 50_000
"""Segments x columns made ready together: bounds the memory for temporary arrays."""
_ELSEWHERE = ("missing", "type")


@dataclass(frozen=True, eq=False)
class Reference:
    """C columns with at most B bins each, of S segments.

    `columns` [C] are places in the layout, `bins` [C] their bins, `cells` [C, B] their cells in a profile.
    `shares` [S, C, B] are expected (0 beyond a column's bins) and worth `rows` [S, C], of which `borrowed` [S, C] are
    the parent's. `scores` [2, S, C, B] are the two ways in which it usually moves, with mean 0 and variance 1:
    location and scale of ordered columns, what the baseline's slices show of others. `loose_ln` [K, S, C] is a part
    of the evidence that depends on nothing else. With a season `by_hour` [S, C, H, B] are the shares of each hour,
    worth `hour_rows` [H, S, C]. `elsewhere` [2, C] are the cells of missing and wrong values.
    """

    columns: IntArray
    bins: IntArray
    cells: IntArray
    elsewhere: IntArray
    is_ordered: bool
    shares: FloatArray
    rows: FloatArray
    borrowed: FloatArray
    scores: FloatArray
    loose_ln: FloatArray
    by_hour: FloatArray
    hour_rows: FloatArray

    def counts(self, profiles: FloatArray) -> FloatArray:
        """The columns' counts [..., C, B] of profiles [..., width]."""
        return _counts(profiles, self.cells, self.bins)

    def column_rows(self, profile: FloatArray) -> FloatArray:
        """Rows [S, C] of a profile [S, width] in the columns' bins: those neither missing nor of a wrong type."""
        return np.asarray(profile[:, :1] - profile[:, self.elsewhere[0]] - profile[:, self.elsewhere[1]])

    def expected(self, rows_by_hour: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Shares [R, S, C, B] of windows with `rows_by_hour` [R, H, S, C], and the rows they are worth [R, S, C].

        p = sum of n_h p_h / n. Without a season those of all hours, with R = 1 for all windows.
        """
        if not len(self.hour_rows):
            return self.shares[None], self.rows[None]
        rows = rows_by_hour.sum(axis=1)
        part = rows_by_hour / np.maximum(rows, 1e-9)[:, None]
        shares = np.moveaxis(np.matmul(np.moveaxis(part, (0, 1), (2, 3)), self.by_hour), 2, 0)
        worth = 1 / np.maximum((part**2 / np.maximum(self.hour_rows, 1e-9)).sum(axis=1), 1e-12)
        there = rows > 0
        return np.where(there[..., None], shares, self.shares), np.where(there, np.minimum(worth, self.rows), self.rows)

    def moves(self, counts: FloatArray, expected: FloatArray, scores: FloatArray) -> FloatArray:
        """How far windows moved along both scores [2, ..., S, C], in standard deviations: counts less expected counts.

        A shift of location by d alone moves the scale of normal scores by d^2 / sqrt(2): the scale is less that.
        """
        rows = np.maximum(counts.sum(axis=-1), 1)
        first, second = (((counts - expected) * score).sum(axis=-1) / rows for score in scores)
        return np.stack([first, second - first**2 / np.sqrt(2) if self.is_ordered else second])

    @cached_property
    def is_coarse(self) -> NDArray[np.bool_]:
        """Where [S, C] most rows share a few values: a flag, rain; its rare values come in clusters."""
        return np.asarray(1 / np.maximum((self.shares**2).sum(axis=-1), 1e-12) < _FEWEST_VALUES)

    def part(self, segments: slice) -> "Reference":
        """The same for some of the segments."""
        return Reference(
            self.columns, self.bins, self.cells, self.elsewhere, self.is_ordered, self.shares[segments],
            self.rows[segments], self.borrowed[segments], self.scores[:, segments], self.loose_ln[:, segments],
            self.by_hour[segments], self.hour_rows[:, segments],
        )  # fmt: skip


def references(
    layout: Layout, counts: FloatArray, by_hour: FloatArray, directions: FloatArray | None = None
) -> list[Reference]:
    """The expectations of a baseline with counts [S, width] and counts by hour [H, S, width] (H = 0: no season).

    `directions` [2, S, U] are the scores of the `unordered_cells`, as `monitors.baseline.wobble` learns them.

    Columns of about one width are read in one go. Shares are smoothed with half a row in each bin and lean on the
    parent segment, those of an hour on the segment's: p = (m + 1/2 + k q) / (M + B / 2 + k).
    """
    groups: dict[tuple[bool, int], list[int]] = {}
    for c, column in enumerate(layout.columns):
        width = column.bins if column.bins <= _EXACT_WIDTH else -(-column.bins // 4) * 4
        groups.setdefault((column.kind == "number", width), []).append(c)
    most = max(1, _CELLS_AT_ONCE // len(layout.segments))
    parts = [columns[i : i + most] for columns in groups.values() for i in range(0, len(columns), most)]
    return [_reference(layout, counts, by_hour, directions, columns) for columns in parts]


def _reference(
    layout: Layout, counts: FloatArray, by_hour: FloatArray, directions: FloatArray | None, columns: list[int]
) -> Reference:
    is_ordered = layout.columns[columns[0]].kind == "number"
    bins = np.asarray([layout.columns[c].bins for c in columns])
    places = np.arange(bins.max())
    cells = np.asarray([layout.offsets[c] for c in columns])[:, None] + np.minimum(places, bins[:, None] - 1)
    own = _counts(counts, cells, bins)
    borrowed = np.zeros(own.shape[:-1])
    prior = np.where(places < bins[:, None], 0.5, 0.0)
    shares = _shares(own + prior)
    for cut, wider in _families(layout):
        borrowed[cut] = rows_to_borrow(own[cut], own[wider], (0,))
        borrowed[cut] = np.where(own[cut].sum(axis=-1) >= FEWEST_OWN_ROWS, borrowed[cut], 0.0)
        shares[cut] = _shares(own[cut] + prior + borrowed[cut][..., None] * shares[wider])
    rows = own.sum(axis=-1) + bins / 2 + borrowed
    seasonal = [_counts(hour, cells, bins) for hour in by_hour]
    hours = np.stack(seasonal) if seasonal else np.zeros((0, *own.shape))
    lean = rows_to_borrow(hours, np.broadcast_to(own, hours.shape), (0,)) if seasonal else np.zeros(hours.shape[:-1])
    if is_ordered:
        scores = scores_of(shares)
    else:
        scores = np.zeros((2, *shares.shape))
        if directions is not None:
            scores = _counts(directions, np.searchsorted(unordered_cells(layout), cells), bins)
    return Reference(
        columns=np.asarray(columns),
        bins=bins,
        cells=cells,
        elsewhere=np.asarray(
            [[layout.offsets[c + 1] - EXTRA_CELLS + FAULT_KINDS.index(kind) for c in columns] for kind in _ELSEWHERE]
        ),
        is_ordered=is_ordered,
        shares=shares,
        rows=rows,
        borrowed=borrowed,
        scores=scores.astype(np.float32),
        loose_ln=np.stack([_weights_ln(k * shares) for k in CONCENTRATIONS]).astype(np.float32),
        by_hour=np.moveaxis(_shares(hours + lean[..., None] * shares) if seasonal else hours, 0, 2),
        hour_rows=hours.sum(axis=-1) + lean,
    )


def unordered_cells(layout: Layout) -> IntArray:
    """Where a profile has the bins of columns without order [U], ascending."""
    columns = zip(layout.columns, layout.offsets, strict=False)
    ranges = [np.arange(offset, offset + c.bins) for c, offset in columns if c.kind != "number"]
    return np.concatenate([np.zeros(0, dtype=np.int64), *ranges])


def _families(layout: Layout) -> Iterator[tuple[IntArray, IntArray]]:
    """Segments of each cut and the parent of each, wider cuts first."""
    for cut in sorted(layout.cuts, key=lambda c: len(c.names)):
        segments = np.arange(cut.first, cut.other + 1)
        yield segments, layout.parents[segments]


def _counts(profiles: FloatArray, cells: IntArray, bins: IntArray) -> FloatArray:
    found = profiles[..., cells]
    if (bins < cells.shape[-1]).any():
        found *= np.arange(cells.shape[-1]) < bins[:, None]
    return found


def _shares(counts: FloatArray) -> FloatArray:
    return np.asarray(counts / np.maximum(counts.sum(axis=-1, keepdims=True), 1e-12))


def _weights_ln(weights: FloatArray) -> FloatArray:
    return np.asarray(np.where(weights > 0, gammaln(np.where(weights > 0, weights, 1.0)), 0.0).sum(axis=-1))
