"""All rows that ever came: Parquet files and the tail of the log that is not in files yet, as one table."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from threading import RLock
from typing import Any

import duckdb
import pyarrow as pa

from service.errors import UnreadableEntry
from service.intake import columns
from service.intake.archive import views
from service.intake.archive.files import FOLDERS, PLACE, ArchiveFile, decode, placed
from service.intake.log.entries import LABELS, PREDICTIONS, START, Entry, id_number
from service.intake.log.log import Log
from service.storage.copies import Copies
from service.storage.files import Files

COPIED_ROWS = 50_000
"""Of an archive at an address, files up to so many rows are read from copies on this machine."""
_SQL = Path(__file__).with_name("sql")
_EMPTY = {
    PREDICTIONS: pa.schema(
        [
            ("prediction_id", pa.string()),
            ("timestamp", columns.TIME),
            ("model_version", pa.string()),
            ("prediction", pa.string()),
            ("confidence", pa.float64()),
            *PLACE,
        ]
    ),
    LABELS: pa.schema(
        [
            ("prediction_id", pa.string()),
            ("label", pa.string()),
            ("timestamp", columns.TIME),
            ("outcome", pa.string()),
            *PLACE,
        ]
    ),
}


@dataclass
class _Partition:
    """What we know of a partition: its files, of which generation of their list, and the entries that are in none."""

    files: list[ArchiveFile] = field(default_factory=list)
    generation: str = "0"
    tail: dict[str, tuple[Entry, pa.Table | None]] = field(default_factory=dict)
    seen: str = START


class Archive:
    """Reads the archive; may be used by several threads. Files and tail are taken at one moment of each partition.

    Every question raises ArchiveAway where files cannot be read now, and StoreAway.
    """

    def __init__(self, partition_log: Log, files: Files | Path) -> None:
        self._log = partition_log
        self._files = Files.of(files)
        self._partitions = [_Partition() for _ in range(partition_log.partitions)]
        self._lock = RLock()
        # One thread: the queries are small, and the service has its own threads.
        self._db = duckdb.connect(config={"threads": 1})
        self._db.execute("SET TimeZone = 'UTC'")
        self._copies: Copies | None = None
        if not self._files.is_local:
            self._db.register_filesystem(self._files.filesystem)
            self._copies = Copies(self._files)

    def close(self) -> None:
        """Close DuckDB, and remove what it was read from at an address."""
        self._db.close()
        if self._copies is not None:
            self._copies.close()

    def predictions(
        self,
        model: str,
        since: datetime,
        until: datetime,
        version: str | None = None,
        columns: Sequence[str] | None = None,
    ) -> pa.Table:
        """Rows with `since` <= timestamp < `until` in the order of their timestamps; all columns, or those named.

        A prediction that was sent twice under two idempotency keys appears once, as it came first.
        """
        return self._ask("predictions", model, since, until, version, columns)

    def labels(self, model: str, since: datetime, until: datetime) -> pa.Table:
        """All labels with `since` <= timestamp < `until`, corrected ones too, in the order of their timestamps."""
        return self._ask("labels", model, since, until)

    def labelled(
        self,
        model: str,
        since: datetime,
        until: datetime,
        version: str | None = None,
        columns: Sequence[str] | None = None,
    ) -> pa.Table:
        """Predictions of the span with a label: the last `label` of each, and when it was given, `labelled_at`.

        `outcome` is the last one that any of its labels bore, JSON text or null.
        """
        return self._ask("labelled", model, since, until, version, columns)

    def find_predictions(self, model: str, ids: pa.Array, since: datetime, positions: Sequence[str]) -> pa.Table:
        """The first copy of each of these predictions among rows up to the log positions, from `since` on."""
        return self._find("find_predictions", model, ids, since, positions)

    def find_labels(self, model: str, ids: pa.Array, since: datetime, positions: Sequence[str]) -> pa.Table:
        """All labels of these predictions among labels up to the log positions, with their log places."""
        return self._find("find_labels", model, ids, since, positions)

    def _ask(
        self,
        query: str,
        model: str,
        since: datetime,
        until: datetime,
        version: str | None = None,
        wanted: Sequence[str] | None = None,
    ) -> pa.Table:
        with self._lock, self._files.reading(_is_failure):
            self._refresh()
            span = (since.timestamp(), until.timestamp())
            kind = LABELS if query == "labels" else PREDICTIONS
            self._offer("rows", kind, model, span)
            if query == "labelled":
                # A label may have any timestamp: only its prediction is bound to the span.
                self._offer("labels", LABELS, model, (float("-inf"), float("inf")))
            named = ("since", "until") if kind == LABELS else ("since", "until", "version")
            values = {"since": since, "until": until, "version": version}
            table = self._run(query, {name: values[name] for name in named})
        table = table.drop_columns([field.name for field in PLACE])
        if wanted is None:
            return table
        own = ["label", "labelled_at"] if query == "labelled" else []
        return table.select([name for name in [*wanted, *own] if name in table.column_names])

    def _find(self, query: str, model: str, ids: pa.Array, since: datetime, positions: Sequence[str]) -> pa.Table:
        kind = LABELS if query == "find_labels" else PREDICTIONS
        with self._lock, self._files.reading(_is_failure):
            self._refresh()
            self._offer("rows", kind, model, (since.timestamp(), float("inf")), positions)
            self._db.register("ids", pa.table({"prediction_id": ids}))
            return self._run(query, {"since": since})

    def _run(self, query: str, values: dict[str, Any]) -> pa.Table:
        found = self._db.sql((_SQL / f"{query}.sql").read_text(), params=values)
        return found.to_arrow_table()

    def _offer(
        self, name: str, kind: str, model: str, span: tuple[float, float], positions: Sequence[str] | None = None
    ) -> None:
        """Make the view `name`: files that touch the span, and the tail (up to the positions, where given)."""
        since, until = span
        tables = []
        groups: dict[tuple[str, ...], list[ArchiveFile]] = {}
        for number, known in enumerate(self._partitions):
            last = id_number(positions[number]) if positions else None
            for file in known.files:
                if file.kind == kind and file.model == model and file.until >= since and file.since < until:
                    groups.setdefault(file.lists, []).append(file)
            for entry, table in known.tail.values():
                fits = entry.kind == kind and entry.model == model and (last is None or entry.number <= last)
                if fits and table is not None:
                    tables.append(table)
        relations = [views.of_files(self._addresses(group)) for group in groups.values()]
        if tables or not groups:
            self._db.register(f"{name}_tail", columns.concat(tables or [_EMPTY[kind].empty_table()]))
            relations.append(f"{name}_tail")
        # Files know which of their columns are lists; without any there is nothing to settle.
        views.offer(self._db, name, relations, may_clash=any(groups) or _has_list(tables))

    def _addresses(self, files: Sequence[ArchiveFile]) -> list[str]:
        """Where DuckDB reads the files: a large one in place, of which it takes the columns it needs."""
        if self._copies is None:
            return [self._files.at(file.path) for file in files]
        self._files.check_not_away()
        copied = self._copies.fetch([file.path for file in files if file.rows <= COPIED_ROWS])
        return [*map(str, copied), *(self._files.at(file.path) for file in files if file.rows > COPIED_ROWS)]

    def _refresh(self) -> None:
        if self._copies is not None:
            self._copies.shrink()
        for number, known in enumerate(self._partitions):
            has_more = True
            while has_more:
                stretch = self._log.read(number, known.seen, files_known=len(known.files), generation=known.generation)
                if stretch.generation != known.generation:
                    known.files, known.generation = [], stretch.generation
                known.files += decode(stretch.files)
                for entry in stretch.entries:
                    known.tail[entry.id] = (entry, _table(number, entry))
                    known.seen = entry.id
                archived = id_number(stretch.archived)
                for identity in [each for each in known.tail if id_number(each) <= archived]:
                    del known.tail[identity]
                has_more = stretch.has_more


def _table(partition: int, entry: Entry) -> pa.Table | None:
    try:
        return placed(partition, [entry], entry.table()) if entry.kind in FOLDERS else None
    except UnreadableEntry:
        return None


def _has_list(tables: Iterable[pa.Table]) -> bool:
    return any(pa.types.is_list(field.type) for table in tables for field in table.schema)


def _is_failure(error: Exception) -> bool:
    """Whether a file could not be read: what a filesystem of fsspec raises comes as DuckDB's plainest error."""
    return type(error) is duckdb.Error or isinstance(error, (duckdb.IOException, OSError))
