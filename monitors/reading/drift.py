"""Drift: how far, and how surely, each column of each segment moved away from the baseline."""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from monitors.baseline.baselines import Baseline
from monitors.baseline.references import Reference
from monitors.counting.layouts import Layout
from monitors.counting.slices import hours_of
from monitors.counting.windows import ROWS_ENOUGH, Windows, rung_of
from monitors.readings import DriftReadings, FloatArray, IntArray
from monitors.statistics.corrections import sampling_part, take_off
from monitors.statistics.evidence import (
    ORDERED_WEIGHTS,
    distribution_evidence_ln,
    mean_of,
    shift_evidence_ln,
    stiffness,
    usual_moves,
    usual_shares,
)
from monitors.statistics.formulas import FORMULAS, ORDERED
from monitors.statistics.shares import Pair, smoothed_shares, total

FEWEST_ROWS = 30
FEWEST_BASELINE_ROWS = 500
SIZED_ROWS = 200
OUTPUTS_WEIGH = 0.25
"""Of a segment's evidence: predictions and scores come first, whatever the number of inputs."""
MOST_TOLD = 0.6
"""Part of the strongest window's evidence (in nats) that a shorter one must have to show the size."""
UNSURPRISING = 1.5
"""Of what chance and wobble make of counts, in the mean: up to so much more is no evidence worth a long look."""
_CELLS_AT_ONCE = 50_000


@dataclass(frozen=True, eq=False)
class _Windows:
    """R windows of one group of columns: counts [R, S, C, B], their rows [R, S, C], and what is usual: shares
    [R, S, C, B] and the rows these are worth [R, S, C], the variance beyond sampling of shares [R, S, C] and of scores
    [2, R, S, C], and the factor of sampling [S, C].
    """

    counts: FloatArray
    rows: FloatArray
    shares: FloatArray
    worth: FloatArray
    extra: FloatArray
    score_extra: FloatArray
    sampling: FloatArray


def read_drift(
    baseline: Baseline,
    prepared: Sequence[Reference],
    windows: Windows,
    statistics: Mapping[str, str],
    default: str,
    *,
    is_rough: bool = False,
) -> DriftReadings:
    """Size and evidence for S segments x C columns.

    Args:
        baseline: of the model version that made the predictions.
        prepared: its `references`.
        windows: over the profiles of closed slices.
        statistics: column → statistic, where it is not the default one.
        default: a name of `STATISTICS`; ordered ones are read as TVD on categories.
        is_rough: an e-value near 1 may be taken for 1, which takes half the time.
    """
    layout = baseline.layout
    segments, columns = len(layout.segments), len(layout.columns)
    names = tuple(statistic_of(layout, c, statistics, default) for c in range(columns))
    nothing = np.full((segments, columns), np.nan)
    size, uncorrected, evidence = nothing.copy(), nothing.copy(), nothing.copy()
    rows, borrowed, strongest = np.zeros(nothing.shape), np.zeros(nothing.shape), np.zeros(nothing.shape, np.int64)
    for group in prepared:
        at_once = max(1, _CELLS_AT_ONCE // (group.cells.size * len(windows.lengths)))
        for begin in range(0, segments, at_once):
            part = slice(begin, begin + at_once)
            place = np.ix_(np.arange(segments)[part], group.columns)
            some, seen = group.part(part), _windows(baseline, group.part(part), windows, part)
            found = _evidence(some, seen, is_rough=is_rough)
            readable = _readable(found, seen.rows)
            # A window that is not read tells nothing: its e-value is 1.
            told = np.zeros((len(windows.lengths), *found.shape[1:]))
            told[: len(found)] = np.where(readable, found, 0.0)
            mean = mean_of(told, 0)
            evidence[place] = np.where(readable.any(axis=0), mean, np.nan)
            strongest[place], pick = _strongest_and_telling(found, seen.rows)
            rows[place] = _picked(seen.rows, pick)
            size[place], uncorrected[place] = _sizes(baseline, some, part, seen, pick, names)
            borrowed[place] = some.borrowed
    evidence[:, [column.name in baseline.unread for column in layout.columns]] = np.nan
    is_read = ~np.isnan(evidence)
    return DriftReadings(
        columns=tuple(c.name for c in layout.columns),
        statistics=names,
        size=np.where(is_read, size, np.nan),
        uncorrected=np.where(is_read, uncorrected, np.nan),
        rows=np.where(is_read, rows, np.nan),
        borrowed=borrowed,
        evidence_ln=evidence,
        window_start=np.where(is_read, windows.began[strongest], np.datetime64("NaT")),
        segment_evidence_ln=_by_segment(layout, evidence),
    )


def statistic_of(layout: Layout, column: int, statistics: Mapping[str, str], default: str) -> str:
    """The statistic that is read of a column: the one asked for, or TVD where that needs an order and there is none."""
    name = statistics.get(layout.columns[column].name, default)
    return "TVD" if name in ORDERED and layout.columns[column].kind != "number" else name


def _windows(baseline: Baseline, group: Reference, windows: Windows, segments: slice) -> _Windows:
    counts = group.counts(windows.counts[:, segments])
    looked_at = _looked_at(total(counts))
    counts, windows = counts[:looked_at], windows.shortest(looked_at)
    shares, worth = group.expected(_rows_by_hour(group, windows, segments))
    wobble, learnt = baseline.wobble, rung_of(windows.lengths, baseline.rungs)
    return _Windows(
        counts=counts,
        rows=total(counts),
        shares=shares,
        worth=np.maximum(worth, 1e-9),
        extra=wobble.shares[learnt, segments][..., group.columns],
        score_extra=np.moveaxis(wobble.scores[learnt, segments][:, :, group.columns], -1, 0),
        sampling=wobble.sampling[segments][:, group.columns],
    )


def _looked_at(rows: FloatArray) -> int:
    """How many of the windows with `rows` [R, S, C] can be read: none beyond the first that is enough everywhere."""
    enough = rows.min(axis=(1, 2)) >= ROWS_ENOUGH
    return int(enough.argmax()) + 1 if enough.any() else len(rows)


def _rows_by_hour(group: Reference, windows: Windows, segments: slice) -> FloatArray:
    """Rows [R, H, S, C] of the windows in each hour of the season; H = 0 without one."""
    hours = len(group.hour_rows)
    found = np.zeros((len(windows.lengths), hours, *group.rows.shape))
    if hours:
        ends = windows.lengths.tolist()
        for at, hour in enumerate(hours_of(windows.used, hours).tolist()):
            found[bisect_right(ends, at), hour] += group.column_rows(windows.profiles[at][segments])
    return np.cumsum(found, axis=0)


def _evidence(group: Reference, seen: _Windows, *, is_rough: bool) -> FloatArray:
    """Evidence [R, S, C] of each window; NaN where the baseline is too thin."""
    rows = seen.rows
    moves = group.moves(seen.counts, rows[..., None] * seen.shares, group.scores)
    usual = usual_shares(
        seen.shares, group.scores[:, None], usual_moves(moves, rows, seen.score_extra), group.is_coarse
    )
    noise = ((seen.sampling - 1) + rows * seen.extra) / np.maximum(rows - 1, 1)
    stiff = stiffness(seen.worth, 0, noise)
    if is_rough:
        evidence = _rough_distribution_ln(group, seen, usual, stiff)
    else:
        evidence = distribution_evidence_ln(seen.counts, usual, stiff, group.shares, group.loose_ln[:, None])
    if group.is_ordered:
        known = seen.sampling / np.maximum(rows, 1) + 1 / seen.worth
        shifted = _rough_shift_ln if is_rough else shift_evidence_ln
        location = shifted(moves[0], known + seen.score_extra[0])
        # How a shift of location moves the scale is only about right: half of it is left open.
        scale = shifted(moves[1], known + seen.score_extra[1] + moves[0] ** 4 / 8)
        weights = np.where(group.is_coarse, *np.asarray([(1.0, 0.0, 0.0), ORDERED_WEIGHTS])[:, :, None, None, None])
        evidence = mean_of(np.stack([evidence, location, scale]), 0, weights)
    return np.where(group.rows >= FEWEST_BASELINE_ROWS, evidence, np.nan)


def _rough_distribution_ln(group: Reference, seen: _Windows, usual: FloatArray, stiff: FloatArray) -> FloatArray:
    """`distribution_evidence_ln` [R, S, C] where there may be any, 0 elsewhere.

    As normal as counts are, evidence of z = X^2 / (1 + n / kappa) with B - 1 degrees of freedom is at most
    (z - (B - 1) (1 + ln(z / (B - 1)))) / 2: under 0.5 up to `UNSURPRISING` times the degrees. Of X^2 and its likelihood
    ratio the larger is taken, for an emptied bin counts half as much in the one, and a rare one filled in the other.
    """
    expected = np.maximum(seen.rows[..., None] * usual, 1e-9)
    off = seen.counts - expected
    ratio = 2 * (seen.counts * np.log(np.maximum(seen.counts, 1e-300) / expected)).sum(axis=-1)
    surprise = np.maximum((off * off / expected).sum(axis=-1), ratio)
    freedom = np.maximum(group.bins - 1, 1)
    at = np.nonzero(surprise > UNSURPRISING * freedom * (1 + seen.rows / stiff))
    cells = at[1:]
    evidence = np.zeros(surprise.shape)
    evidence[at] = distribution_evidence_ln(
        seen.counts[at], usual[at], stiff[at], group.shares[cells], group.loose_ln[:, cells[0], cells[1]]
    )
    return evidence


def _rough_shift_ln(distance: FloatArray, variance: FloatArray) -> FloatArray:
    """`shift_evidence_ln` [R, S, C] beyond one standard deviation, 0 within: there it is at most 0.5."""
    evidence = np.zeros(distance.shape)
    at = np.nonzero(distance**2 > variance)
    evidence[at] = shift_evidence_ln(distance[at], variance[at])
    return evidence


def _readable(evidence: FloatArray, rows: FloatArray) -> NDArray[np.bool_]:
    """Which windows [R, S, C] are read: those with enough rows, up to the first with `ROWS_ENOUGH`."""
    shorter = np.concatenate([np.zeros_like(rows[:1]), rows[:-1]])
    return np.asarray((rows >= FEWEST_ROWS) & (shorter < ROWS_ENOUGH) & np.isfinite(evidence))


def _strongest_and_telling(evidence: FloatArray, rows: FloatArray) -> tuple[IntArray, IntArray]:
    """The window [S, C] with the strongest evidence, and the one that shows the size.

    The first began about when the change did. The second is the shortest of those that tell most of what the strongest
    tells: a longer one mixes rows from before the change with those after it. Windows with few rows show mostly noise.
    """
    read = _readable(evidence, rows)
    sized = read & ((rows >= SIZED_ROWS) | (rows.max(axis=0) < SIZED_ROWS))
    told = np.where(sized, evidence, -np.inf)
    most = told.max(axis=0)
    return told.argmax(axis=0), (told >= np.where(most > 0, most * MOST_TOLD, most)).argmax(axis=0)


def _sizes(
    baseline: Baseline, group: Reference, segments: slice, seen: _Windows, pick: IntArray, names: Sequence[str]
) -> tuple[FloatArray, FloatArray]:
    """Corrected and uncorrected sizes [S, C] of the picked windows."""
    current, shares = _picked(seen.counts, pick), _picked(np.broadcast_to(seen.shares, seen.counts.shape), pick)
    freedom = np.maximum(group.bins - 1, 1)
    wobble = (seen.extra * np.maximum(freedom - 2, 0) + seen.score_extra.sum(axis=0)) / freedom
    noise = _picked(1 / np.maximum(seen.rows, 1) + wobble + 1 / seen.worth, pick)
    smooth = Pair(smoothed_shares(current, group.shares > 0), shares, group.scores[0] if group.is_ordered else None)
    raw = Pair.plain(current, group.counts(baseline.counts[segments]))
    size, uncorrected = np.empty(pick.shape), np.empty(pick.shape)
    for name in {names[c] for c in group.columns}:
        of = [i for i, c in enumerate(group.columns) if names[c] == name]
        part = sampling_part(name, shares, smooth.scores)
        size[:, of] = take_off(name, FORMULAS[name](smooth), noise, part)[:, of]
        uncorrected[:, of] = FORMULAS[name](raw)[:, of]
    return size, uncorrected


def _picked(arrays: FloatArray, pick: IntArray) -> FloatArray:
    """The picked [S, C] of arrays [R, S, C, ...]."""
    at = pick.reshape(1, *pick.shape, *[1] * (arrays.ndim - 1 - pick.ndim))
    return np.asarray(np.take_along_axis(arrays, at, axis=0)[0])


def _by_segment(layout: Layout, evidence: FloatArray) -> FloatArray:
    """Evidence [S] of the segments: the mean over columns, in which the outputs together weigh `OUTPUTS_WEIGH`."""
    outputs = np.asarray([not c.source.startswith("feature_") for c in layout.columns])
    read = ~np.isnan(evidence)
    parts = (OUTPUTS_WEIGH, 1 - OUTPUTS_WEIGH) if outputs.any() and not outputs.all() else (1, 1)
    weights = np.where(outputs, parts[0] / max(outputs.sum(), 1), parts[1] / max((~outputs).sum(), 1)) * read
    found = mean_of(np.nan_to_num(evidence), 1, weights + 1e-300)
    return np.where(read.any(axis=1), found, np.nan)
