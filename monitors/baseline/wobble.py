"""The usual wobble: how much more a segment moves from slice to slice than independent rows would.

Real traffic is not an urn: it breathes by hour and by day. Each column of each segment shows in its own baseline how
much, and where all of them show alike, each is surer of it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from monitors.baseline.references import Reference, references, unordered_cells
from monitors.counting.layouts import Layout
from monitors.counting.slices import RUNGS
from monitors.readings import FloatArray, IntArray
from monitors.statistics.evidence import FARTHEST

INFLATION = 2.5
"""Variances are taken this many times larger where the baseline has too few windows to learn from."""
LEAST_INFLATION = 1.05
UNSURE = 2.0
"""Standard deviations of what was learned that are added to it."""
CAUTION = 1.5
"""What wobble is too much is dearer than what is too little: as many times as much is added to it."""
FEWEST_BLOCKS = 4
_FEWEST_ROWS = 5.0
_CELLS_AT_ONCE = 4_000_000


@dataclass(frozen=True, eq=False)
class Wobble:
    """For R window lengths, S segments and C columns: the variance beyond sampling and how sure it is.

    The mean of a score over n rows moves by the variance `sampling` / n + extra: of the two usual ways to move
    (`scores` [R, S, C, 2]), and of any other (`shares` [R, S, C], in units of p(1 - p) of a share). All are made larger
    by how uncertain they are; `sampling` [S, C] is 1 but for that. The usual ways of columns without order are
    `directions` [2, S, U], for the U bins of `unordered_cells`.
    """

    shares: FloatArray
    scores: FloatArray
    sampling: FloatArray
    directions: FloatArray


def rungs_learnt(slices: int) -> tuple[int, ...]:
    """Window lengths with enough blocks in the baseline to learn from, at least the first.

    >>> rungs_learnt(40)
    (1, 2, 4, 8)
    """
    return tuple(length for length in RUNGS if slices // length >= FEWEST_BLOCKS) or RUNGS[:1]


def blocks(counts: FloatArray, length: int) -> FloatArray:
    """Slices [T, ...] added up in T // length consecutive windows; the oldest that do not fill one are left out."""
    whole = counts.shape[0] // length
    return np.asarray(counts[len(counts) - whole * length :].reshape(whole, length, *counts.shape[1:]).sum(axis=1))


@dataclass(frozen=True, eq=False)
class _Moves:
    """What the windows of one length show of S segments x C columns: squared moves the rest of the ways and along both
    usual ones, their mean in units of sampling `ratio` [3, S, C] and how `heavy` [3, S, C] the largest of them is; of
    how many `windows` [S, C], of `rows` [S, C] on average, with `freedom` [3, S, C] ways to move.
    """

    ratio: FloatArray
    heavy: FloatArray
    windows: FloatArray
    rows: FloatArray
    freedom: FloatArray


def learn(layout: Layout, by_hour: FloatArray, slices: FloatArray, hours: IntArray, rungs: Sequence[int]) -> Wobble:
    """The wobble of a baseline's slices [T, S, width], each in one of its season's `hours` [T], by window length.

    `by_hour` [H, S, width] are the baseline's counts by hour of the season, H = 0 without one.
    """
    total = slices.sum(axis=0)
    shape = (len(rungs), slices.shape[1], len(layout.columns))
    places = unordered_cells(layout)
    directions = np.zeros((2, len(total), len(places)))
    wobble = Wobble(np.zeros(shape), np.zeros((*shape, 2)), np.ones(shape[1:]), directions)
    for group in references(layout, total, by_hour):
        at_once = max(1, _CELLS_AT_ONCE // (len(slices) * group.cells.size))
        seen: list[list[_Moves]] = []
        for begin in range(0, len(total), at_once):
            part = slice(begin, begin + at_once)
            scores, moves = _observe(group.part(part), slices[:, part], hours, rungs)
            seen.append(moves)
            if not group.is_ordered:
                at = np.arange(scores.shape[-1]) < group.bins[:, None]
                directions[:, part, np.searchsorted(places, group.cells[at])] = scores[:, :, at]
        for rung, parts in enumerate(zip(*seen, strict=True)):
            _settle(wobble, rung, group.columns, parts, is_ordered=group.is_ordered)
    return wobble


def _observe(
    group: Reference, slices: FloatArray, hours: IntArray, rungs: Sequence[int]
) -> tuple[FloatArray, list[_Moves]]:
    """The usual ways [2, S, C, B], and the moves at each rung."""
    counts = group.counts(slices)
    usual = np.moveaxis(group.by_hour, 2, 0)[hours] if len(group.hour_rows) else group.shares
    expected = counts.sum(axis=-1, keepdims=True) * usual
    scores = group.scores
    if not group.is_ordered:
        # How much it moves one way is learned from other slices than the way itself.
        half = len(slices) // 2
        scores = usual_directions(_windows(counts[:half], expected[:half], rungs), group.shares)
        counts, expected = counts[half:], expected[half:]
    return scores, [_moves(group, scores, *window) for window in _windows(counts, expected, rungs)]


def _windows(counts: FloatArray, expected: FloatArray, rungs: Sequence[int]) -> list[tuple[FloatArray, FloatArray]]:
    return [(blocks(counts, length), blocks(expected, length)) for length in rungs]


def usual_directions(windows: Sequence[tuple[FloatArray, FloatArray]], shares: FloatArray) -> FloatArray:
    """The two ways [2, S, C, B] in which counts mostly leave what is expected, as scores with mean 0 and variance 1.

    The leading eigenvectors of the mean of r r', r = (c - n p) / sqrt(n p), over the windows [T, S, C, B] of every
    length. Source: principal components (Pearson, 1901).
    """
    scatter = np.zeros((*shares.shape, shares.shape[-1]))
    for counts, expected in windows:
        rest = (counts - expected) / np.sqrt(np.maximum(expected, 0.5))
        scatter += np.einsum("tscb,tscd->scbd", rest, rest) / max(len(counts), 1)
    root = np.sqrt(shares)
    # Rows are given, so nothing moves along the root of the shares itself.
    along = np.einsum("scbd,scd->scb", scatter, root)
    scatter -= along[..., None] * root[..., None, :] + root[..., None] * along[..., None, :]
    scatter += (along * root).sum(axis=-1)[..., None, None] * root[..., None] * root[..., None, :]
    vectors = np.linalg.eigh(scatter)[1][..., -1:-3:-1]
    free = (shares > 0).sum(axis=-1) - 1
    scores = np.moveaxis(vectors, -1, 0) / np.where(root > 0, root, np.inf)
    scores = scores * (np.arange(2)[:, None, None] < free)[..., None]
    return np.asarray(np.clip(scores, -FARTHEST, FARTHEST))


def _moves(group: Reference, scores: FloatArray, counts: FloatArray, expected: FloatArray) -> _Moves:
    rows = counts.sum(axis=-1)
    square = ((counts - expected) ** 2 / np.maximum(expected, 1e-12)).sum(axis=-1, where=expected > 0)
    along = rows * group.moves(counts, expected, scores) ** 2
    others = np.maximum((group.shares > 0).sum(axis=-1) - 3, 1)
    rest = np.maximum(square - along[0] - along[1], 0) / others
    # The reference knows these very windows, which takes their share of its rows out of what they can show.
    free = np.where(rows > 0, np.maximum(1 - rows / np.maximum(group.rows, 1), 0), 0)
    distances = np.where(rows > 0, np.stack([rest, *along]), 0)
    ratio = distances.sum(axis=1) / np.maximum(free.sum(axis=0), 1e-9)
    freedom = np.stack([others, np.ones_like(others), np.ones_like(others)])
    # The largest of T squared normal distances is about 2 ln(2 T) / f + 1 - 1 / f times their mean. Rain, sales and
    # holidays are rare and large: what happens once a quarter is usual too.
    normal = 2 * np.log(2 * max(len(rows), 1)) / freedom + 1 - 1 / freedom
    heavy = np.maximum(distances.max(axis=1, initial=0) / np.maximum(ratio, 1e-9) / normal, 1)
    return _Moves(ratio, heavy, free.sum(axis=0), rows.sum(axis=0) / max(len(rows), 1), freedom)


def _settle(wobble: Wobble, rung: int, columns: IntArray, parts: Sequence[_Moves], *, is_ordered: bool) -> None:
    """Writes what one window length taught about a group of columns."""
    ratio, heavy, freedom = (np.concatenate([getattr(p, n) for p in parts], 1) for n in ("ratio", "heavy", "freedom"))
    windows, rows = (np.concatenate([getattr(p, n) for p in parts]) for n in ("windows", "rows"))
    place = np.ix_(np.arange(len(rows)), columns)
    for way, learnt in enumerate([wobble.shares, wobble.scores[..., 0], wobble.scores[..., 1]]):
        extra, factor = moderate(ratio[way], windows, rows, freedom[way])
        if np.isfinite(extra).all():
            learnt[rung][place] = extra * (1 + CAUTION * (factor - 1)) * heavy[way]
        elif rung:
            # A window moves no more of itself than a shorter one, whose moves it averages.
            learnt[rung][place] = learnt[rung - 1][place]
        if rung == 0 and (is_ordered or way == 0):
            # Of columns without order the rest of the ways tell it alone: half of the slices taught the usual ones.
            wobble.sampling[place] = np.maximum(wobble.sampling[place], np.clip(factor, LEAST_INFLATION, INFLATION))


def moderate(
    ratio: FloatArray, windows: FloatArray, rows: FloatArray, freedom: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Variance beyond sampling and the factor for not being sure of it, of S segments x C columns.

    A window of n rows shows on average ratio = 1 + (n - 1) rho. What few windows show of it is uncertain by
    2 / (windows x freedom); so each ratio is drawn towards what all of them show together, with the strength d of a
    prior that fits how much they differ beyond chance: (d x prior + windows x own) / (d + windows). The factor for not
    being sure of it is 1 + 2 sqrt(2 / (windows + d)), at most `INFLATION`. Where no window teaches, extra is NaN.

    Args:
        ratio: mean over windows of the squared distance from the expected, 1 by sampling alone.
        windows: how many windows it is a mean of; fewer than `FEWEST_BLOCKS` teach nothing of their own.
        rows: mean rows of a window.
        freedom: independent directions in which a window can move (bins - 1, or 1).

    Source: Smyth, Linear models and empirical Bayes methods, 2004 (moderated variances).

    >>> import numpy as np
    >>> still, few = np.ones((50, 20)), np.full((50, 20), 10.0)
    >>> extra, factor = moderate(still, few, 100 + 0 * few, 9 + 0 * few)
    >>> float(extra.max()), round(float(factor.max()), 2)
    (0.0, 1.03)
    >>> restless = np.where(np.arange(50)[:, None] < 5, 8.0, still)
    >>> extra, factor = moderate(restless, few, 100 + 0 * few, 9 + 0 * few)
    >>> bool(extra[0, 0] > 0.05), bool(extra[9, 9] < 0.01), bool(1.5 < factor[0, 0] < 2)
    (True, True, True)
    """
    taught = (windows >= FEWEST_BLOCKS - 1.5) & (rows >= _FEWEST_ROWS)
    weight = np.where(taught, windows * freedom, 0.0)
    size = np.maximum(rows - 1, 1)
    pooled = np.maximum((weight * (ratio - 1)).sum(axis=0), 0) / np.maximum((weight * size).sum(axis=0), 1e-9)
    typical = 1 + size * pooled
    relative = ratio / typical
    count = int(taught.sum())
    if not count:
        return np.full(ratio.shape, np.nan), np.full(ratio.shape, INFLATION)
    centre = float((weight * relative).sum() / weight.sum())
    # More spread than seen cannot be ruled out with few of them.
    seen = float(((relative[taught] - centre) ** 2).mean()) * (1 + np.sqrt(2 / max(count - 1, 1)))
    chance = float((2 / weight[taught]).mean())
    prior = 2 / max(seen - chance, 1e-6)
    own = np.where(taught, windows * freedom, 0.0)
    mixed = typical * (prior * centre + own * relative) / (prior + own)
    all_windows = float(windows[taught].sum())
    sure = np.where(taught, windows, 0.0) + np.minimum(prior / freedom, all_windows - np.where(taught, windows, 0.0))
    factor = np.minimum(1 + UNSURE * np.sqrt(2 / np.maximum(sure, 1e-9)), INFLATION)
    return np.maximum(mixed - 1, 0) / size, factor
