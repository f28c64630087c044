"""Numbers of a column as float32, whatever type it came in."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from monitors.columns.bins import Float32Array
from monitors.columns.kinds import is_string
from monitors.columns.times import read_times
from monitors.columns.values import has, plain

Numbers = tuple[Float32Array, NDArray[np.bool_], NDArray[np.bool_]]

_LARGEST = np.float32(3.4e38)


def numbers(table: pa.Table, source: str, derive: str = "") -> Numbers:
    """Values as float32, which are missing, and which cannot be read as a number.

    With `derive` "hour" the hours of a column of times, with "length" the characters of texts. A number beyond float32
    is its largest one.
    """
    if not has(table, source):
        everything = np.ones(table.num_rows, dtype=bool)
        return np.zeros(table.num_rows, dtype=np.float32), everything, ~everything
    column = plain(table.column(source))
    if derive == "hour":
        times = read_times(column)
        return times.numbers["hour"], times.missing, times.wrong_type
    if derive == "length":
        return _narrow(pc.cast(pc.utf8_length(pc.utf8_trim_whitespace(pc.cast(column, pa.string()))), pa.float64()))
    if is_string(column.type):
        return _parsed(column)
    try:
        wide = column if pa.types.is_float64(column.type) else pc.cast(column, pa.float64(), safe=False)
    except pa.ArrowException:
        missing = np.asarray(column.is_null().to_numpy(), dtype=bool)
        return np.zeros(len(column), dtype=np.float32), missing, ~missing
    return _narrow(wide)


def _narrow(column: pa.ChunkedArray) -> Numbers:
    wide = column.to_numpy(zero_copy_only=False)
    with np.errstate(over="ignore"):
        values = wide.astype(np.float32)
    infinite = np.isinf(values)
    if infinite.any():
        too_large = infinite & np.isfinite(wide)
        values[too_large] = np.copysign(_LARGEST, wide[too_large])
    missing = np.isnan(values)
    return values, missing, np.zeros_like(missing)


def _parsed(texts: pa.ChunkedArray) -> Numbers:
    try:
        return _narrow(pc.cast(texts, pa.float64()))
    except pa.ArrowException:
        encoded = texts.combine_chunks().dictionary_encode()
    # Some are no numbers: each distinct text on its own. The last place is that of rows without any.
    parsed = [_number(text) for text in encoded.dictionary.to_pylist()]
    places = encoded.indices.fill_null(len(parsed)).to_numpy(zero_copy_only=False)
    values, missing, _ = _narrow(pa.chunked_array([pa.array([*parsed, None], pa.float64()).take(pa.array(places))]))
    wrong = np.asarray([number is None for number in parsed] + [False])[places]
    return values, missing & ~wrong, wrong


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
