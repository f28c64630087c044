"""Times: the hour of day and the day of week, in UTC."""

from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from monitors.columns.derived import Derived
from monitors.columns.values import plain

WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_SECONDS = pa.timestamp("s")
_DAY, _HOUR = 86_400, 3_600
_THURSDAY = 3
"""1970-01-01 was one."""


def read_times(column: pa.ChunkedArray) -> Derived:
    """`hour` (0..23) and `weekday` (places in `WEEKDAYS`) of timestamps, or of ISO 8601 texts.

    A time without an offset is UTC, one with an offset is turned into UTC. Texts that are no time, and values that
    are neither, are of the wrong type.

    >>> import pyarrow as pa
    >>> found = read_times(pa.chunked_array([["2026-11-22T23:30:00.5-02:00", "2026-11-22T10:00:00Z", "noon", None]]))
    >>> found.numbers["hour"].tolist(), [WEEKDAYS[code] for code in found.codes["weekday"][:2]]
    ([1.0, 10.0, 0.0, 0.0], ['Monday', 'Sunday'])
    >>> found.wrong_type.tolist(), found.missing.tolist()
    ([False, False, True, False], [False, False, False, True])
    """
    seconds, unread = _seconds(plain(column))
    missing = np.asarray(column.is_null().to_numpy(), dtype=bool)
    hours = (seconds % _DAY // _HOUR).astype(np.float32)
    weekdays = ((seconds // _DAY + _THURSDAY) % len(WEEKDAYS)).astype(np.intp)
    return Derived(missing, unread & ~missing, {"hour": hours}, {"weekday": weekdays})


def _seconds(column: pa.ChunkedArray) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Unix seconds, 0 where there is no time, and where that is."""
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        column = _parsed(column)
    elif pa.types.is_timestamp(column.type):
        column = _whole_seconds(column)
    elif pa.types.is_date(column.type):
        column = pc.cast(column, _SECONDS)
    else:
        column = pa.chunked_array([pa.nulls(len(column), _SECONDS)])
    unread = np.asarray(column.is_null().to_numpy(), dtype=bool)
    seconds = pc.fill_null(pc.cast(column, pa.int64()), 0).to_numpy()
    return np.asarray(seconds, dtype=np.int64), unread


def _parsed(texts: pa.ChunkedArray) -> pa.ChunkedArray:
    for kind in (pa.timestamp("ns", "UTC"), pa.timestamp("ns")):
        try:
            return _whole_seconds(pc.cast(texts, kind))
        except pa.ArrowException:
            continue
    # Some are no times, or only some have an offset: each distinct text on its own.
    encoded = texts.combine_chunks().dictionary_encode()
    values = pa.array([_moment(text) for text in encoded.dictionary.to_pylist()], _SECONDS)
    return pa.chunked_array([values.take(encoded.indices)])


def _whole_seconds(times: pa.ChunkedArray) -> pa.ChunkedArray:
    # A cast rounds towards 1970.
    return pc.cast(pc.floor_temporal(pc.cast(times, pa.timestamp(times.type.unit)), unit="second"), _SECONDS)


def _moment(text: str) -> int | None:
    try:
        parsed = datetime.fromisoformat(text.strip())
    except ValueError:
        return None
    return int((parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).timestamp() // 1)
