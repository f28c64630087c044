"""Rows that are alike: equal in their features, and in their label too or not."""

from collections.abc import Sequence
from datetime import timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from monitors.columns.embeddings import is_list
from monitors.readings import IntArray
from service.training.checkpoints import BoolArray

_MOST_CODES = 2**62


def codes_of(rows: pa.Table, columns: Sequence[str]) -> IntArray:
    """A number from 0 for each row; two rows have the same one exactly where they are equal in the columns."""
    return codes_with(np.zeros(rows.num_rows, dtype=np.int64), rows, columns)


def codes_with(codes: IntArray, rows: pa.Table, columns: Sequence[str]) -> IntArray:
    """The same for rows that are equal in the columns and have the same code already."""
    width = int(codes.max(initial=0)) + 1
    for column in columns if rows.num_rows else ():
        values = rows.column(column)
        values = _as_bytes(values) if is_list(values.type) else values
        found, count = _numbered(values)
        if width * count >= _MOST_CODES:
            codes, width = _numbered(pa.array(codes))
        codes, width = codes * count + found, width * count
    return _numbered(pa.array(codes))[0]


def repeated(equal: IntArray, micros: IntArray, window: timedelta) -> BoolArray:
    """Rows after which another one with the same code `equal` comes in the same window of time; in time order."""
    length = max(1, window // timedelta(microseconds=1))
    windows = micros // length
    order = np.lexsort((windows, equal))
    again = np.zeros(len(equal), dtype=bool)
    same = (equal[order][1:] == equal[order][:-1]) & (windows[order][1:] == windows[order][:-1])
    again[order[:-1]] = same
    return again


def conflicting(alike: IntArray, equal: IntArray) -> BoolArray:
    """Rows that are `alike` one with another code `equal`."""
    lowest = np.full(_size(alike), np.iinfo(np.int64).max)
    highest = np.full(_size(alike), -1)
    np.minimum.at(lowest, alike, equal)
    np.maximum.at(highest, alike, equal)
    return np.asarray((lowest != highest)[alike])


def outdated(alike: IntArray, equal: IntArray) -> BoolArray:
    """Rows that are `alike` a newer one with another code `equal`, the newest of all; in time order."""
    newest = np.full(_size(alike), -1)
    np.maximum.at(newest, alike, np.arange(len(alike)))
    return np.asarray(equal[newest[alike]] != equal)


def _size(codes: IntArray) -> int:
    return int(codes.max()) + 1 if len(codes) else 0


def _numbered(values: pa.ChunkedArray | pa.Array) -> tuple[IntArray, int]:
    """Each value's number, and how many there are."""
    found = pc.dictionary_encode(values, null_encoding="encode")
    encoded = found.combine_chunks() if isinstance(found, pa.ChunkedArray) else found
    return encoded.indices.to_numpy(zero_copy_only=False).astype(np.int64), len(encoded.dictionary)


def _as_bytes(lists: pa.ChunkedArray) -> pa.ChunkedArray:
    """Each list of numbers as the bytes of its 32-bit floats: equal where the lists are."""
    whole = pc.cast(lists, pa.large_list(pa.float32())).combine_chunks()
    ends = pa.py_buffer(whole.offsets.to_numpy() * 4)
    numbers = pa.py_buffer(np.ascontiguousarray(whole.values.to_numpy(zero_copy_only=False)))
    found = pa.Array.from_buffers(pa.large_binary(), len(whole), [None, ends, numbers])
    return pa.chunked_array([pc.if_else(whole.is_valid(), found, pa.scalar(None, pa.large_binary()))])
