"""Archive files: what is known of each, and how one is written."""

import hashlib
from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime, timedelta
from functools import partial
from typing import IO

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from service.intake.log.entries import LABELS, PREDICTIONS, Entry
from service.storage.files import Files

FOLDERS = {PREDICTIONS: "predictions", LABELS: "labels"}
# Where a row stood in the log; kept in the files to tell the last of several labels, and the first of two copies.
PLACE = pa.schema([("log_partition", pa.int16()), ("log_id", pa.int64()), ("log_row", pa.int32())])
ROW_GROUP = 50_000


class ArchiveFile(msgspec.Struct, frozen=True):
    """One file: its path in the archive, what it holds, the span of its timestamps (unix seconds), its last log id,
    which of its columns are lists, and a digest of the names and types of all its columns, in whatever order.
    """

    path: str
    kind: str
    model: str
    rows: int
    since: float
    until: float
    end: str
    lists: tuple[str, ...] = ()
    columns: str = ""

    @property
    def folder(self) -> str:
        """The folder, which names kind, model and day."""
        return self.path.rpartition("/")[0]

    @property
    def arrived_before(self) -> datetime:
        """The end of the day on which its first row came."""
        day = date.fromisoformat(self.folder.rpartition("date=")[2])
        return datetime(day.year, day.month, day.day, tzinfo=UTC) + timedelta(days=1)


def decode(records: Iterable[bytes]) -> list[ArchiveFile]:
    """The files of stored records."""
    return [msgspec.json.decode(record, type=ArchiveFile) for record in records]


def placed(partition: int, entries: Sequence[Entry], table: pa.Table) -> pa.Table:
    """All rows of some entries, in their order, with the place where each stood in the log."""
    sizes = [entry.rows for entry in entries]
    numbers = np.repeat([entry.number for entry in entries], sizes)
    values = (np.full(table.num_rows, partition), numbers, np.concatenate([np.arange(size) for size in sizes]))
    for field, value in zip(PLACE, values, strict=True):
        table = table.append_column(field, pa.array(value, field.type))
    return table


def save(files: Files, kind: str, model: str, path: str, table: pa.Table, end: str) -> ArchiveFile:
    """Write rows as one file. Raises ArchiveAway."""
    files.write(path, partial(write_table, table))
    span = pc.min_max(table.column("timestamp")).as_py()
    return ArchiveFile(
        path=path,
        kind=kind,
        model=model,
        rows=table.num_rows,
        since=span["min"].timestamp(),
        until=span["max"].timestamp(),
        end=end,
        lists=tuple(field.name for field in table.schema if pa.types.is_list(field.type)),
        columns=_digest(table.schema),
    )


def write_table(table: pa.Table, file: IO[bytes], compression: str = "snappy") -> None:
    """Write a Parquet file into an open one.

    The first file of a row lasts until it is put together with others: snappy takes a third of the work of zstd, and a
    twelfth more room. Readers skip row groups by their times, by nothing else.
    """
    # Numbers that hardly repeat cost three times the work, and a sixth more room, where a dictionary of them is tried.
    repeating = [f.name for f in table.schema if pa.types.is_string(f.type) and f.name != "prediction_id"]
    sink = pa.BufferOutputStream()
    pq.write_table(
        table,
        sink,
        compression=compression,
        row_group_size=ROW_GROUP,
        use_dictionary=repeating,
        write_statistics=["timestamp"],
    )
    # At once: a Python file takes as long for each of a hundred small parts as for a large one.
    file.write(sink.getvalue())


def _digest(schema: pa.Schema) -> str:
    said = "\n".join(sorted(f"{field.name}\t{field.type}" for field in schema))
    return hashlib.blake2b(said.encode(), digest_size=8).hexdigest()
