"""Windows: the newest slices added up, for every rung of the ladder at once."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from monitors.readings import FloatArray, IntArray, TimeArray
from monitors.slices import RUNGS, as_time, ladder

ROWS_ENOUGH = 5_000
"""A window of a week of hours or more is not made longer once it holds this many rows."""


@dataclass(frozen=True, eq=False)
class Windows:
    """R windows that end with the newest slice: `lengths` [R] in slices that hold rows, `counts` [R, S, width]."""

    lengths: IntArray
    began: TimeArray
    counts: FloatArray


def add_up(profiles: Mapping[int, FloatArray]) -> Windows:
    """The ladder of windows over profiles by slice start. There must be at least one profile."""
    newest_first = sorted(profiles, reverse=True)
    rows = np.cumsum([profiles[s][0, 0] for s in newest_first])
    enough = int(np.searchsorted(rows, ROWS_ENOUGH)) + 1
    lengths = np.asarray(ladder(min(len(newest_first), max(enough, RUNGS[-1]))), dtype=np.int64)
    used = newest_first[: int(lengths[-1])]
    stacked = np.stack([profiles[s] for s in used])
    steps = np.add.reduceat(stacked, np.concatenate([[0], lengths[:-1]]), axis=0)
    return Windows(lengths, as_time(used[length - 1] for length in lengths), np.cumsum(steps, axis=0))


def rung_of(lengths: IntArray, learnt: tuple[int, ...]) -> IntArray:
    """For each window length the place of the longest learnt rung that is not longer, the first if none."""
    return np.maximum(np.searchsorted(learnt, lengths, side="right") - 1, 0)
