"""Compaction: a day's many small archive files put together to few large ones, and files of old rows taken away.

Each row is in one file of the list at every moment: what takes the place of what is agreed in the store, the file is
written, one script swaps the records, and the old files are deleted when no reader can still be at them. Whoever comes
after a crash does the same again, under the same names. Any process may do it, though one at a time is enough.
"""

from collections.abc import Callable, Iterable, Iterator
from datetime import datetime, timedelta
from itertools import groupby
from typing import IO

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from service.errors import ArchiveAway, ServiceError
from service.intake.archive.files import ROW_GROUP, ArchiveFile, decode
from service.intake.log.entries import id_number
from service.storage import keys
from service.storage.files import Files
from service.storage.store import Store

GRACE = timedelta(hours=1)
"""How long files that left the list are kept for readers that began before."""
FEWEST = 16
"""Files of a day that is not over are put together when there are so many: each row is written a few times in all."""
_MOST = 256


class Plan(msgspec.Struct, frozen=True):
    """Records of files that leave the list, as they are stored, and the one that takes their place, empty for none."""

    leaving: tuple[str, ...]
    coming: str = ""

    @property
    def sources(self) -> list[ArchiveFile]:
        """The files that leave."""
        return decode(record.encode() for record in self.leaving)


class _Ended(ServiceError):
    """A file is not made to its end now."""


class Compaction:
    """Tidies the archive of all partitions. Files of up to `most_rows` rows are made, 0 for none at all; rows are kept
    for `keep` from the day on which they came. When `goes_on` says no, a file that is being made is left for later.
    """

    def __init__(
        self,
        store: Store,
        partitions: int,
        files: Files,
        *,
        most_rows: int,
        keep: timedelta,
        goes_on: Callable[[], bool] = lambda: True,
    ) -> None:
        self._store = store
        self._slots = [keys.slot(partition) for partition in range(partitions)]
        self._files = files
        self._most_rows = most_rows
        self._keep = keep
        self._goes_on = goes_on

    def step(self, now: datetime) -> int:
        """Do the next thing, in one partition. Gives how many files left the list; 0 when nothing is left to do.

        Raises:
            ArchiveAway: files cannot be read or written now; the next call goes on.
            StoreAway: the store does not answer.
        """
        return next(filter(None, (self._step(slot, now) for slot in self._slots)), 0)

    def _step(self, slot: str, now: datetime) -> int:
        self._delete(slot, now)
        words = self._store.do("GET", keys.plan(slot)) or self._agree(slot, now)
        if not words:
            return 0
        plan = msgspec.json.decode(words, type=Plan)
        if plan.coming and not self._merge(plan.sources, *decode([plan.coming.encode()])):
            return 0
        paths = [file.path for file in plan.sources]
        deleted_at = int((now + GRACE).timestamp())
        done = self._store.run(
            "swap",
            [keys.state(slot), keys.files(slot), keys.plan(slot), keys.dropped(slot)],
            [words, deleted_at, plan.coming, len(plan.leaving), *plan.leaving, *paths],
        )
        return len(paths) if done else 0

    def _agree(self, slot: str, now: datetime) -> bytes | None:
        """The plan for the next run of files, as it is stored; None where all is well."""
        records = self._store.do("LRANGE", keys.files(slot), 0, -1)
        record_of = dict(zip((file.path for file in decode(records)), records, strict=True))
        leaving, coming = self._next(decode(records), now)
        if not leaving:
            return None
        plan = Plan(tuple(record_of[file.path].decode() for file in leaving), coming)
        words = msgspec.json.encode(plan)
        _, agreed = self._store.do_all([("SETNX", keys.plan(slot), words), ("GET", keys.plan(slot))])
        return bytes(agreed) if agreed else None

    def _next(self, files: list[ArchiveFile], now: datetime) -> tuple[list[ArchiveFile], str]:
        expired = [file for file in files if file.arrived_before + self._keep <= now]
        if expired:
            return expired[:_MOST], ""
        for run in _runs(files, self._most_rows, now):
            return run, msgspec.json.encode(_merged(run)).decode()
        return [], ""

    def _merge(self, sources: list[ArchiveFile], target: ArchiveFile) -> bool:
        """Write one file of all rows of others. Whether it is there; not where we were told to end."""

        def fill(sink: IO[bytes]) -> None:
            written, writer = 0, None
            try:
                for table in _row_groups(self._files, sources):
                    if not self._goes_on():
                        raise _Ended
                    writer = writer or pq.ParquetWriter(sink, table.schema, compression="zstd")
                    writer.write_table(table)
                    written += table.num_rows
            finally:
                if writer is not None:
                    writer.close()
            if written != target.rows:
                problem = ValueError(f"{target.path} should hold {target.rows} rows, found {written}")
                raise ArchiveAway(str(self._files), problem)

        try:
            self._files.write(target.path, fill)
        except _Ended:
            return False
        return True

    def _delete(self, slot: str, now: datetime) -> None:
        dropped = keys.dropped(slot)
        for path in self._store.do("ZRANGEBYSCORE", dropped, "-inf", int(now.timestamp())):
            self._files.remove(path.decode())
            self._store.do("ZREM", dropped, path)


def _runs(files: Iterable[ArchiveFile], most_rows: int, now: datetime) -> Iterator[list[ArchiveFile]]:
    """Files that belong together: of one day, with the very same columns, so that no value changes its type."""
    small = [file for file in files if file.columns and 2 * file.rows <= most_rows]
    small.sort(key=lambda file: (*_group(file), id_number(file.end)))
    for _, members in groupby(small, _group):
        run: list[ArchiveFile] = []
        for file in members:
            if run and sum(each.rows for each in run) + file.rows > most_rows:
                if len(run) > 1:
                    yield run
                run = []
            run.append(file)
            if len(run) == _MOST:
                break
        fewest = 2 if run and run[0].arrived_before <= now else FEWEST
        if len(run) >= fewest:
            yield run


def _group(file: ArchiveFile) -> tuple[str, str]:
    return file.folder, file.columns


def _merged(run: list[ArchiveFile]) -> ArchiveFile:
    """What is known of the file of a run. Its name differs from that of every part: it has more rows."""
    slot, milliseconds, sequence, *_ = run[0].path.rpartition("/")[2].split("-")
    rows = sum(file.rows for file in run)
    return ArchiveFile(
        path=f"{run[0].folder}/{slot}-{milliseconds}-{sequence}-{run[-1].end}-{rows}.parquet",
        kind=run[0].kind,
        model=run[0].model,
        rows=rows,
        since=min(file.since for file in run),
        until=max(file.until for file in run),
        end=run[-1].end,
        lists=run[0].lists,
        columns=run[0].columns,
    )


def _row_groups(files: Files, sources: list[ArchiveFile]) -> Iterator[pa.Table]:
    """All rows in tables of about a row group: never is a whole file in memory."""
    held: list[pa.RecordBatch] = []
    names: list[str] = []
    for source in sources:
        with files.open(source.path) as file:
            for batch in pq.ParquetFile(file).iter_batches(ROW_GROUP):
                names = names or batch.schema.names
                held.append(batch.select(names).replace_schema_metadata(None))
                if sum(each.num_rows for each in held) >= ROW_GROUP:
                    yield pa.Table.from_batches(held)
                    held = []
    if held:
        yield pa.Table.from_batches(held)
