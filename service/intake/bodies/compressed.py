"""Compressed bodies, unpacked within bounds."""

import pyarrow as pa

from service.errors import MalformedBody, UnpackedTooLarge

CODECS = {"gzip": "gzip", "x-gzip": "gzip", "zstd": "zstd"}
"""Content codings that are read."""

_CHUNK_BYTES = 1 << 20


def unpack(body: bytes, coding: str, most_bytes: int) -> bytes:
    """The body as it was before it was compressed; several members or frames one after the other are one body.

    At most one chunk of 1 MiB is unpacked beyond the limit.

    Raises:
        UnpackedTooLarge: it holds more than `most_bytes`.
        MalformedBody: it is not of this coding, is damaged, or ends too early.
    """
    parts, held = [], 0
    try:
        with pa.CompressedInputStream(pa.BufferReader(body), CODECS[coding]) as source:
            while part := source.read(_CHUNK_BYTES):
                held += len(part)
                if held > most_bytes:
                    raise UnpackedTooLarge(most_bytes)
                parts.append(part)
    except (pa.ArrowException, OSError) as error:
        raise MalformedBody(f"the body cannot be unpacked as {coding}: {error}") from error
    return parts[0] if len(parts) == 1 else b"".join(parts)
