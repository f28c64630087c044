"""Move the settled part of one partition's log into Parquet files, each range exactly once.

The range is agreed in the store before a file is written. Whoever comes after a crash finds the agreed range and writes
exactly it again, under the same name; so there are never two files for one row. A range settles when it is folded and
the label join has passed it: archived rows are never news to anybody.
"""

import logging
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Thread

import msgspec

from service.errors import ArchiveAway, UnreadableEntry
from service.intake import columns
from service.intake.archive.files import FOLDERS, ROW_GROUP, ArchiveFile, placed, save
from service.intake.log.entries import START, Entry, id_after, id_number
from service.intake.log.log import Log
from service.storage import keys
from service.storage.files import Files
from service.storage.ownership import Ownership, Write

_log = logging.getLogger(__name__)
_READ_BYTES = 64 << 20
# The age at which a file is written while the store is short of memory: few large rows may fill it too.
_SHORT_SECONDS = 10.0
_PAUSE = timedelta(seconds=10)
"""An archive that is away is asked again after so long."""


@dataclass(frozen=True)
class Roll:
    """When a file is written: at so many rows, or when its oldest row has this age.

    Where more rows wait they all come into it, up to `most_rows`: a file costs nearly as much as its rows.
    """

    rows: int = 5_000
    age: timedelta = timedelta(hours=1)
    most_rows: int = ROW_GROUP

    @property
    def largest(self) -> int:
        """Rows after which a file takes no further entry."""
        return max(self.rows, self.most_rows)


@dataclass(frozen=True)
class _Range:
    """What is agreed: entries after `start` up to and with `end`, under our epoch."""

    epoch: int
    start: str
    end: str


@dataclass(frozen=True)
class _Written:
    """The files of a range, and how many rows its entries hold."""

    files: tuple[ArchiveFile, ...]
    rows: int


class Archiver:
    """Archives one partition that we own.

    A folder is written to at once. Other places may be slow or away, which must not hold up the fold: they are written
    to in a thread of its own, and a later step commits what that thread has done.
    """

    def __init__(self, partition_log: Log, partition: int, files: Files | Path, roll: Roll) -> None:
        self._log = partition_log
        self._partition = partition
        self._slot = keys.slot(partition)
        self._files = Files.of(files)
        self._roll = roll
        self._oldest: int | None = None
        self._writing: tuple[_Range, Future[_Written]] | None = None
        self._paused_until = datetime.min.replace(tzinfo=UTC)

    def step(self, ownership: Ownership, now: datetime) -> int:
        """Archive what is ready, one range at most. Gives the rows archived; 0 also while the archive is away.

        Raises:
            StaleOwner, StoreAway: see `Ownership.commit`.
        """
        agreed = self._agree(ownership, now)
        if agreed is None:
            return 0
        try:
            written = self._written(agreed, now)
        except ArchiveAway as error:
            _log.warning("archiving of partition %s waits, its rows stay in the log: %s", self._partition, error)
            self._paused_until = now + _PAUSE
            return 0
        if written is None:
            return 0
        writes = [Write("XTRIM", keys.log(self._slot), ("MINID", id_after(agreed.end)))]
        if written.files:
            records = tuple(msgspec.json.encode(file) for file in written.files)
            writes.append(Write("RPUSH", keys.files(self._slot), records))
        archived_rows = str(int(ownership.state.get("archived_rows", "0")) + written.rows)
        ownership.commit(writes, archived=agreed.end, archiving="", archived_rows=archived_rows)
        self._oldest = None
        return written.rows

    def _agree(self, ownership: Ownership, now: datetime) -> _Range | None:
        state = ownership.state
        start = state.get("archived", START)
        agreed = state.get("archiving", "")
        if not agreed:
            entries = self._ready(state, start, now)
            if not entries:
                return None
            agreed = entries[-1].id
            ownership.commit((), archiving=agreed)
        return _Range(ownership.epoch, start, agreed)

    def _written(self, agreed: _Range, now: datetime) -> _Written | None:
        """What was written of the range; None while it is being written, or not yet tried again."""
        if self._writing is None or self._writing[0] != agreed:
            # What an earlier epoch may still be writing are the same rows under the same names.
            self._writing = None
            if now < self._paused_until:
                return None
            self._writing = agreed, self._begin(lambda: self._write_range(agreed))
        future = self._writing[1]
        if not future.done():
            return None
        self._writing = None
        return future.result()

    def _begin(self, write: Callable[[], _Written]) -> Future[_Written]:
        future: Future[_Written] = Future()

        def run() -> None:
            try:
                future.set_result(write())
            except Exception as error:  # noqa: BLE001  it is raised where the answer is asked for
                future.set_exception(error)

        if self._files.is_local:
            run()
        else:
            # A daemon: an upload that hangs must not keep a process from ending; the next owner writes the range again.
            Thread(target=run, name=f"archive {self._slot}", daemon=True).start()
        return future

    def _write_range(self, agreed: _Range) -> _Written:
        entries = self._between(agreed.start, agreed.end)
        files = self._write(entries) if entries else []
        return _Written(tuple(files), sum(entry.rows for entry in entries))

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
        for entry in self._log.follow(self._partition, start, rows=self._roll.largest, most_bytes=_READ_BYTES).entries:
            if entry.number > settled or count >= self._roll.largest:
                break
            found.append(entry)
            count += entry.rows
        return found if count >= self._roll.rows or self._is_old(start, now) or _is_large(found) else []

    def _is_old(self, start: str, now: datetime) -> bool:
        if self._oldest is None:
            first = self._log.follow(self._partition, start, rows=1, most_bytes=1).entries
            self._oldest = first[0].arrived if first else None
        if self._oldest is None:
            return False
        waited = now.timestamp() - self._oldest / 1e6
        return waited >= self._roll.age.total_seconds() or (waited >= _SHORT_SECONDS and self._log.store.is_short())

    def _between(self, start: str, end: str) -> list[Entry]:
        entries: list[Entry] = []
        after = start
        while id_number(after) < id_number(end):
            stretch = self._log.follow(self._partition, after, most_bytes=_READ_BYTES)
            entries += [entry for entry in stretch.entries if entry.number <= id_number(end)]
            if not stretch.entries:
                break
            after = stretch.entries[-1].id
        return entries

    def _write(self, entries: list[Entry]) -> list[ArchiveFile]:
        groups: dict[tuple[str, str], list[Entry]] = {}
        for entry in entries:
            try:
                entry.table()
            except UnreadableEntry:
                continue  # the fold worker has put it aside
            groups.setdefault((entry.kind, entry.model), []).append(entry)
        day = datetime.fromtimestamp(entries[0].arrived / 1e6, UTC).date().isoformat()
        name = f"{self._slot}-{entries[0].id}-{entries[-1].id}.parquet"
        return [
            save(
                self._files,
                kind,
                model,
                f"{FOLDERS[kind]}/model={model}/date={day}/{name}",
                placed(self._partition, own, columns.concat([entry.table() for entry in own])),
                entries[-1].id,
            )
            for (kind, model), own in groups.items()
            if kind in FOLDERS and keys.is_safe_name(model)
        ]


def _is_large(entries: Iterable[Entry]) -> bool:
    """Whether a read was cut because its entries are large, not because they are few."""
    return sum(len(entry.body) for entry in entries) >= _READ_BYTES
