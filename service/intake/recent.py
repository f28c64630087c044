"""The newest predictions by id, so that most labels meet theirs without a look into the archive.

A cache that may be empty at any time: whatever it does not know is looked up. It knows of each prediction it holds
whether a label was already counted for it, because it was filled in log order.
"""

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass

import pyarrow as pa

from service.intake.label_ends import LabelValue, Order


@dataclass(frozen=True)
class Counted:
    """A label that was counted, and under which baseline (None: the version had none)."""

    value: LabelValue
    order: Order
    fingerprint: str | None


@dataclass
class Seen:
    """One prediction: its row in a table, and the label counted for it."""

    table: pa.Table
    row: int
    label: Counted | None = None


class Recent:
    """Predictions of all models, by (model, id). Holds at most `most_rows` rows and `most_bytes` bytes.

    `is_complete` says that nothing was ever dropped since the log began: what it does not know does not exist.
    """

    def __init__(self, *, is_complete: bool, most_rows: int = 200_000, most_bytes: int = 256 << 20) -> None:
        self.is_complete = is_complete
        self._most_rows = most_rows
        self._most_bytes = most_bytes
        self._rows = 0
        self._bytes = 0
        self._tables: OrderedDict[int, tuple[str, pa.Table, list[str]]] = OrderedDict()
        self._seen: dict[tuple[str, str], Seen] = {}
        self._number = 0

    def add(self, model: str, table: pa.Table) -> list[str]:
        """Remember a batch; of two copies of a prediction the first stays. Gives the ids of the batch."""
        ids: list[str] = table.column("prediction_id").to_pylist()
        for row, identity in enumerate(ids):
            self._seen.setdefault((model, identity), Seen(table, row))
        self._number += 1
        self._tables[self._number] = (model, table, ids)
        self._rows += len(ids)
        self._bytes += table.nbytes
        return ids

    def find(self, model: str, identity: str) -> Seen | None:
        """The prediction, if it is still known."""
        return self._seen.get((model, identity))

    def shrink(self) -> None:
        """Drop the oldest batches beyond the bounds."""
        while self._tables and (self._rows > self._most_rows or self._bytes > self._most_bytes):
            self.is_complete = False
            _, (model, table, ids) = self._tables.popitem(last=False)
            self._rows -= len(ids)
            self._bytes -= table.nbytes
            for identity in ids:
                held = self._seen.get((model, identity))
                if held is not None and held.table is table:
                    del self._seen[model, identity]


def with_labels(pairs: Iterable[tuple[Seen, LabelValue]]) -> list[pa.Table]:
    """The predictions with these values as `label`: one table for each that they come from."""
    groups: dict[int, tuple[pa.Table, list[int], list[LabelValue]]] = {}
    for seen, value in pairs:
        _, rows, values = groups.setdefault(id(seen.table), (seen.table, [], []))
        rows.append(seen.row)
        values.append(value)
    return [
        table.take(rows).append_column("label", pa.array(values, pa.string() if isinstance(values[0], str) else None))
        for table, rows, values in groups.values()
    ]
