"""Cells: where each row of a batch counts in one column."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from monitors.bins import BinArray, Float32Array, Lookup


@dataclass(frozen=True, eq=False)
class Cells:
    """Where each row counts in one column. A row is in exactly one of the bins or in missing or wrong type."""

    bins: BinArray
    counted: NDArray[np.bool_]
    missing: NDArray[np.bool_]
    unseen: NDArray[np.bool_]
    out_of_range: NDArray[np.bool_]
    wrong_type: NDArray[np.bool_]
    values: Float32Array


def number_cells(
    lookup: Lookup, low: float, high: float, values: Float32Array, missing: NDArray[np.bool_], wrong: NDArray[np.bool_]
) -> Cells:
    """Cells of numbers; those below `low` or above `high` are in a bin and out of range too."""
    counted = ~(missing | wrong)
    bins = lookup.bins(np.where(counted, values, np.float32(0)))
    outside = counted & ((values < np.float32(low)) | (values > np.float32(high)))
    finite = np.where(counted & np.isfinite(values), values, np.float32(0))
    return Cells(bins, counted, missing, np.zeros_like(missing), outside, wrong, finite)


def category_cells(places: Mapping[str, int], known: Collection[str], column: pa.ChunkedArray) -> Cells:
    """Cells of categories: those without a place share the bin after the last; those not `known` are unseen too."""
    encoded = pc.dictionary_encode(column).combine_chunks()
    missing = np.asarray(encoded.is_null().to_numpy(zero_copy_only=False))
    values = encoded.dictionary.to_pylist()
    other = len(places)
    found = np.asarray([places.get(v, other) for v in values] + [other], dtype=np.intp)
    new = np.asarray([v not in known for v in values] + [False], dtype=bool)
    codes = encoded.indices.fill_null(len(values)).to_numpy(zero_copy_only=False)
    nothing = np.zeros(len(codes), dtype=bool)
    zeros = np.zeros(len(codes), dtype=np.float32)
    return Cells(found[codes], ~missing, missing, new[codes], nothing, nothing, zeros)
