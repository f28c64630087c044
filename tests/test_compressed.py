"""Compressed bodies are unpacked within bounds."""

import os
import zlib

import pyarrow as pa
import pytest
from bodies import zipped

from service.errors import MalformedBody, UnpackedTooLarge
from service.intake.bodies.compressed import unpack


@pytest.mark.parametrize("coding", ["gzip", "zstd"])
def test_compressed_bodies_are_unpacked_in_one_or_many_members(coding):
    data = os.urandom(3_000_000)
    assert unpack(zipped(data, coding), coding, len(data)) == data
    parts = [zipped(data[start : start + 700_000], coding) for start in range(0, len(data), 700_000)]
    assert unpack(b"".join(parts), coding, len(data)) == data
    with pytest.raises(UnpackedTooLarge, match="TIDEGATE_MAX_BODY_BYTES"):
        unpack(b"".join(parts), coding, len(data) - 1)


@pytest.mark.parametrize("coding", ["gzip", "zstd"])
def test_a_compressed_body_that_is_cut_or_followed_by_something_else_is_refused(coding):
    packed = zipped(b"[]" * 500, coding)
    for broken in (
        packed[:-1],
        packed[:-5],
        packed[: len(packed) // 2],
        packed[:3],
        packed + b"x",
        packed + packed[:9],
        b"[]",
        packed[:-2] + b"??",
    ):
        with pytest.raises(MalformedBody, match=f"cannot be unpacked as {coding}"):
            unpack(broken, coding, 10_000)


@pytest.mark.parametrize("coding", ["gzip", "zstd"])
def test_a_bomb_takes_no_more_memory_than_the_limit_and_a_chunk(coding):
    bomb = zipped(bytes(200_000_000), coding)
    before = pa.total_allocated_bytes()
    with pytest.raises(UnpackedTooLarge):
        unpack(bomb, coding, 4 << 20)
    assert pa.total_allocated_bytes() - before < 1 << 20
    assert len(unpack(b"".join([zipped(b"", coding)] * 1_000), coding, 10)) == 0


def test_a_zstd_frame_that_wants_a_huge_window_is_refused():
    frame = b"\x28\xb5\x2f\xfd\x00\xf8\x29\x00\x00hello"
    with pytest.raises(MalformedBody, match="too much memory"):
        unpack(frame, "zstd", 1 << 20)


def test_zlib_without_a_gzip_header_is_the_same_data():
    assert unpack(zlib.compress(b"[]"), "gzip", 10) == b"[]"
