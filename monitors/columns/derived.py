"""Derived: what one column of a batch says, where it is counted by more than its plain value."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from monitors.columns.bins import BinArray, Float32Array


@dataclass(frozen=True, eq=False)
class Derived:
    """Several numbers and categories read from one column at once, a value a row, by the name of what is derived.

    `codes` are places in the categories of their column. Rows that are `missing` or of the `wrong_type` hold no value.
    """

    missing: NDArray[np.bool_]
    wrong_type: NDArray[np.bool_]
    numbers: Mapping[str, Float32Array] = field(default_factory=dict)
    codes: Mapping[str, BinArray] = field(default_factory=dict)


class Learnt(Protocol):
    """What the baseline taught about a column, by which all that is derived from it is read."""

    def read(self, column: pa.ChunkedArray) -> Derived:
        """All that is derived from the values of a batch. Fails on no value: those of another type are marked."""

    def to_plain(self) -> dict[str, Any]:
        """As values that JSON can hold."""
