"""Data quality: missing, unseen, out-of-range and wrongly typed values. A broken feed is an incident, never drift."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from monitors.baseline.baselines import Baseline
from monitors.baseline.broken import broken_cells
from monitors.baseline.wobble import INFLATION
from monitors.counting.windows import Windows
from monitors.reading.drift import FEWEST_ROWS
from monitors.readings import FAULT_KINDS, FloatArray, IntArray, QualityReadings
from monitors.statistics.evidence import mean_of, rise_evidence_ln, stiffness

VOLUME_SLICES = 24
RECENT_ROWS = 200
"""A fault is about now: what the newest so many rows no longer show is over."""
DUE = 5.0
"""Broken rows that a window has to expect before their absence says anything: none of five is a chance below 1 %."""
ROWS_SETTLED = 2_000
NEW_WORLD = 0.05
"""Values that last in at least this share of the rows are a change of the world; fewer are no more than a fault."""

_LASTING = np.asarray([kind in {"unseen", "out_of_range"} for kind in FAULT_KINDS])
_UNSEEN = FAULT_KINDS.index("unseen")


@dataclass(frozen=True, eq=False)
class _Suspects:
    """N cells with at least one broken value in the longest of R windows.

    `at` are their segments, columns and kinds, `hits` and `rows` [R, N] what the windows hold, `recent` [N] the first
    window with `RECENT_ROWS` rows of the segment, `usual` [N] what the baseline shows.
    """

    at: tuple[NDArray[np.intp], ...]
    hits: FloatArray
    rows: FloatArray
    recent: IntArray
    usual: FloatArray

    @property
    def settled(self) -> FloatArray:
        """Shares [N] that this version has long been served with: what lasted this long is no incident any more.

        Of unseen and out-of-range values only, in the rows older than the recent ones, where there are enough of both:
        new values that stay are a change of the world. Missing and wrongly typed values stay faults.
        """
        hits, rows = (x[-1] - np.take_along_axis(x, self.recent[None], axis=0)[0] for x in (self.hits, self.rows))
        is_settled = (rows >= ROWS_SETTLED) & (hits >= NEW_WORLD * rows) & _LASTING[self.at[2]]
        return np.where(is_settled, hits / np.maximum(rows, 1), 0.0)

    def rising(self, expected: FloatArray) -> NDArray[np.bool_]:
        """Which windows [R, N] show more than expected, by more than one standard error, and still do so now."""
        excess = self.hits - self.rows * expected
        is_more = excess > np.sqrt(self.rows * expected)
        return np.asarray(is_more & (self.rows >= FEWEST_ROWS) & self._goes_on)

    @property
    def _goes_on(self) -> NDArray[np.bool_]:
        """A window speaks of a fault that goes on: every shorter one that must show it shows at least half of it.

        It must where the window's share makes `DUE` broken rows of its own rows, however few these are: a thin segment
        is not kept faulty until hundreds of its rows have come. Where half is less than chance may take away (two
        standard errors), fewer will do.
        """
        share = self.hits / np.maximum(self.rows, 1)
        places = np.arange(len(self.hits))[:, None]
        goes_on = np.ones(share.shape, dtype=bool)
        for shorter, (now, rows) in enumerate(zip(self.hits, self.rows, strict=True)):
            due = share * rows
            must = (places > shorter) & (due >= DUE)
            goes_on &= ~must | (now >= np.minimum(due / 2, due - 2 * np.sqrt(due)))
        return goes_on


def read_quality(baseline: Baseline, windows: Windows, volume_ratio: FloatArray) -> QualityReadings:
    """Shares of broken values against the baseline's, S segments x C columns x K kinds.

    Evidence is the mean over all windows, of which those count that still go on: a rare fault needs many rows to be
    seen, and one that has ended is over. Where no window rises, the share is that of the recent rows.

    Args:
        baseline: of the model version that made the predictions.
        windows: over the profiles of closed slices.
        volume_ratio: as `volume_ratio` gives it.
    """
    suspects, expected = _suspects(baseline, windows), _usual(baseline)
    share, evidence = np.zeros(expected.shape), np.zeros(expected.shape)
    window_start = np.full(expected.shape, windows.began[0])
    if len(suspects.usual):
        usual = expected[suspects.at] = np.maximum(suspects.usual, suspects.settled)
        rising = suspects.rising(usual)
        found = np.zeros(rising.shape)
        worth = baseline.rows[suspects.at[0]]
        hits, rows, p, m = (
            np.broadcast_to(x, found.shape)[rising] for x in (suspects.hits, suspects.rows, usual, worth)
        )
        found[rising] = rise_evidence_ln(hits, rows, p, stiffness(m, 1, (INFLATION - 1) / np.maximum(rows - 1, 1)))
        strongest = np.where(rising.any(axis=0), np.where(rising, found, -np.inf).argmax(axis=0), suspects.recent)
        shares = suspects.hits / np.maximum(suspects.rows, 1)
        share[suspects.at] = np.take_along_axis(shares, strongest[None], axis=0)[0]
        evidence[suspects.at] = mean_of(found, 0)
        window_start[suspects.at] = windows.began[strongest]
    return QualityReadings(
        columns=tuple(c.name for c in baseline.layout.columns),
        share=share,
        expected=expected,
        evidence_ln=evidence,
        window_start=window_start,
        volume_ratio=volume_ratio,
    )


def without_new(baseline: Baseline, sound: Windows, windows: Windows) -> Windows:
    """`sound` less the rows with unseen values beyond what is usual: like missing values they are in no bin.

    New values are a fault while they are new. Those that have settled are the world's, and stay in the bin of all
    others.

    Args:
        baseline: of the model version that made the predictions.
        sound: the windows that drift is read from.
        windows: over all closed slices, faulty ones too: they know what has settled.
    """
    layout = baseline.layout
    columns = np.asarray([c for c, column in enumerate(layout.columns) if column.kind != "number"], dtype=np.int64)
    unseen = broken_cells(layout)[columns, _UNSEEN]
    counts = sound.counts[..., unseen]
    if not counts.any():
        return sound
    suspects, usual = _suspects(baseline, windows), _usual(baseline)
    settled = np.zeros(usual.shape)
    settled[suspects.at] = suspects.settled
    kept = np.maximum(usual, settled)[:, columns, _UNSEEN]
    total = sound.counts.copy()
    others = np.asarray([layout.offsets[c] + layout.columns[c].bins - 1 for c in columns.tolist()])
    total[..., others] -= np.maximum(counts - kept * sound.counts[..., :1], 0.0)
    return replace(sound, counts=total)


def volume_ratio(baseline: Baseline, profiles: Mapping[int, FloatArray], at: int) -> FloatArray:
    """Rows per slice of the calendar over the last 24 slices before `at` (unix seconds), against the baseline's [S].

    NaN until the version has served for 24 slices, for one that has just been released has not stopped. A baseline of
    less than 24 slices does not know a day: against it only 0 is read.
    """
    slices = (baseline.ended - baseline.began) // baseline.slice_seconds + 1
    since = at - VOLUME_SLICES * baseline.slice_seconds
    if not profiles or min(profiles) > since:
        return np.full(len(baseline.rows), np.nan)
    newest = sum((p[:, 0] for start, p in profiles.items() if start >= since), start=np.zeros(len(baseline.rows)))
    usual = baseline.rows / slices
    ratio = np.where(usual > 0, newest / VOLUME_SLICES / np.maximum(usual, 1e-12), np.nan)
    return np.where(ratio > 0, np.nan, ratio) if slices < VOLUME_SLICES else ratio


def faulty_slices(
    baseline: Baseline, profiles: Mapping[int, FloatArray], readings: QualityReadings, cells: NDArray[np.bool_]
) -> set[int]:
    """Starts of the slices that made the broken `cells` [S, C, K]: those with at least half of the window's share."""
    segments, columns, kinds = np.nonzero(cells)
    if not len(segments):
        return set()
    places = broken_cells(baseline.layout)[columns, kinds]
    began = readings.window_start[cells].astype("datetime64[s]").astype(np.int64)
    starts = np.asarray([start for start in profiles if start >= began.min()], dtype=np.int64)
    hits, rows = (np.stack([profiles[s][segments, at] for s in starts.tolist()]) for at in (places, 0 * places))
    broken = (starts[:, None] >= began) & (hits > 0) & (hits >= readings.share[cells] / 2 * rows)
    return set(starts[broken.any(axis=1)].tolist())


def _suspects(baseline: Baseline, windows: Windows) -> _Suspects:
    places, counts = broken_cells(baseline.layout), windows.counts
    at = np.nonzero(counts[-1][:, places])
    enough = counts[..., 0] >= RECENT_ROWS
    recent = np.where(enough.any(axis=0), enough.argmax(axis=0), len(counts) - 1)
    return _Suspects(
        at=at,
        hits=counts[:, at[0], places[at[1], at[2]]],
        rows=counts[:, at[0], 0],
        recent=recent[at[0]],
        usual=_usual(baseline)[at],
    )


def _usual(baseline: Baseline) -> FloatArray:
    """Shares of broken values [S, C, K] that nobody need look at: the baseline's mean and its wobble twice."""
    hits = baseline.counts[:, broken_cells(baseline.layout)]
    mean = (hits + 0.5) / (baseline.rows[:, None, None] + 1)
    return np.asarray(np.minimum(mean + 2 * baseline.broken_wobble, 1.0))
