"""Windows: the newest slices added up, for every rung of the ladder at once."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from monitors.counting.slices import RUNGS, as_time, ladder
from monitors.readings import FloatArray, IntArray, TimeArray

ROWS_ENOUGH = 5_000
"""A window is not made longer once it holds this many rows: they show every change that matters."""


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
    rows = np.cumsum([profiles[s][0, 0] for s in newest_first])
    enough = int(np.searchsorted(rows, ROWS_ENOUGH)) + 1
    lengths = np.asarray(ladder(min(len(newest_first), max(enough, RUNGS[-1]))), dtype=np.int64)
    used = tuple(newest_first[: int(lengths[-1])])
    arrays = tuple(profiles[s] for s in used)
    return Windows(lengths, as_time(used[n - 1] for n in lengths), sums_at(arrays, lengths), used, arrays)


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
