"""Windows: the newest slices added up, for every rung of the ladder at once."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from monitors.counting.slices import RUNGS, as_time, ladder
from monitors.readings import FloatArray, IntArray, TimeArray

ROWS_ENOUGH = 5_000
"""A window is not made longer once it holds this many rows: they show every change that matters."""
ROWS_OF_A_SEGMENT = 200
"""Windows grow until each segment that can has so many rows: fewer say too little about a distribution."""


@dataclass(frozen=True, eq=False)
class Windows:
    """R windows that end with the newest slice: `lengths` [R] in slices that hold rows, `counts` [R, S, width].

    `used` are the starts of the slices in the longest, newest first, and `profiles` their profiles.
    """

    lengths: IntArray
    began: TimeArray
    counts: FloatArray
    used: tuple[int, ...] = ()
    profiles: tuple[FloatArray, ...] = ()


def add_up(profiles: Mapping[int, FloatArray]) -> Windows:
    """The ladder of windows over profiles by slice start. There must be at least one profile."""
    newest_first = sorted(profiles, reverse=True)
    rows = np.cumsum([profiles[s][:, 0] for s in newest_first], axis=0)
    slices = min(len(newest_first), max(_slices_needed(rows), RUNGS[-1]))
    lengths = np.asarray(ladder(slices), dtype=np.int64)
    used = tuple(newest_first[: int(lengths[-1])])
    arrays = tuple(profiles[s] for s in used)
    return Windows(lengths, as_time(used[n - 1] for n in lengths), sums_at(arrays, lengths), used, arrays)


def _slices_needed(rows: FloatArray) -> int:
    """Slices until all rows together, rows [T, S] added up from the newest slice, and each segment are enough.

    Segments that never have enough make no window longer: their parents decide.
    """
    of_all = int(np.searchsorted(rows[:, 0], ROWS_ENOUGH)) + 1
    reached = rows >= ROWS_OF_A_SEGMENT
    return max(of_all, int(np.where(reached.any(axis=0), reached.argmax(axis=0) + 1, 0).max()))


def sums_at(arrays: Sequence[FloatArray], lengths: IntArray) -> FloatArray:
    """The sum of the first n arrays, for each n of the increasing `lengths` [R]: [R, ...]."""
    if len(arrays) == 1:
        return np.asarray(arrays[0][None])
    sums = np.zeros((len(lengths), *arrays[0].shape))
    begun = 0
    for rung, length in enumerate(lengths.tolist()):
        if rung:
            sums[rung] = sums[rung - 1]
        for array in arrays[begun:length]:
            sums[rung] += array
        begun = length
    return sums


def rung_of(lengths: IntArray, learnt: tuple[int, ...]) -> IntArray:
    """For each window length the place of the longest learnt rung that is not longer, the first if none."""
    return np.maximum(np.searchsorted(learnt, lengths, side="right") - 1, 0)
