"""Tensors of the second protocol (Open Inference Protocol), in JSON or after it as bytes, as rows of plain values."""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np

from service.conventions.unusable import Unusable

_TYPES = {
    "BOOL": "?",
    **{f"{sign}INT{bits}": f"<{kind}{bits // 8}" for sign, kind in (("", "i"), ("U", "u")) for bits in (8, 16, 32, 64)},
    **{f"FP{bits}": f"<f{bits // 8}" for bits in (16, 32, 64)},
}


_MOST_DIMENSIONS = 16


@dataclass(frozen=True)
class Tensor:
    """One tensor: `rows` holds a value for each row, or a list of `width` where that is above 1."""

    name: str
    rows: Sequence[Any]
    width: int
    parameters: Mapping[str, Any]


def read_message(data: bytes) -> tuple[Any, bytes]:
    """The JSON at the head of a body, and the bytes after it: empty where all of it is JSON. Raises Unusable."""
    try:
        return msgspec.json.decode(data), b""
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        if not data.startswith(b"{"):
            raise Unusable("unreadable", f"the body is no JSON: {error}") from error
    try:
        # The length of the head is in a header that the logger does not pass on.
        _, end = json.JSONDecoder().raw_decode(data.decode("latin-1"))
        return msgspec.json.decode(data[:end]), data[end:]
    except (ValueError, RecursionError) as error:
        raise Unusable("unreadable", f"the body is no JSON, and has none before its binary part: {error}") from error


def read_tensors(told: object, what: str, tail: bytes = b"") -> list[Tensor]:
    """The tensors of a list `inputs` or `outputs`; those with a `binary_data_size` are taken from `tail` in order.

    Raises:
        Unusable: one has no name, shape or data, its data does not fill its shape, or it has more than two dimensions.
    """
    if not isinstance(told, list) or not told:
        raise Unusable("tensors", f"{what} must be a list of tensors")
    found, at = [], 0
    for each in told:
        if not isinstance(each, dict) or not isinstance(each.get("name"), str):
            raise Unusable("tensors", f"{what} holds something that is no tensor with a name")
        parameters = each.get("parameters") or {}
        size = parameters.get("binary_data_size") if isinstance(parameters, dict) else None
        if size is None:
            values = _flat(each.get("data"))
        elif isinstance(size, int) and 0 <= size <= len(tail) - at:
            values = _unpack(tail[at : at + size], each)
            at += size
        else:
            raise Unusable(
                "tensors", f"{each['name'][:80]}: binary_data_size is {size!r}, {len(tail) - at} bytes are left"
            )
        found.append(_shaped(each, values, parameters))
    counts = {len(tensor.rows) for tensor in found}
    if len(counts) != 1:
        raise Unusable(
            "tensors", f"the tensors of {what} have {', '.join(map(str, sorted(counts)))} rows: not one count"
        )
    return found


def _shaped(told: Mapping[str, Any], values: list[Any], parameters: Mapping[str, Any]) -> Tensor:
    name, shape = told["name"], told.get("shape")
    is_shape = isinstance(shape, list) and shape and all(isinstance(n, int) and n >= 0 for n in shape)
    if not isinstance(shape, list) or not is_shape or math.prod(shape) != len(values):
        raise Unusable("tensors", f"{name[:80]}: the shape {shape!r} does not fit its {len(values)} values")
    inner = [length for length in shape[1:] if length != 1]
    if len(inner) > 1:
        raise Unusable("tensors", f"{name[:80]}: the shape {shape!r} has more than one value a row and feature")
    width = inner[0] if inner else 1
    if width == 1:
        return Tensor(name, values, 1, parameters)
    return Tensor(name, [values[at : at + width] for at in range(0, len(values), width or 1)], width, parameters)


def _flat(data: object) -> list[Any]:
    if not isinstance(data, list):
        raise Unusable("tensors", "a tensor has no list `data`")
    return list(_leaves(data, _MOST_DIMENSIONS))


def _leaves(data: list[Any], depth: int) -> Iterator[Any]:
    for each in data:
        if not isinstance(each, list):
            yield each
        elif depth:
            yield from _leaves(each, depth - 1)
        else:
            raise Unusable("tensors", f"the data of a tensor is nested more than {_MOST_DIMENSIONS} deep")


def _unpack(data: bytes, told: Mapping[str, Any]) -> list[Any]:
    kind = told.get("datatype")
    if kind == "BYTES":
        return list(_texts(data))
    if not isinstance(kind, str) or kind not in _TYPES or len(data) % np.dtype(_TYPES[kind]).itemsize:
        raise Unusable("tensors", f"{told['name'][:80]}: {len(data)} bytes are no values of {kind!r}")
    values = np.frombuffer(data, _TYPES[kind])
    # JSON has no NaN: a missing number is null there too.
    return [None if value != value else value for value in values.tolist()]  # noqa: PLR0124  NaN alone differs from itself


def _texts(data: bytes) -> Iterator[str]:
    """Each with its length before it, in 4 bytes."""
    at = 0
    while at < len(data):
        end = at + 4 + int.from_bytes(data[at : at + 4], "little")
        if end > len(data):
            raise Unusable("tensors", "a tensor of BYTES ends within a text")
        yield data[at + 4 : end].decode(errors="replace")
        at = end
