"""Python values to Arrow columns, as fast as that goes."""

from collections.abc import Sequence
from itertools import chain

import msgspec
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from service.intake.bodies.limits import Limits
from service.intake.bodies.values import json_text, outcome_text, scalar

Column = Sequence[object]

_pack = msgspec.msgpack.Encoder().encode
# What MessagePack writes before the items of a short, a middling and a long array.
_SHORT, _MIDDLING = 16, 1 << 16
_DOUBLE, _DOUBLE_BYTES = 0xCB, 9


class NumberText:
    """The kind of a class that is a number with a fraction: its text is kept, 1 and 1.0 are two of them."""


def numbers(columns: Sequence[Sequence[float | None]]) -> list[pa.Array]:
    """Columns of doubles, all of one length; None is null.

    MessagePack writes every double in nine bytes, so that numpy reads all columns out of one packed text: three times
    as fast as an Arrow builder, which asks each value for its type.
    """
    if not columns or not columns[0]:
        return [pa.array([], pa.float64()) for _ in columns]
    count, rows = len(columns), len(columns[0])
    packed, head = _pack(columns), _head_bytes(rows)
    stride = head + _DOUBLE_BYTES * rows
    if len(packed) == _head_bytes(count) + count * stride:
        first = _head_bytes(count) + head + 1
        found = np.ndarray((count, rows), ">f8", packed, first, (stride, _DOUBLE_BYTES)).astype("=f8", order="C")
        return _slices(found)
    if count == 1:
        return [pa.array(columns[0], pa.float64())]
    return [numbers([column])[0] for column in columns]


def numbers_of(structs: Sequence[msgspec.Struct], names: Sequence[str]) -> list[pa.Array] | None:
    """The same of structs whose fields are all doubles; None where one of them is null.

    They need no tuples in between, which cost more than the packing and keep the garbage collector busy.
    """
    count, rows = len(names), len(structs)
    packed = _pack(structs)
    # Each struct is a map of names, the same in all, and of doubles.
    sizes = [len(_pack(name)) + _DOUBLE_BYTES for name in names]
    stride, first = _head_bytes(count) + sum(sizes), _head_bytes(rows) + _head_bytes(count)
    if len(packed) != _head_bytes(rows) + rows * stride:
        return None
    found = np.empty((count, rows))
    for row, end in zip(found, np.cumsum(sizes).tolist(), strict=True):
        row[:] = np.ndarray((rows,), ">f8", packed, first + end - _DOUBLE_BYTES + 1, (stride,))
    return _slices(found)


def _slices(found: NDArray[np.float64]) -> list[pa.Array]:
    count, rows = found.shape
    memory = pa.py_buffer(found)
    return [pa.Array.from_buffers(pa.float64(), rows, [None, memory], 0, rows * i) for i in range(count)]


def lists(column: Sequence[Sequence[float] | None]) -> pa.Array:
    """A column of lists of numbers, as doubles; None is null. Raises TypeError where they hold something else."""
    sizes = [0 if item is None else len(item) for item in column]
    ends = np.cumsum([0, *sizes], dtype=np.int32)
    gaps = np.asarray([*(item is None for item in column), False])
    offsets = pa.array(ends, pa.int32(), mask=gaps if gaps.any() else None)
    flat = list(chain.from_iterable(item for item in column if item is not None))
    if flat and not are_doubles(flat):
        if not set(map(type, flat)) <= {int, float}:
            raise TypeError("a list holds more than numbers")
        flat = list(map(float, flat))
    return pa.ListArray.from_arrays(offsets, numbers([flat])[0])


def are_doubles(column: Sequence[object]) -> bool:
    """Whether all values are floats. A third of the work of asking each for its type."""
    rows = len(column)
    packed = _pack(column)
    if len(packed) != _head_bytes(rows) + _DOUBLE_BYTES * rows:
        return False
    return bool((np.frombuffer(packed, np.uint8)[_head_bytes(rows) :: _DOUBLE_BYTES] == _DOUBLE).all())


def columns_of(kinds: Sequence[type], columns: Sequence[Column], limits: Limits) -> list[pa.Array]:
    """Columns of these kinds: float, str, bool, list (of floats), int, `NumberText`, and dict, which is an outcome as
    text. None is null in each.

    Raises:
        ArrowException, TypeError: a value of another kind.
        OverflowError: an integer beyond 64 bits.
        RowProblem: an outcome cannot be kept, or a number is an integer beyond 64 bits.
    """
    places = [i for i, kind in enumerate(kinds) if kind is float]
    made = dict(zip(places, numbers([columns[i] for i in places]), strict=True))  # type: ignore[misc]
    for place, (kind, column) in enumerate(zip(kinds, columns, strict=True)):
        if kind is list:
            made[place] = lists(column)  # type: ignore[arg-type]
        elif kind is dict:
            texts = [None if value is None else outcome_text(value, limits) for value in column]  # type: ignore[arg-type]
            made[place] = pa.array(texts, pa.string())
        elif kind is NumberText:
            made[place] = pa.array([_number_text(value, limits) for value in column], pa.string())  # type: ignore[arg-type]
        elif kind is not float:
            made[place] = pa.array(column, _TYPES[kind])
    return [made[place] for place in range(len(kinds))]


def _number_text(value: float | None, limits: Limits) -> str | None:
    if value is None:
        return None
    scalar(value, "prediction", limits)
    return json_text(value)


_TYPES = {str: pa.string(), bool: pa.bool_(), int: pa.int64(), type(None): pa.null()}


def _head_bytes(items: int) -> int:
    return 1 if items < _SHORT else 3 if items < _MIDDLING else 5
