"""Arrow IPC streams, as far as they are plain: a schema, then batches and dictionaries as they are, then the end.

Compressed buffers are refused, since 16 kB of them can hold 512 MB; so are dictionaries in parts. What is in a message
is told by its metadata, a flatbuffer, which pyarrow verifies and does not show.
"""

import struct
from collections.abc import Sequence

import pyarrow as pa

from service.errors import MalformedBody

_END = b"\xff\xff\xff\xff\0\0\0\0"
_FILES = {b"ARROW1": "an Arrow file", b"PAR1": "a Parquet file"}
_MOST_MESSAGES = 10_000
_MOST_METADATA_BYTES = 8 << 20
# Places of fields in the tables of Message.fbs.
_HEADER, _DATA, _IS_DELTA, _COMPRESSION = 2, 1, 2, 3


def read(body: bytes) -> tuple[pa.Schema, Sequence[pa.RecordBatch]]:
    """Schema and batches, not validated: nothing may look into them before `validate(full=True)`.

    Raises:
        MalformedBody: the body is not a plain stream, or ends before its end marker.
    """
    for start, name in _FILES.items():
        if body.startswith(start):
            raise MalformedBody(f"the body is {name}, not an Arrow IPC stream: write it with pyarrow.ipc.new_stream")
    if not body.endswith(_END):
        raise MalformedBody("the Arrow stream has no end marker: was its writer closed, is it sent whole?")
    try:
        _check_messages(body)
        with pa.ipc.open_stream(pa.BufferReader(body)) as reader:
            return reader.schema, list(reader)
    except (pa.ArrowException, OSError, ValueError, struct.error, IndexError) as error:
        raise MalformedBody(f"the body is not an Arrow IPC stream: {str(error)[:200]}") from error


def _check_messages(body: bytes) -> None:
    source = pa.BufferReader(body)
    messages = pa.ipc.MessageReader.open_stream(source)
    ids: set[int] = set()
    for count, message in enumerate(messages, 1):
        if count > _MOST_MESSAGES:
            raise MalformedBody(f"the Arrow stream has more than {_MOST_MESSAGES} batches: write larger ones")
        if message.metadata.size > _MOST_METADATA_BYTES:
            raise MalformedBody(f"the Arrow stream has a message with {message.metadata.size} bytes of metadata")
        if (count == 1) != (message.type == "schema"):
            raise MalformedBody("the Arrow stream must begin with its schema, and have no other")
        if message.type != "schema":
            _check_message(message, ids)
    if source.tell() != len(body):
        raise MalformedBody("the body goes on after the end of the Arrow stream")


def _check_message(message: pa.ipc.Message, ids: set[int]) -> None:
    metadata = memoryview(message.metadata)
    header = _Table.root(metadata).table(_HEADER)
    if message.type == "dictionary":
        identity = header.number(0, "<q")
        if header.number(_IS_DELTA, "<B") or identity in ids:
            raise MalformedBody("the Arrow stream has a dictionary in parts: write it whole, before the first batch")
        ids.add(identity)
        header = header.table(_DATA)
    if header.has(_COMPRESSION):
        raise MalformedBody(
            "the Arrow stream has compressed buffers: write it without, and compress the body (Content-Encoding: zstd)"
        )


class _Table:
    """A table of a flatbuffer."""

    def __init__(self, data: memoryview, at: int) -> None:
        self._data = data
        self._at = at
        self._fields = at - struct.unpack_from("<i", data, at)[0]

    @classmethod
    def root(cls, data: memoryview) -> "_Table":
        return cls(data, struct.unpack_from("<I", data, 0)[0])

    def _place(self, field: int) -> int:
        """Where a field is, 0 where the table has it not."""
        slot = 4 + 2 * field
        if slot >= struct.unpack_from("<H", self._data, self._fields)[0]:
            return 0
        offset: int = struct.unpack_from("<H", self._data, self._fields + slot)[0]
        return self._at + offset if offset else 0

    def has(self, field: int) -> bool:
        return self._place(field) != 0

    def number(self, field: int, form: str) -> int:
        place = self._place(field)
        found: int = struct.unpack_from(form, self._data, place)[0] if place else 0
        return found

    def table(self, field: int) -> "_Table":
        place = self._place(field)
        if not place:
            raise ValueError("a message has no header")
        return _Table(self._data, place + struct.unpack_from("<I", self._data, place)[0])
