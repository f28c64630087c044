"""Files of rows: Parquet, CSV, NDJSON or Arrow, as batches of predictions."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv, feather, json, parquet

from monitors.columns.embeddings import is_list
from service.errors import ServiceError
from service.intake.columns import NUMBERS, TIME

TASKS = ("classification", "regression")
_OWN = ("prediction_id", "model_version")


class BadFile(ServiceError):
    """A file of rows cannot be used."""

    def __init__(self, path: Path, problem: str) -> None:
        super().__init__(f"{path}: {problem}")
        self.path = path


@dataclass(frozen=True)
class Roles:
    """Which columns of a file mean what. All other columns are features, but for `tags` and `ignored` ones.

    Without a `timestamp` column rows are a minute apart; without `prediction` the file holds no predictions yet.
    """

    timestamp: str = "timestamp"
    label: str = "label"
    prediction: str = "prediction"
    confidence: str = "confidence"
    kinds: Mapping[str, str] | None = None

    @property
    def tags(self) -> set[str]:
        return {name for name, kind in (self.kinds or {}).items() if kind == "tag"}

    @property
    def ignored(self) -> set[str]:
        return {name for name, kind in (self.kinds or {}).items() if kind == "ignore"}


def read_table(path: Path) -> pa.Table:
    """All rows of a file, by its ending: .parquet, .csv, .ndjson (.jsonl, .json with a line a row), .arrow (.feather).

    Raises:
        BadFile: it is not there, of another kind, or cannot be read.
    """
    readers = {
        ".parquet": parquet.read_table,
        ".csv": csv.read_csv,
        ".ndjson": json.read_json,
        ".jsonl": json.read_json,
        ".json": json.read_json,
        ".arrow": feather.read_table,
        ".feather": feather.read_table,
    }
    if not path.is_file():
        raise BadFile(path, "there is no such file")
    if path.suffix not in readers:
        raise BadFile(path, f"files ending in {path.suffix or 'nothing'} are not read; allowed: {', '.join(readers)}")
    try:
        table: pa.Table = readers[path.suffix](path)
    except (pa.ArrowException, OSError) as error:
        raise BadFile(path, f"cannot be read: {error}") from error
    if not table.num_rows:
        raise BadFile(path, "it holds no rows")
    return table


def as_batch(path: Path, table: pa.Table, roles: Roles, task: str, version: str) -> pa.Table:
    """A batch of predictions as everywhere: `feature_*`, `tag_*`, `label` and, where the file has it, `prediction`.

    Raises:
        BadFile: a column cannot be what it is said to be.
    """
    value = pa.string() if task == "classification" else pa.float64()
    columns: dict[str, pa.ChunkedArray | pa.Array] = {
        "prediction_id": _ids(table),
        "timestamp": _times(path, table, roles.timestamp),
        "model_version": _versions(table, version),
    }
    named = {"prediction": roles.prediction, "label": roles.label}
    for name, source in named.items():
        if source in table.column_names:
            columns[name] = _cast(path, table, source, value)
    if roles.confidence in table.column_names:
        columns["confidence"] = _cast(path, table, roles.confidence, pa.float64())
    known = {roles.timestamp, roles.confidence, *named.values(), *_OWN, *roles.ignored}
    for name in table.column_names:
        if name not in known:
            columns[("tag_" if name in roles.tags else "feature_") + name] = _feature(path, table, name)
    return pa.table(columns)


def _ids(table: pa.Table) -> pa.ChunkedArray | pa.Array:
    if "prediction_id" in table.column_names:
        return _text(table["prediction_id"])
    return pa.array([f"row-{i}" for i in range(table.num_rows)], pa.string())


def _times(path: Path, table: pa.Table, name: str) -> pa.ChunkedArray | pa.Array:
    if name not in table.column_names:
        return pa.array(range(0, table.num_rows * 60_000_000, 60_000_000), TIME)
    column = _plain(table[name])
    try:
        if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
            return _read_times(column)
        if pa.types.is_timestamp(column.type) and column.type.tz is None:
            column = pc.cast(column, pa.timestamp("us"))
        return pc.cast(column, TIME)
    except pa.ArrowException as error:
        raise BadFile(path, f"column {name!r} holds no timestamps: {error}") from error


def _read_times(texts: pa.ChunkedArray) -> pa.ChunkedArray:
    """Times as text; those without an offset are UTC."""
    try:
        return pc.cast(texts, TIME)
    except pa.ArrowException:
        return pc.cast(pc.cast(texts, pa.timestamp("us")), TIME)


def _cast(path: Path, table: pa.Table, name: str, kind: pa.DataType) -> pa.ChunkedArray:
    column = _plain(table[name])
    if kind == pa.string():
        return _text(column)
    try:
        return pc.cast(column, kind)
    except pa.ArrowException as error:
        raise BadFile(path, f"column {name!r} must hold numbers: {error}") from error


def _feature(path: Path, table: pa.Table, name: str) -> pa.ChunkedArray:
    column = _plain(table[name])
    kind = column.type
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        return pc.cast(column, pa.float64(), safe=False)
    if is_list(kind):
        return pc.cast(column, NUMBERS, safe=False)
    if pa.types.is_boolean(kind) or pa.types.is_string(kind):
        return column
    if pa.types.is_temporal(kind) or pa.types.is_large_string(kind):
        return pc.cast(column, pa.string())
    raise BadFile(path, f"column {name!r} of type {kind} cannot be a feature; set it to ignore in the policy")


def _plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    return pc.cast(column, column.type.value_type) if pa.types.is_dictionary(column.type) else column


def _text(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """As the wire spells it: whole numbers without a decimal point."""
    column = _plain(column)
    if pa.types.is_floating(column.type):
        whole = pc.all(pc.equal(column, pc.floor(column))).as_py()
        column = pc.cast(column, pa.int64()) if whole else column
    return pc.cast(column, pa.string())


def _versions(table: pa.Table, version: str) -> pa.ChunkedArray | pa.Array:
    if "model_version" in table.column_names:
        return _text(table["model_version"])
    return pa.array([version] * table.num_rows, pa.string())
