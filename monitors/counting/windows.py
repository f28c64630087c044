"""Windows: the newest slices added up, for every rung of the ladder at once."""

from bisect import bisect_left
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from monitors.counting.slices import LONGEST, RUNGS, as_time, ladder
from monitors.readings import FloatArray, IntArray, TimeArray

ROWS_ENOUGH = 5_000
"""A window is not made longer once it holds this many rows: they show every change that matters."""
LATEST = 1 << 62
"""Later than any slice."""
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

    def shortest(self, rungs: int) -> "Windows":
        """The same with so many of the windows, the shortest."""
        slices = int(self.lengths[rungs - 1])
        used, profiles = self.used[:slices], self.profiles[:slices]
        return Windows(self.lengths[:rungs], self.began[:rungs], self.counts[:rungs], used, profiles)


def add_up(profiles: Mapping[int, FloatArray]) -> Windows:
    """The ladder of windows over profiles by slice start. There must be at least one profile."""
    newest_first = sorted(profiles, reverse=True)
    rows = np.cumsum([profiles[s][:, 0] for s in newest_first], axis=0)
    slices = min(len(newest_first), max(_slices_needed(rows), RUNGS[-1]))
    lengths = np.asarray(ladder(slices), dtype=np.int64)
    used = tuple(newest_first[: int(lengths[-1])])
    arrays = tuple(profiles[s] for s in used)
    return Windows(lengths, as_time(used[n - 1] for n in lengths), sums_at(arrays, lengths), used, arrays)


class Sums:
    """Profiles by slice start, added up from the oldest on: any window of them is the difference of two sums.

    For many moments of one history. Counts are whole numbers, so no order of adding changes them; sums of values may
    differ from those of `add_up` in their last digits.
    """

    def __init__(
        self, profiles: Mapping[int, FloatArray], left_out: Collection[int] = (), *, shape: tuple[int, ...]
    ) -> None:
        self.profiles = profiles
        self._left_out, self._shape = frozenset(left_out), shape
        self._starts = [start for start in sorted(profiles) if start not in self._left_out]
        self._upto = [np.zeros(shape)]
        rows = [np.zeros(shape[0]), *(profiles[start][:, 0] for start in self._starts)]
        self._rows = np.cumsum(rows, axis=0)

    def without(self, left_out: Collection[int]) -> "Sums":
        """The same with these slices left out; what was added up before the first of them stays."""
        fewer = Sums(self.profiles, self._left_out | frozenset(left_out), shape=self._shape)
        same = bisect_left(self._starts, min(left_out, default=LATEST))
        fewer._upto = self._upto[: same + 1]
        return fewer

    def windows(self, until: int) -> Windows | None:
        """The ladder of windows over the slices that start before `until`; None where there is none."""
        held = self._add_until(until)
        if not held:
            return None
        oldest = max(0, held - LONGEST)
        slices = min(held, max(_slices_needed(self._rows[held] - self._rows[oldest:held][::-1]), RUNGS[-1]))
        lengths = np.asarray(ladder(slices), dtype=np.int64)
        used = tuple(self._starts[held - int(lengths[-1]) : held][::-1])
        counts = np.stack([self._upto[held] - self._upto[held - n] for n in lengths.tolist()])
        began = as_time(used[n - 1] for n in lengths)
        return Windows(lengths, began, counts, used, tuple(self.profiles[start] for start in used))

    def total(self, until: int) -> FloatArray:
        """The sum of all slices that start before `until`."""
        return self._upto[self._add_until(until)]

    def newest(self, until: int, most: int) -> dict[int, FloatArray]:
        """The last `most` of the slices that start before `until`, oldest first."""
        held = bisect_left(self._starts, until)
        return {start: self.profiles[start] for start in self._starts[max(0, held - most) : held]}

    def _add_until(self, until: int) -> int:
        held = bisect_left(self._starts, until)
        while len(self._upto) <= held:
            self._upto.append(self._upto[-1] + self.profiles[self._starts[len(self._upto) - 1]])
        return held


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
