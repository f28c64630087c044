"""Time arithmetic: closed-open spans of event time, and the ladder of windows over them."""

from collections.abc import Iterable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from monitors.readings import IntArray, TimeArray

RUNGS = (1, 2, 4, 8, 16, 32, 64, 168)
LONGEST = 4096
"""Slices that a window may span at most: thin traffic needs long windows to reach its rows."""


def slice_starts(timestamps: pa.ChunkedArray, slice_seconds: int) -> IntArray:
    """Start of each row's slice, in unix seconds. A slice holds its start and not its end.

    >>> import pyarrow as pa
    >>> seconds = pa.chunked_array([pa.array([39_599, 39_600], pa.timestamp("s", "UTC"))])
    >>> [int(start) // 3600 for start in slice_starts(seconds, 3600)]
    [10, 11]
    """
    micros = pc.cast(pc.cast(timestamps, pa.timestamp("us", "UTC")), pa.int64()).to_numpy()
    return np.asarray(micros // (slice_seconds * 1_000_000) * slice_seconds, dtype=np.int64)


def ladder(slices: int) -> tuple[int, ...]:
    """Window lengths to look at when `slices` slices hold rows: short ones see abrupt change, long ones gradual change.

    Beyond a week of hours the length doubles, because thin traffic needs many slices to reach its rows.

    >>> ladder(5)
    (1, 2, 4, 5)
    >>> ladder(400)
    (1, 2, 4, 8, 16, 32, 64, 168, 336, 400)
    """
    rungs = [length for length in RUNGS if length < slices]
    length = RUNGS[-1] * 2
    while length < min(slices, LONGEST):
        rungs.append(length)
        length *= 2
    return (*rungs, min(slices, LONGEST)) if slices else ()


def hours_of(starts: Iterable[int], hours: int) -> IntArray:
    """Place of each slice in a season of `hours`: 24 (hour of day, UTC), 168 (hour of week), 0 (none: all at 0).

    >>> hours_of([0, 3600, 24 * 3600], 24).tolist()
    [0, 1, 0]
    """
    at = np.asarray(list(starts), dtype=np.int64) // 3600
    return at % hours if hours else at * 0


def as_time(starts: Iterable[int]) -> TimeArray:
    """Unix seconds as datetime64[s]."""
    return np.asarray(list(starts), dtype="int64").astype("datetime64[s]")
