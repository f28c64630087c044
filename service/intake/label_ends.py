"""What becomes of a label: one end for each, counted in `tidegate_labels_total`.

matched     it met its prediction, at once or after waiting for it
duplicate   it says nothing new: the same label again, or an older one than the one counted
corrected   it took the place of another label (whose counts were taken back)
unmatched   its prediction did not come within the horizon
"""

from dataclasses import dataclass

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from service.intake.entries import Entry

MATCHED, DUPLICATE, CORRECTED, UNMATCHED = "matched", "duplicate", "corrected", "unmatched"
ENDS = (MATCHED, DUPLICATE, CORRECTED, UNMATCHED)

LabelValue = str | float


@dataclass(frozen=True, order=True)
class Order:
    """Which of two labels of one prediction is the last: the newer timestamp, then the later place in the log."""

    at: int
    log_id: int
    partition: int
    row: int


class Label(msgspec.Struct, frozen=True):
    """One label as it came; `at` and `arrived` in microseconds since 1970."""

    model: str
    identity: str
    value: LabelValue
    at: int
    log_id: int
    partition: int
    row: int
    arrived: int = 0

    @property
    def order(self) -> Order:
        """Where it stands among the labels of its prediction."""
        return Order(self.at, self.log_id, self.partition, self.row)


def judge(label: Label, value: LabelValue | None, order: Order | None) -> str:
    """The end of a label whose prediction has come, given the value and order of the label before it (None: none)."""
    if value is None or order is None:
        return MATCHED
    return DUPLICATE if label.order < order or label.value == value else CORRECTED


def labels_of(partition: int, entry: Entry, table: pa.Table) -> list[Label]:
    """The labels of a log entry."""
    rows = zip(*_columns(table), strict=True)
    return [
        Label(entry.model, identity, value, at, entry.number, partition, row, entry.arrived)
        for row, (identity, value, at) in enumerate(rows)
    ]


def labels_in(model: str, table: pa.Table) -> list[Label]:
    """The labels of an archive table, which has the log places as columns."""
    places = (table.column(name).to_pylist() for name in ("log_id", "log_partition", "log_row"))
    return [Label(model, *row) for row in zip(*_columns(table), *places, strict=True)]


def _columns(table: pa.Table) -> list[list[object]]:
    times = pc.cast(table.column("timestamp"), pa.int64())
    return [table.column("prediction_id").to_pylist(), table.column("label").to_pylist(), times.to_pylist()]
