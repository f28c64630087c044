"""Data quality: missing, unseen, out-of-range and wrongly typed values. A broken feed is an incident, never drift."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from monitors.baselines import Baseline
from monitors.drift import FEWEST_ROWS
from monitors.evidence import mean_of, rise_evidence_ln, stiffness
from monitors.readings import FAULT_KINDS, FloatArray, QualityReadings
from monitors.windows import Windows
from monitors.wobble import INFLATION

VOLUME_SLICES = 24
ROWS_SETTLED = 2_000
ROWS_ENOUGH = 200
"""A fault is about now: windows are not made longer than it takes to hold this many rows."""


def read_quality(baseline: Baseline, windows: Windows, volume_ratio: FloatArray) -> QualityReadings:
    """Shares of broken values against the baseline's, S segments x C columns x K kinds.

    Args:
        baseline: of the model version that made the predictions.
        windows: over the profiles of closed slices.
        volume_ratio: as `volume_ratio` gives it.
    """
    settled, windows = _settled(baseline, windows), _short(windows)
    layout, kinds = baseline.layout, len(FAULT_KINDS)
    columns = range(len(layout.columns))
    hits = np.stack([layout.column_extra(windows.counts, c)[..., :kinds] for c in columns], axis=2)
    before = np.stack([layout.column_extra(baseline.counts, c)[..., :kinds] for c in columns], axis=1)
    rows = windows.counts[..., 0][:, :, None, None]
    expected = np.maximum((before + 0.5) / (baseline.rows[:, None, None] + 1), settled)
    share = hits / np.maximum(rows, 1)
    suspicious = (share > expected) & (rows >= FEWEST_ROWS)
    evidence = np.zeros(hits.shape)
    spread = [np.broadcast_to(x, hits.shape)[suspicious] for x in (rows, expected, baseline.rows[:, None, None])]
    kappa = stiffness(spread[2], 1, (INFLATION - 1) / np.maximum(spread[0] - 1, 1))
    evidence[suspicious] = rise_evidence_ln(hits[suspicious], spread[0], spread[1], kappa)
    strongest = np.where(suspicious, evidence, -np.inf).argmax(axis=0)
    return QualityReadings(
        columns=tuple(c.name for c in layout.columns),
        share=np.take_along_axis(share, strongest[None], axis=0)[0],
        expected=expected,
        evidence_ln=mean_of(evidence, 0),
        window_start=windows.began[strongest],
        volume_ratio=volume_ratio,
    )


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
    found: set[int] = set()
    for segment, column, kind in np.argwhere(cells).tolist():
        began = int(readings.window_start[segment, column, kind].astype("datetime64[s]").astype(np.int64))
        share = readings.share[segment, column, kind]
        for start, profile in profiles.items():
            hits = baseline.layout.column_extra(profile, column)[segment, kind]
            if start >= began and hits and hits >= share / 2 * profile[segment, 0]:
                found.add(start)
    return found


def _settled(baseline: Baseline, windows: Windows) -> FloatArray:
    """Shares [S, C, K] that this version has long been served with: what lasted this long is no incident any more.

    Of unseen and out-of-range values only, over all but the short windows where these hold `ROWS_SETTLED` rows: new
    values that stay are a change of the world, which drift shows. Missing and wrongly typed values stay faults.
    """
    layout = baseline.layout
    older = windows.counts[-1] - _short(windows).counts[-1]
    rows = older[:, 0][:, None, None]
    hits = np.stack(
        [layout.column_extra(older, c)[..., : len(FAULT_KINDS)] for c in range(len(layout.columns))], axis=1
    )
    lasting = np.asarray([kind in {"unseen", "out_of_range"} for kind in FAULT_KINDS])
    return np.where((rows >= ROWS_SETTLED) & lasting, hits / np.maximum(rows, 1), 0.0)


def _short(windows: Windows) -> Windows:
    enough = int((windows.counts[:, 0, 0] < ROWS_ENOUGH).sum()) + 1
    return Windows(windows.lengths[:enough], windows.began[:enough], windows.counts[:enough])
