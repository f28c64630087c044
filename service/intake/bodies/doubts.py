"""Rows that whole columns cannot vouch for, and what columns are held against."""

from dataclasses import dataclass, field
from datetime import datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from service.intake.bodies.limits import Limits


@dataclass
class Doubts:
    """Which rows are in doubt."""

    rows: int
    _mask: NDArray[np.bool_] | None = field(default=None, init=False)

    def add(self, where: pa.Array | NDArray[np.bool_]) -> None:
        """Doubt these rows too: true where in doubt, null where not."""
        if not isinstance(where, np.ndarray):
            where = pc.fill_null(where, False).to_numpy(zero_copy_only=False)
        if where.any():
            self._mask = where if self._mask is None else self._mask | where

    def add_all(self) -> None:
        """Doubt every row."""
        self._mask = np.ones(self.rows, dtype=bool)

    @property
    def mask(self) -> NDArray[np.bool_] | None:
        """True where in doubt; None where no row is."""
        return self._mask


@dataclass(frozen=True)
class Rules:
    """What columns are held against.

    `is_json`: doubles may have been integers, which have a bound of their own. `may_hold_nul`: so may texts.
    """

    task: str
    now: datetime
    limits: Limits
    is_json: bool
    may_hold_nul: bool


def extremes(column: pa.Array) -> tuple[float, float]:
    """Least and largest value, 0 and 0 where there is none."""
    if not len(column) or column.null_count == len(column):
        return 0.0, 0.0
    if column.null_count:
        found = pc.min_max(column).as_py()
        return found["min"], found["max"]
    seen = column.to_numpy()
    return float(seen.min()), float(seen.max())


def sizes(texts: pa.Array) -> NDArray[np.int32]:
    """Bytes of each text; of nulls mostly 0, which is not to be relied on."""
    ends = np.frombuffer(texts.buffers()[1], np.int32, len(texts) + 1, 4 * texts.offset)
    return ends[1:] - ends[:-1]
