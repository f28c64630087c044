"""A column to count: its bins, frozen in the baseline, and its cells in a profile."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa

from monitors.columns.bins import Lookup
from monitors.columns.cells import MARKS, Cells, category_cells, number_cells, place_cells
from monitors.columns.derived import Derived, Learnt
from monitors.columns.embeddings import Embedding
from monitors.columns.numeric import numbers
from monitors.columns.times import read_times
from monitors.columns.topics import Topics
from monitors.columns.values import has, text_of

EXTRA_CELLS = MARKS + 2
"""missing, unseen, out of range, wrong type, sum, sum of squares: they follow the bins of every column."""

ANYTHING = (float("-inf"), float("inf"))
_LEARNT: Mapping[str, type[Topics] | type[Embedding]] = {"topics": Topics, "embedding": Embedding}
_KEPT = ("name", "source", "kind", "derive", "edges", "categories", "low", "high")


@dataclass(frozen=True)
class Column:
    """One counted column: frozen in the baseline, so that counts of any time and worker add.

    `edges` (numbers) or `categories` (the largest values; one more bin holds all others) define the bins; `known` are
    the values of the baseline, at most 10,000; `low` and `high` bound what is plausible. `derive` names what is read of
    a time, a text or an embedding, by what the baseline taught about it, `learnt`; columns of one source share it.
    """

    name: str
    source: str
    kind: str
    derive: str
    edges: tuple[float, ...] = ()
    categories: tuple[str, ...] = ()
    known: frozenset[str] = frozenset()
    low: float = ANYTHING[0]
    high: float = ANYTHING[1]
    learnt: Learnt | None = None

    @property
    def bins(self) -> int:
        return len(self.edges) + 1 if self.kind == "number" else len(self.categories) + 1

    @property
    def width(self) -> int:
        return self.bins + EXTRA_CELLS

    @cached_property
    def lookup(self) -> Lookup:
        return Lookup.of(np.asarray(self.edges, dtype=np.float32))

    @cached_property
    def places(self) -> Mapping[str, int]:
        return {value: i for i, value in enumerate(self.categories)}

    def cells(self, table: pa.Table, read: dict[str, Derived] | None = None) -> Cells:
        """Where each row of a batch counts. A column that is not there is missing in every row.

        `read` keeps by source what was derived from this batch: give one for all columns, and a text is split into
        words once and not for each column derived from it.
        """
        if self.derive:
            return self._derived_cells(table, {} if read is None else read)
        if self.kind == "number":
            return number_cells(self.lookup, self.low, self.high, *numbers(table, self.source))
        if has(table, self.source) and pa.types.is_nested(table.column(self.source).type):
            missing = np.asarray(table.column(self.source).is_null().to_numpy(), dtype=bool)
            return place_cells(np.zeros(len(missing), dtype=np.intp), self.bins, missing, ~missing)
        return category_cells(self.places, self.known, text_of(table, self.source))

    def _derived_cells(self, table: pa.Table, read: dict[str, Derived]) -> Cells:
        if not has(table, self.source):
            missing = np.ones(table.num_rows, dtype=bool)
            return place_cells(np.zeros(len(missing), dtype=np.intp), self.bins, missing, ~missing)
        if self.source not in read:
            column = table.column(self.source)
            read[self.source] = self.learnt.read(column) if self.learnt else read_times(column)
        found = read[self.source]
        if self.kind == "number":
            values = found.numbers[self.derive]
            return number_cells(self.lookup, self.low, self.high, values, found.missing, found.wrong_type)
        return place_cells(found.codes[self.derive], self.bins, found.missing, found.wrong_type)


def to_plain(columns: Sequence[Column]) -> list[dict[str, Any]]:
    """The columns as values that JSON can hold; read back with `from_plain`. What columns share is written once."""
    written: list[Learnt] = []
    found = []
    for column in columns:
        plain = {key: getattr(column, key) for key in _KEPT} | {"known": sorted(column.known)}
        if column.learnt is not None:
            if not any(column.learnt is one for one in written):
                written.append(column.learnt)
                name = next(name for name, kind in _LEARNT.items() if isinstance(column.learnt, kind))
                plain["learnt"] = {name: column.learnt.to_plain()}
            plain["shares"] = next(i for i, one in enumerate(written) if one is column.learnt)
        found.append(plain)
    return found


def from_plain(data: Iterable[Mapping[str, Any]]) -> tuple[Column, ...]:
    """The columns that `to_plain` gave."""
    read: list[Learnt] = []
    found = []
    for plain in data:
        read += [_LEARNT[name].from_plain(values) for name, values in plain.get("learnt", {}).items()]
        parts = {key: plain[key] for key in _KEPT}
        sets = {"edges": tuple(plain["edges"]), "categories": tuple(plain["categories"])}
        learnt = read[plain["shares"]] if "shares" in plain else None
        found.append(Column(**{**parts, **sets}, known=frozenset(plain["known"]), learnt=learnt))
    return tuple(found)
