"""What becomes of a label: one end for each, counted in `tidegate_labels_total`.

matched     it met its prediction, at once or after waiting for it
duplicate   it says nothing new: the same label again, or an older one than the one counted
corrected   it took the place of another label (whose counts were taken back)
unmatched   its prediction did not come within the horizon

Ends are about the label. An outcome beside it has an order of its own: the last one counts, whatever its label's end.
"""

from collections.abc import Sequence

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from service.intake.log.entries import Entry

MATCHED, DUPLICATE, CORRECTED, UNMATCHED = "matched", "duplicate", "corrected", "unmatched"
ENDS = (MATCHED, DUPLICATE, CORRECTED, UNMATCHED)

LabelValue = str | float
Order = tuple[int, int, int, int]
"""Which of two labels of one prediction is the last: the newer timestamp, then the later place in the log."""


class Outcome(msgspec.Struct, frozen=True, gc=False):
    """What came of a prediction, a JSON object as text, and where its label stands among those of its prediction."""

    text: str
    order: Order


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
    outcome: Outcome | None = None

    @property
    def order(self) -> Order:
        """Where it stands among the labels of its prediction."""
        return (self.at, self.log_id, self.partition, self.row)

    def and_then(self, other: "Label") -> "Label":
        """The one label that two of one prediction come to. It keeps the first arrival: the horizon began with that."""
        last = other if other.order > self.order else self
        outcome = last_outcome((self.outcome, other.outcome))
        return msgspec.structs.replace(last, arrived=self.arrived, outcome=outcome)


class Counted(msgspec.Struct, frozen=True, gc=False):
    """The label a prediction has now and its outcome, and under what they are counted (None: nowhere)."""

    value: LabelValue
    order: Order
    fingerprint: str | None
    outcome: Outcome | None = None
    outcome_under: str | None = None


def judge(label: Label, before: Counted | Label | None) -> str:
    """The end of a label whose prediction has come, given the label before it (None: there was none)."""
    if before is None:
        return MATCHED
    return DUPLICATE if label.order < before.order or label.value == before.value else CORRECTED


def last_outcome(outcomes: Sequence[Outcome | None]) -> Outcome | None:
    """The last of some outcomes of one prediction."""
    return max((each for each in outcomes if each is not None), key=lambda each: each.order, default=None)


def labels_of(partition: int, entry: Entry, table: pa.Table) -> list[Label]:
    """The labels of a log entry."""
    number, rows = entry.number, table.num_rows
    places = ([number] * rows, [partition] * rows, range(rows))
    return [
        _label(entry.model, identity, value, at, outcome, place, entry.arrived)
        for identity, value, at, outcome, *place in zip(*_columns(table), *places, strict=True)
    ]


def labels_in(model: str, table: pa.Table) -> list[Label]:
    """The labels of an archive table, which has the log places as columns."""
    places = (table.column(name).to_pylist() for name in ("log_id", "log_partition", "log_row"))
    return [
        _label(model, identity, value, at, outcome, place, 0)
        for identity, value, at, outcome, *place in zip(*_columns(table), *places, strict=True)
    ]


def _label(
    model: str, identity: str, value: LabelValue, at: int, text: str | None, place: Sequence[int], arrived: int
) -> Label:
    log_id, partition, row = place
    outcome = None if text is None else Outcome(text, (at, log_id, partition, row))
    return Label(model, identity, value, at, log_id, partition, row, arrived, outcome)


def _columns(table: pa.Table) -> list[list[object]]:
    times = pc.cast(table.column("timestamp"), pa.int64())
    has_outcomes = "outcome" in table.column_names
    outcomes = table.column("outcome").to_pylist() if has_outcomes else [None] * table.num_rows
    return [table.column("prediction_id").to_pylist(), table.column("label").to_pylist(), times.to_pylist(), outcomes]
