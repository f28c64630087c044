"""How batches lie in a file: a frame each, of length, checksum and content; a torn end is recognised and left out."""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Callable
from typing import Literal, NamedTuple

from tidegate_client.batches import Batch

MAGIC = b"TGSPOOL1"
_HEAD = struct.Struct("<II")
# No frame is longer: a length beyond this is a torn or broken one, and must not be allocated.
_MOST_BYTES = 1 << 30

Read = Callable[[int, int], bytes]


class Frame(NamedTuple):
    """What was found at an offset, and where the next frame begins. `batch` is None in a frame of an ended batch."""

    mark: Literal["batch", "end"]
    key: str
    batch: Batch | None
    after: int


def batch_frame(batch: Batch) -> bytes:
    """The frame of a batch that waits."""
    head = json.dumps({"kind": batch.kind, "key": batch.key, "rows": batch.rows}).encode()
    return _frame(b"B" + head + b"\n" + batch.body)


def end_frame(key: str) -> bytes:
    """The frame that says that the batch of this key came to its end."""
    return _frame(b"E" + key.encode())


def read_frame(read: Read, offset: int) -> Frame | None:
    """The frame at an offset of a file that `read(bytes, offset)` reads; None where there is no whole one.

    >>> def read(bytes, offset, file=end_frame("k")):
    ...     return file[offset:offset + bytes]
    >>> read_frame(read, 0)
    Frame(mark='end', key='k', batch=None, after=10)
    >>> read_frame(read, 10), read_frame(lambda *at: read(*at)[:-1], 0)
    (None, None)
    """
    head = read(_HEAD.size, offset)
    if len(head) < _HEAD.size:
        return None
    length, checksum = _HEAD.unpack(head)
    if not 0 < length <= _MOST_BYTES:
        return None
    content = read(length, offset + _HEAD.size)
    if len(content) < length or zlib.crc32(content) != checksum:
        return None
    after = offset + _HEAD.size + length
    if content[:1] == b"E":
        return Frame("end", content[1:].decode(), None, after)
    head, _, body = content[1:].partition(b"\n")
    told = json.loads(head)
    return Frame("batch", told["key"], Batch(told["kind"], told["key"], told["rows"], body), after)


def _frame(content: bytes) -> bytes:
    return _HEAD.pack(len(content), zlib.crc32(content)) + content
