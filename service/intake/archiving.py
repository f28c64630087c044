"""Move the settled part of one partition's log into Parquet files, each range exactly once.

The range is agreed in the store before a file is written. Whoever comes after a crash finds the agreed range and writes
exactly it again, under the same name; so there are never two files for one row. A range settles when it is folded and
the label join has passed it: archived rows are never news to anybody.
"""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from service.errors import UnreadableEntry
from service.intake import columns
from service.intake.entries import LABELS, PREDICTIONS, START, Entry, id_after, id_number
from service.intake.log import Log
from service.storage import keys
from service.storage.ownership import Ownership, Write

FOLDERS = {PREDICTIONS: "predictions", LABELS: "labels"}
# Where a row stood in the log; kept in the files to tell the last of several labels, and the first of two copies.
PLACE = pa.schema([("log_partition", pa.int16()), ("log_id", pa.int64()), ("log_row", pa.int32())])
_READ_BYTES = 64 << 20


class ArchiveFile(msgspec.Struct, frozen=True):
    """One file: its path in the archive, what it holds, the span of its timestamps (unix seconds), its last log id, and
    which of its columns are lists.
    """

    path: str
    kind: str
    model: str
    rows: int
    since: float
    until: float
    end: str
    lists: tuple[str, ...] = ()


@dataclass(frozen=True)
class Roll:
    """When a file is written: at so many rows, or when its oldest row has this age."""

    rows: int = 5_000
    age: timedelta = timedelta(hours=1)


class Archiver:
    """Archives one partition that we own."""

    def __init__(self, partition_log: Log, partition: int, folder: Path, roll: Roll) -> None:
        self._log = partition_log
        self._partition = partition
        self._slot = keys.slot(partition)
        self._folder = folder
        self._roll = roll
        self._oldest: int | None = None

    def step(self, ownership: Ownership, now: datetime) -> int:
        """Archive what is ready, one range at most. Gives the rows archived.

        Raises:
            StaleOwner, StoreAway: see `Ownership.commit`.
        """
        state = ownership.state
        start = state.get("archived", START)
        agreed = state.get("archiving", "")
        if not agreed:
            entries = self._ready(state, start, now)
            if not entries:
                return 0
            agreed = entries[-1].id
            ownership.commit((), archiving=agreed)
        entries = self._between(start, agreed)
        files = self._write(entries) if entries else []
        rows = sum(entry.rows for entry in entries)
        writes = [Write("XTRIM", keys.log(self._slot), ("MINID", id_after(agreed)))]
        if files:
            records = tuple(msgspec.json.encode(file) for file in files)
            writes.append(Write("RPUSH", keys.files(self._slot), records))
        archived_rows = str(int(state.get("archived_rows", "0")) + rows)
        ownership.commit(writes, archived=agreed, archiving="", archived_rows=archived_rows)
        self._oldest = None
        return rows

    def _ready(self, state: dict[str, str], start: str, now: datetime) -> list[Entry]:
        """The entries of the next range, none while it is neither long nor old enough."""
        rows = int(state.get("folded", "0")) - int(state.get("archived_rows", "0"))
        if rows <= 0 or (rows < self._roll.rows and not self._is_old(start, now)):
            return []
        joined = (self._log.store.do("HGET", keys.state(self._slot), "joined") or b"0-0").decode()
        settled = min(id_number(joined), id_number(state.get("position", START)))
        if settled <= id_number(start):
            return []
        found: list[Entry] = []
        count = 0
        for entry in self._log.read(self._partition, start, rows=self._roll.rows, most_bytes=_READ_BYTES).entries:
            if entry.number > settled or count >= self._roll.rows:
                break
            found.append(entry)
            count += entry.rows
        return found if count >= self._roll.rows or self._is_old(start, now) or _is_large(found) else []

    def _is_old(self, start: str, now: datetime) -> bool:
        if self._oldest is None:
            first = self._log.read(self._partition, start, rows=1, most_bytes=1).entries
            self._oldest = first[0].arrived if first else None
        return self._oldest is not None and now.timestamp() - self._oldest / 1e6 >= self._roll.age.total_seconds()

    def _between(self, start: str, end: str) -> list[Entry]:
        entries: list[Entry] = []
        after = start
        while id_number(after) < id_number(end):
            stretch = self._log.read(self._partition, after, most_bytes=_READ_BYTES)
            entries += [entry for entry in stretch.entries if entry.number <= id_number(end)]
            if not stretch.entries:
                break
            after = stretch.entries[-1].id
        return entries

    def _write(self, entries: list[Entry]) -> list[ArchiveFile]:
        groups: dict[tuple[str, str], list[pa.Table]] = {}
        for entry in entries:
            try:
                table = placed(self._partition, entry, entry.table())
            except UnreadableEntry:
                continue  # the fold worker has put it aside
            groups.setdefault((entry.kind, entry.model), []).append(table)
        day = datetime.fromtimestamp(entries[0].arrived / 1e6, UTC).date().isoformat()
        name = f"{self._slot}-{entries[0].id}-{entries[-1].id}.parquet"
        return [
            self._write_file(kind, model, f"{FOLDERS[kind]}/model={model}/date={day}/{name}", tables, entries[-1].id)
            for (kind, model), tables in groups.items()
            if kind in FOLDERS and keys.is_safe_name(model)
        ]

    def _write_file(self, kind: str, model: str, path: str, tables: list[pa.Table], end: str) -> ArchiveFile:
        table = columns.concat(tables)
        write_whole(self._folder / path, table)
        span = pc.min_max(table.column("timestamp")).as_py()
        lists = tuple(field.name for field in table.schema if pa.types.is_list(field.type))
        since, until = span["min"].timestamp(), span["max"].timestamp()
        return ArchiveFile(path, kind, model, table.num_rows, since, until, end, lists)


def placed(partition: int, entry: Entry, table: pa.Table) -> pa.Table:
    """The rows with the place where they stood in the log."""
    rows = table.num_rows
    values = (pa.repeat(partition, rows), pa.repeat(entry.number, rows), pa.array(range(rows)))
    for field, value in zip(PLACE, values, strict=True):
        table = table.append_column(field, value.cast(field.type))
    return table


def write_whole(path: Path, table: pa.Table) -> None:
    """Write a Parquet file that is either absent or whole, also after a power loss."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with draft.open("wb") as file:
            pq.write_table(table, file, compression="zstd", row_group_size=50_000)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _is_large(entries: Iterable[Entry]) -> bool:
    """Whether a read was cut because its entries are large, not because they are few."""
    return sum(len(entry.body) for entry in entries) >= _READ_BYTES
