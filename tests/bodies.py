"""The same rows as bodies of every form, for tests of what is read of them."""

import gzip
import json
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa

from service.errors import MalformedBody
from service.intake.bodies import wire
from service.intake.bodies.limits import Limits

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
DEFAULT = Limits()
NAMES = {"scores": ["fit", "returns"], "features": ["x", "y", "größe.des 靴"], "tags": ["market"]}


def columns_of(rows: list[dict[str, Any]]) -> dict[str, list[Any]]:
    """A list for each column that some row has."""
    flat = [
        {
            **{k: v for k, v in row.items() if k not in NAMES},
            **{f"{g}.{n}": v for g in NAMES for n, v in (row.get(g) or {}).items()},
        }
        for row in rows
    ]
    return {name: [row.get(name) for row in flat] for name in dict.fromkeys(name for row in flat for name in row)}


def stream_of(columns: dict[str, Any], **types: pa.DataType) -> bytes:
    made = {
        name: value if isinstance(value, pa.Array | pa.ChunkedArray) else pa.array(value, types.get(name))
        for name, value in columns.items()
    }
    return written(pa.table(made))


def written(table: pa.Table, chunk: int | None = None, **options: Any) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema, options=pa.ipc.IpcWriteOptions(**options)) as writer:
        writer.write_table(table, chunk)
    return bytes(sink.getvalue())


def bodies(rows: list[dict[str, Any]]) -> Iterator[tuple[wire.Form, bytes]]:
    """The rows in every form that can hold them."""
    columns = columns_of(rows)
    yield "json", json.dumps(rows).encode()
    yield "json", json.dumps(rows, indent=1, ensure_ascii=False).encode()
    yield "ndjson", "\n".join(map(json.dumps, rows)).encode()
    yield "ndjson", "\r\n".join([*map(json.dumps, rows), "", ""]).encode()
    yield "json", json.dumps({"columns": columns}).encode()
    # Arrow has no columns of several types.
    with suppress(pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):
        yield "arrow", stream_of(columns)
        yield "arrow", written(pa.table(columns), chunk=2)


def read(form: wire.Form, body: bytes, task: wire.Task = "classification", limits: Limits = DEFAULT) -> wire.Batch:
    return wire.predictions(body, form, task, NOW, limits)


def same(one: wire.Batch, other: wire.Batch) -> None:
    assert one.rejected == other.rejected
    assert one.table.schema == other.table.schema
    assert one.table.equals(other.table)


GOOD = [
    {
        "prediction_id": f"p{n}",
        "prediction": "fit",
        "features": {"x": n / 7, "channel": "web"},
        "tags": {"market": "DE"},
    }
    for n in range(60)
]
COLUMNS_OF_GOOD = columns_of(GOOD)


def columnar(**changed: Any) -> bytes:
    return json.dumps({"columns": {**COLUMNS_OF_GOOD, **changed}}).encode()


def arrow(**changed: Any) -> bytes:
    return stream_of({**COLUMNS_OF_GOOD, **changed})


def with_one(column: str, value: Any) -> dict[str, Any]:
    return {column: [*COLUMNS_OF_GOOD[column][:30], value, *COLUMNS_OF_GOOD[column][31:]]}


def told(batch: wire.Batch) -> list[tuple[int, str, str]]:
    return [(each.row, each.field, each.reason) for each in batch.rejected]


LABELS = [
    {
        "prediction_id": f"p{n}",
        "label": "fit",
        "timestamp": "2026-01-03T09:00:00Z",
        "outcome": {"resolved": n % 2 == 0, "note": "ü"} if n % 3 else None,
    }
    for n in range(60)
]


def outcome_of(form: wire.Form, body: bytes, limits: Limits) -> tuple[list[str], int]:
    """All that is said against a body, and the number of its rows that are taken."""
    try:
        batch = read(form, body, limits=limits)
    except MalformedBody as refused:
        return [str(refused)], 0
    return [each.problem for each in batch.rejected], batch.table.num_rows


def zipped(data: bytes, coding: str) -> bytes:
    return gzip.compress(data) if coding == "gzip" else pa.compress(data, codec="zstd", asbytes=True)
