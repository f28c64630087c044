"""All rows that ever came: Parquet files and the tail of the log that is not in files yet, as one table."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from threading import RLock
from typing import Any

import duckdb
import msgspec
import pyarrow as pa

from service.errors import UnreadableEntry
from service.intake import columns, views
from service.intake.archiving import FOLDERS, PLACE, ArchiveFile, placed
from service.intake.entries import LABELS, PREDICTIONS, START, Entry, id_number
from service.intake.log import Log

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
    """What we know of a partition: its files, and the entries that are in none."""

    files: list[ArchiveFile] = field(default_factory=list)
    tail: dict[str, tuple[Entry, pa.Table | None]] = field(default_factory=dict)
    seen: str = START


class Archive:
    """Reads the archive; may be used by several threads. Files and tail are taken at one moment of each partition."""

    def __init__(self, partition_log: Log, folder: Path) -> None:
        self._log = partition_log
        self._folder = folder
        self._partitions = [_Partition() for _ in range(partition_log.partitions)]
        self._lock = RLock()
        # One thread: the queries are small, and the service has its own threads.
        self._db = duckdb.connect(config={"threads": 1})
        self._db.execute("SET TimeZone = 'UTC'")

    def close(self) -> None:
        """Close DuckDB."""
        self._db.close()

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
        """Predictions of the span with a label: the last `label` of each, and when it was given, `labelled_at`."""
        return self._ask("labelled", model, since, until, version, columns)

    def find_predictions(self, model: str, ids: pa.Array, since: datetime, positions: Sequence[str]) -> pa.Table:
        """The first copy of each of these predictions among rows up to the log positions, from `since` on."""
        return self._find("find_predictions", model, ids, since, positions)

    def find_labels(self, model: str, ids: pa.Array, since: datetime, positions: Sequence[str]) -> pa.Table:
        """The last label of each of these predictions among labels up to the log positions, with its log place."""
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
        with self._lock:
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
        with self._lock:
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
        paths: dict[tuple[str, ...], list[Path]] = {}
        for number, known in enumerate(self._partitions):
            last = id_number(positions[number]) if positions else None
            for file in known.files:
                if file.kind == kind and file.model == model and file.until >= since and file.since < until:
                    paths.setdefault(file.lists, []).append(self._folder / file.path)
            for entry, table in known.tail.values():
                fits = entry.kind == kind and entry.model == model and (last is None or entry.number <= last)
                if fits and table is not None:
                    tables.append(table)
        relations = [views.of_files(group) for group in paths.values()]
        if tables or not paths:
            self._db.register(f"{name}_tail", columns.concat(tables or [_EMPTY[kind].empty_table()]))
            relations.append(f"{name}_tail")
        # Files know which of their columns are lists; without any there is nothing to settle.
        views.offer(self._db, name, relations, may_clash=any(paths) or _has_list(tables))

    def _refresh(self) -> None:
        for number, known in enumerate(self._partitions):
            has_more = True
            while has_more:
                stretch = self._log.read(number, known.seen, files_known=len(known.files))
                known.files += _decode(stretch.files)
                for entry in stretch.entries:
                    known.tail[entry.id] = (entry, _table(number, entry))
                    known.seen = entry.id
                archived = id_number(stretch.archived)
                for identity in [each for each in known.tail if id_number(each) <= archived]:
                    del known.tail[identity]
                has_more = stretch.has_more


def _decode(records: Iterable[bytes]) -> list[ArchiveFile]:
    return [msgspec.json.decode(record, type=ArchiveFile) for record in records]


def _table(partition: int, entry: Entry) -> pa.Table | None:
    try:
        return placed(partition, entry, entry.table()) if entry.kind in FOLDERS else None
    except UnreadableEntry:
        return None


def _has_list(tables: Iterable[pa.Table]) -> bool:
    return any(pa.types.is_list(field.type) for table in tables for field in table.schema)
