"""The usual wobble: how much more a segment moves from slice to slice than sampling alone would move it.

Real traffic is not an urn: it breathes by hour and by day. Each segment's own baseline says how much.
"""

from collections.abc import Callable

import numpy as np

from monitors.readings import FloatArray
from monitors.slices import RUNGS

INFLATION = 2.5
"""Sampling variance is taken this many times larger than independent rows would give: tuned on streams."""
_FEWEST_BLOCKS = 4
_FEWEST_ROWS = 5.0


def rungs_learnt(slices: int) -> tuple[int, ...]:
    """Window lengths with enough blocks in the baseline to learn from.

    >>> rungs_learnt(40)
    (1, 2, 4, 8)
    """
    return tuple(length for length in RUNGS if slices // length >= _FEWEST_BLOCKS)


def blocks(counts: FloatArray, length: int) -> FloatArray:
    """Slices [T, ...] added up in T // length consecutive windows; the oldest that do not fill one are left out."""
    whole = counts.shape[0] // length
    return np.asarray(counts[len(counts) - whole * length :].reshape(whole, length, *counts.shape[1:]).sum(axis=1))


def count_wobble(windows: FloatArray, shares: FloatArray) -> FloatArray:
    """Extra variance of shares beyond sampling, in units of p(1 - p): windows [T, ..., B], shares [..., B].

    phi = mean over t of X2_t / (B - 1), X2_t = sum of (c - n p)^2 / (n p); wobble = 2.5 max(phi - 1 - s, 0) / (n - 1),
    n the mean rows of a window and s = sqrt(2 / ((T - 1)(B - 1))) the chance spread of phi: what few windows show by
    chance is no wobble. NaN where windows are too thin to tell.
    """
    rows = windows.sum(axis=-1)
    expected = np.maximum(rows[..., None] * shares, 1e-12)
    square = ((windows - expected) ** 2 / expected).sum(axis=-1)
    seen = rows > 0
    times = seen.sum(axis=0)
    freedom = np.maximum((shares > 0).sum(axis=-1) - 1, 1)
    windows_free = np.maximum(times - 1, 1)
    # The shares come from these very windows, which takes one window's worth of movement out of them.
    phi = np.where(seen, square, 0).sum(axis=0) / windows_free / freedom
    mean_rows = rows.sum(axis=0) / np.maximum(times, 1)
    excess = phi - 1 - np.sqrt(2 / (windows_free * freedom))
    wobble = INFLATION * np.maximum(excess, 0) / np.maximum(mean_rows - 1, 1)
    return np.where((mean_rows >= _FEWEST_ROWS) & (times >= _FEWEST_BLOCKS), wobble, np.nan)


def mean_wobble(windows: FloatArray, score: Callable[[FloatArray], FloatArray]) -> FloatArray:
    """Extra variance of a score's mean beyond sampling: 2.5 max(variance over t - (1 + s) / n, 0), s its chance spread.

    NaN where windows are too thin to tell.
    """
    rows = windows.sum(axis=-1)
    seen = rows > 0
    times = seen.sum(axis=0)
    means = np.where(seen, score(windows), 0)
    centre = means.sum(axis=0) / np.maximum(times, 1)
    variance = np.where(seen, (means - centre) ** 2, 0).sum(axis=0) / np.maximum(times - 1, 1)
    sampling = np.where(seen, 1 / np.maximum(rows, 1), 0).sum(axis=0) / np.maximum(times, 1)
    chance = np.sqrt(2 / np.maximum(times - 1, 1))
    mean_rows = rows.sum(axis=0) / np.maximum(times, 1)
    enough = (mean_rows >= _FEWEST_ROWS) & (times >= _FEWEST_BLOCKS)
    return np.where(enough, INFLATION * np.maximum(variance - sampling * (1 + chance), 0), np.nan)


def fill(learnt: FloatArray) -> FloatArray:
    """Wobble by rung [R, ...] without gaps: a rung too thin takes the next longer one's, then the shorter one's."""
    filled = learnt.copy()
    for rung in reversed(range(len(filled) - 1)):
        filled[rung] = np.where(np.isnan(filled[rung]), filled[rung + 1], filled[rung])
    for rung in range(1, len(filled)):
        filled[rung] = np.where(np.isnan(filled[rung]), filled[rung - 1], filled[rung])
    return np.nan_to_num(filled, nan=0.0)
