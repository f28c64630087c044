"""One entry of a partition log: how it is told apart, placed, and read back with every check."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache

import msgspec
import numpy as np
import pyarrow as pa

from service.errors import UnreadableEntry
from service.intake import columns
from service.storage.keys import is_safe_name

PREDICTIONS = "p"
LABELS = "l"
START = "0-0"

_NEEDED = {
    PREDICTIONS: {
        "prediction_id": (pa.string(),),
        "timestamp": (columns.TIME,),
        "model_version": (pa.string(),),
        "prediction": (pa.string(), pa.float64()),
    },
    LABELS: {
        "prediction_id": (pa.string(),),
        "label": (pa.string(), pa.float64()),
        "timestamp": (columns.TIME,),
    },
}
_TYPES = (pa.string(), pa.float64(), pa.bool_(), columns.TIME, columns.NUMBERS)
# Year 2200 in microseconds: well within what nanoseconds in 64 bits can tell.
_LATEST = 7_258_118_400_000_000
_SEQUENCE_BITS = 20


@dataclass(frozen=True)
class Entry:
    """One batch in a log. `arrived`: microseconds since 1970; `rejected`: the body's refused rows by reason."""

    id: str
    kind: str
    model: str
    rows: int
    arrived: int
    rejected: Mapping[str, int] = field(repr=False)
    body: bytes = field(repr=False)

    @property
    def number(self) -> int:
        """The id as one number that grows along the log."""
        return id_number(self.id)

    def table(self) -> pa.Table:
        """The rows, as ingest writes them; checked when first asked for.

        Raises:
            UnreadableEntry: the bytes are no Arrow stream, or the rows are nothing that ingest writes.
        """
        return self._checked

    @property
    def at_hand(self) -> pa.Table | None:
        """The rows, where somebody has asked for them before."""
        return self.__dict__.get("_checked")

    @cached_property
    def _checked(self) -> pa.Table:
        if self.kind not in _NEEDED or not is_safe_name(self.model):
            raise UnreadableEntry(f"kind {self.kind!r} of model {self.model[:80]!r} is nothing that ingest writes")
        table = columns.unpack(self.body, self.rows)
        if table.num_rows != self.rows or not self.rows:
            raise UnreadableEntry(f"it holds {table.num_rows} rows and says {self.rows}")
        problem = _problem(self.kind, columns.heading(self.body))
        gaps = "" if problem else next((name for name in _NEEDED[self.kind] if table.column(name).null_count), "")
        if problem or gaps:
            raise UnreadableEntry(problem or f"its column {gaps} has gaps")
        times = table.column("timestamp").to_numpy().view(np.int64)
        if times.min() < 0 or times.max() > _LATEST:
            raise UnreadableEntry("its timestamps lie outside the years 1970 to 2200")
        return table


@lru_cache(maxsize=256)
def _problem(kind: str, heading: bytes) -> str:
    """What is wrong with the columns, empty where nothing is. Most entries have the same."""
    schema = columns.schema_of(heading)
    for name, kinds in _NEEDED[kind].items():
        found = schema.get_all_field_indices(name)
        if len(found) != 1 or schema.field(found[0]).type not in kinds:
            return f"its column {name} is missing or of another type"
    if any(each not in _TYPES for each in schema.types):
        return "it has columns of types that ingest does not write"
    return ""


def entry_of(identity: bytes, fields: Sequence[bytes]) -> Entry:
    """The entry of a stream's id and fields. Lenient: a damaged one must reach the place where it is put aside."""
    parts = dict(zip(fields[::2], fields[1::2], strict=True))
    try:
        rejected = msgspec.json.decode(parts.get(b"r", b"{}"), type=dict[str, int])
        rows, arrived = int(parts.get(b"n", 0)), int(parts.get(b"t", 0))
    except (msgspec.DecodeError, ValueError):
        rejected, rows, arrived = {}, 0, 0
    return Entry(
        id=identity.decode(),
        kind=parts.get(b"k", b"").decode(errors="replace"),
        model=parts.get(b"m", b"").decode(errors="replace"),
        rows=rows,
        arrived=arrived,
        rejected=rejected,
        body=parts.get(b"b", b""),
    )


def id_number(identity: str) -> int:
    """A log id as one 64-bit number: 41 bits of milliseconds, 20 bits of sequence."""
    milliseconds, _, sequence = identity.partition("-")
    return int(milliseconds) << _SEQUENCE_BITS | int(sequence)


def id_after(identity: str) -> str:
    """The smallest log id beyond this one."""
    milliseconds, _, sequence = identity.partition("-")
    return f"{milliseconds}-{int(sequence) + 1}"
