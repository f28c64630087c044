"""Data quality: missing, unseen, out-of-range and wrongly typed values. A broken feed is an incident, never drift."""

import numpy as np

from monitors.baselines import Baseline
from monitors.drift import FEWEST_ROWS
from monitors.evidence import mean_of, rise_evidence_ln, stiffness
from monitors.readings import FAULT_KINDS, FloatArray, QualityReadings
from monitors.windows import Windows
from monitors.wobble import INFLATION

VOLUME_SLICES = 24


def read_quality(baseline: Baseline, windows: Windows, newest: FloatArray) -> QualityReadings:
    """Shares of broken values against the baseline's, S segments x C columns x K kinds.

    Args:
        baseline: of the model version that made the predictions.
        windows: over the profiles of closed slices.
        newest: rows [S] of the last 24 slices by the calendar.
    """
    layout, kinds = baseline.layout, len(FAULT_KINDS)
    columns = range(len(layout.columns))
    hits = np.stack([layout.column_extra(windows.counts, c)[..., :kinds] for c in columns], axis=2)
    before = np.stack([layout.column_extra(baseline.counts, c)[..., :kinds] for c in columns], axis=1)
    rows = windows.counts[..., 0][:, :, None, None]
    expected = (before + 0.5) / (baseline.rows[:, None, None] + 1)
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
        volume_ratio=_volume_ratio(baseline, newest),
    )


def _volume_ratio(baseline: Baseline, newest: FloatArray) -> FloatArray:
    """Rows per slice of the calendar, now against the baseline's; NaN for baselines of less than a day of slices."""
    slices = (baseline.ended - baseline.began) // baseline.slice_seconds + 1
    if slices < VOLUME_SLICES:
        return np.full(len(baseline.rows), np.nan)
    usual = baseline.rows / slices
    return np.where(usual > 0, newest / VOLUME_SLICES / np.maximum(usual, 1e-12), np.nan)
