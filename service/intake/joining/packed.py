"""A batch of predictions as the label join holds it: packed as it stands in the log, until a label asks for a row."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from monitors.readings import IntArray
from service.errors import UnreadableEntry
from service.intake.joining.ends import Counted
from service.intake.log.entries import Entry
from service.storage.keys import is_safe_name

_ASKED = ("prediction_id", "timestamp")
# What a batch takes beside its rows: the objects that hold it.
_BYTES = 600


class Batch:
    """The rows of a log entry, or of an answer of the archive, and by row the label that was counted for it."""

    __slots__ = ("_entry", "_partition", "_table", "_times", "_version", "arrived", "bytes", "labels", "rows")

    def __init__(self, *, entry: Entry | None = None, partition: int = 0, table: pa.Table | None = None) -> None:
        # A copy: the one at hand may have its rows unpacked, for whoever reads it next.
        self._entry = replace(entry) if entry is not None else None
        self._partition = partition
        self._table = table
        self._times: IntArray | None = None
        self._version: str | None = None
        self.arrived = entry.arrived if entry is not None else 0
        self.rows = entry.rows if entry is not None else (0 if table is None else table.num_rows)
        self.bytes = _BYTES + (len(entry.body) if entry is not None else 0)
        """About how much memory it takes, but for its labels."""
        self.labels: dict[int, Counted] = {}

    def table(self) -> pa.Table:
        """The rows; they stay unpacked. Raises UnreadableEntry."""
        if self._table is None:
            if self._entry is None:
                raise UnreadableEntry("a batch without rows")
            self._table = self._entry.table()
            self.bytes = _BYTES + int(self._table.nbytes)
            # The body goes, the id stays.
            self._entry = replace(self._entry, body=b"")
        return self._table

    def is_readable(self) -> bool:
        """Whether `table` gives rows; of an entry that does not the fold makes a batch that is put aside."""
        if self._table is None:
            try:
                self.table()
            except UnreadableEntry:
                return False
        return True

    def version(self, row: int) -> str:
        """The model version of a row."""
        if self._version is None:
            # Nearly always one: then no row need be asked.
            span = pc.min_max(self.table().column("model_version")).as_py()
            self._version = span["min"] if span["min"] == span["max"] else ""
        return self._version or str(self.table().column("model_version")[row].as_py())

    def time(self, row: int) -> int:
        """The timestamp of a row, in microseconds since 1970."""
        if self._times is None:
            self._times = np.asarray(pc.cast(self.table().column("timestamp"), pa.int64()).to_numpy(), dtype=np.int64)
        return int(self._times[row])

    def place(self, row: int) -> tuple[int, int]:
        """Partition and log id of a row."""
        if self._entry is not None:
            return self._partition, self._entry.number
        table = self.table()
        return table.column("log_partition")[row].as_py(), table.column("log_id")[row].as_py()


def identities(entry: Entry) -> tuple[pa.StringArray, int]:
    """The ids of an entry of predictions and its oldest timestamp, and nothing else of it is unpacked or checked.

    Raises:
        UnreadableEntry: it is nothing that ingest writes.
    """
    if not is_safe_name(entry.model):
        raise UnreadableEntry(f"model {entry.model[:80]!r} is nothing that ingest writes")
    try:
        table = entry.at_hand
        if table is None:
            names = pa.ipc.read_schema(pa.BufferReader(entry.body)).names
            fields = [names.index(name) for name in _ASKED]
            options = pa.ipc.IpcReadOptions(included_fields=fields, use_threads=False)
            with pa.ipc.open_stream(pa.BufferReader(entry.body), options=options) as reader:
                table = reader.read_all()
            table.validate(full=True)
        ids = table.column("prediction_id").combine_chunks()
        oldest = pc.min(pc.cast(table.column("timestamp"), pa.int64())).as_py()
    except (pa.ArrowException, OSError, ValueError) as error:
        raise UnreadableEntry(f"not a readable Arrow stream: {error}") from error
    if ids.type != pa.string() or ids.null_count or len(ids) != entry.rows or oldest is None:
        raise UnreadableEntry(f"it says {entry.rows} rows and holds {len(ids)} ids of type {ids.type}")
    return ids, int(oldest)
