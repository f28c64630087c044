"""Cells: where each row of a batch counts in one column."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cache
from math import isfinite

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from monitors.columns.bins import BinArray, CodeArray, Float32Array, Lookup
from monitors.readings import FloatArray

BoolArray = NDArray[np.bool_]

MARKS = 4
"""missing, unseen, out of range, wrong type: the cells that follow the bins."""


@dataclass(frozen=True, eq=False)
class Cells:
    """Where each row counts in one column, as one small number a row: its code.

    Of a column with B = `size` bins, codes 0..B-1 are the bins, B..2B-1 the same and out of range, 2B..3B-1 the same
    and unseen; 3B is missing and 3B+1 of the wrong type. So a row is in exactly one of the bins or in missing or wrong
    type. `values` [n] are what is summed: 0 where there is no finite number.
    """

    codes: CodeArray
    size: int
    values: Float32Array

    @property
    def adds(self) -> FloatArray:
        """The cells [3B+2, B+4] in which a row of each code counts: bins, missing, unseen, out of range, wrong type."""
        return _adds(self.size)

    @property
    def bins(self) -> BinArray:
        """The bin of each row; meaningless where it is not `counted`."""
        return np.asarray(self.codes % self.size, dtype=np.intp)

    @property
    def counted(self) -> BoolArray:
        """Rows that are in a bin."""
        return np.asarray(self.codes < 3 * self.size)


@cache
def _adds(size: int) -> FloatArray:
    bins = np.eye(size, size + MARKS)
    missing, unseen, out_of_range, wrong = np.eye(MARKS, size + MARKS, k=size)
    return np.concatenate([bins, bins + out_of_range, bins + unseen, [missing, wrong]])


def number_cells(
    lookup: Lookup, low: float, high: float, values: Float32Array, missing: BoolArray, wrong: BoolArray
) -> Cells:
    """Cells of numbers; those below `low` or above `high` are in a bin and out of range too."""
    size = len(lookup.edges) + 1
    bins = lookup.bins(values)
    least, most = (float(values.min()), float(values.max())) if len(values) else (0.0, 0.0)
    is_inside = low <= least and most <= high and isfinite(least) and isfinite(most)  # NaN is not
    if is_inside and not missing.any() and not wrong.any():
        return Cells(bins, size, values)
    codes = bins.astype(np.min_scalar_type(3 * size + 1))
    with np.errstate(over="ignore"):
        codes[(values < np.float32(low)) | (values > np.float32(high))] += codes.dtype.type(size)
    codes[missing], codes[wrong] = 3 * size, 3 * size + 1
    return Cells(codes, size, np.where(np.isfinite(values) & ~(missing | wrong), values, np.float32(0)))


def place_cells(places: BinArray, size: int, missing: BoolArray, wrong: BoolArray) -> Cells:
    """Cells of categories of which the places are known."""
    codes = places.astype(np.min_scalar_type(3 * size + 1))
    codes[missing], codes[wrong] = 3 * size, 3 * size + 1
    return Cells(codes, size, np.zeros(len(codes), dtype=np.float32))


def category_cells(places: Mapping[str, int], known: Collection[str], column: pa.ChunkedArray) -> Cells:
    """Cells of categories: those without a place share the bin after the last; those not `known` are unseen too."""
    size = len(places) + 1
    encoded = pc.dictionary_encode(column).combine_chunks()
    values = encoded.dictionary.to_pylist()
    codes = [places.get(value, size - 1) + (0 if value in known else 2 * size) for value in values]
    table = np.asarray([*codes, 3 * size], dtype=np.min_scalar_type(3 * size + 1))
    rows = encoded.indices.fill_null(len(values)).to_numpy(zero_copy_only=False)
    return Cells(table.take(rows), size, np.zeros(len(rows), dtype=np.float32))
