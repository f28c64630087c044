"""A model's past as one file: baselines, slices, retrainings, the policy in force. For a backtest without a service.

It holds counts and no rows; but a baseline knows the frequent values of categories, and so does this file.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa

from monitors.baseline.baselines import Baseline
from monitors.errors import BaselineMismatch
from monitors.readings import FloatArray, TwinReading
from policies.past.past import Known, Past, Reign
from service.errors import ServiceError

FORMAT = 1
_MAGIC = b"tidegate past\n"


class BadPastFile(ServiceError):
    """The file is not of a past, or of another format."""


class _Slices(msgspec.Struct):
    """Slice starts and their profiles, one after the other."""

    starts: list[int]
    counts: bytes


class _Reign(msgspec.Struct):
    baseline: bytes
    since: datetime
    until: datetime
    profiles: _Slices
    labelled: _Slices
    twins: list[tuple[datetime, TwinReading]]


class _File(msgspec.Struct):
    format: int
    model: str
    since: datetime
    until: datetime
    policy: str
    reigns: list[_Reign]
    retrainings: list[Known]
    faulty: list[int]
    notes: list[str]


def pack(past: Past, policy: str) -> bytes:
    """The past as bytes, with the text of the policy in force; empty where there is none."""
    reigns = [
        _Reign(r.baseline.to_bytes(), r.since, r.until, _packed(r.profiles), _packed(r.labelled), list(r.twins))
        for r in past.reigns
    ]
    held = _File(
        FORMAT, past.model, past.since, past.until, policy, reigns, list(past.retrainings), sorted(past.faulty),
        list(past.notes),
    )  # fmt: skip
    out = pa.BufferOutputStream()
    with pa.CompressedOutputStream(out, "zstd") as stream:
        stream.write(msgspec.msgpack.encode(held))
    return _MAGIC + bytes(out.getvalue())


def unpack(data: bytes) -> tuple[Past, str]:
    """The past and the policy's text that `pack` was given.

    Raises:
        BadPastFile: the bytes are not of a past, or of another format.
    """
    if not data.startswith(_MAGIC):
        raise BadPastFile("this is no file of profiles; make one with `tidegate profiles export MODEL FILE`")
    try:
        plain = pa.CompressedInputStream(pa.BufferReader(data[len(_MAGIC) :]), "zstd").read()
        if (found := msgspec.msgpack.decode(plain, type=dict[str, Any]).get("format")) != FORMAT:
            raise BadPastFile(f"the profiles have format {found}, this command reads {FORMAT}; export them again")
        held = msgspec.msgpack.decode(plain, type=_File)
        reigns = tuple(_reign(each) for each in held.reigns)
    except (msgspec.DecodeError, BaselineMismatch, OSError, ValueError) as error:
        raise BadPastFile(f"the file of profiles is damaged, export it again: {error}") from error
    retrainings, faulty = tuple(held.retrainings), frozenset(held.faulty)
    past = Past(held.model, held.since, held.until, reigns, retrainings, faulty, tuple(held.notes))
    return past, held.policy


def _reign(packed: _Reign) -> Reign:
    baseline = Baseline.from_bytes(packed.baseline)
    profiles, labelled = (
        _unpacked(slices, shape.shape)
        for slices, shape in ((packed.profiles, baseline.counts), (packed.labelled, baseline.labelled))
    )
    return Reign(baseline, packed.since, packed.until, profiles, labelled, tuple(packed.twins))


def _packed(profiles: Mapping[int, FloatArray]) -> _Slices:
    starts = sorted(profiles)
    return _Slices(starts, b"".join(np.ascontiguousarray(profiles[start]).tobytes() for start in starts))


def _unpacked(slices: _Slices, shape: tuple[int, ...]) -> dict[int, FloatArray]:
    arrays = np.frombuffer(slices.counts).reshape(len(slices.starts), *shape)
    return dict(zip(slices.starts, arrays, strict=True))
