"""Bodies of predictions to checked columns, in every form, against bare `orjson.loads` on the same rows in one run.

`orjson.loads` gives dictionaries and checks nothing; it is what all figures of the intake are held against. Rows per
second of processor time, medians of turns that alternate. Compressed bodies include the unpacking.

Run: make bench
"""

import gc
import gzip
import json
import random
from collections.abc import Callable
from datetime import UTC, datetime
from statistics import median
from time import process_time
from typing import Any

import msgspec
import orjson
import pyarrow as pa
from machine import described

from service.intake.bodies import wire
from service.intake.bodies.compressed import unpack

FEATURES, SEED = 20, 0
SIZES = ((1, 301), (1_000, 41), (20_000, 5))
NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
LARGEST = 1 << 30
Work = Callable[[], object]


def main() -> None:
    print(described())
    print(f"{FEATURES} features a row; medians of turns that alternate, seed {SEED}")
    for title, make in (
        ("20 numbers", _numbers),
        ("12 numbers, 2 integers, 3 short texts, 1 text, 1 boolean, 1 gap", _mixed),
    ):
        for rows, turns in SIZES:
            _compare(title, [_row(make, n, random.Random(n)) for n in range(rows)], turns)  # noqa: S311  no secret


def _row(make: Callable[[random.Random], list[Any]], number: int, rng: random.Random) -> dict[str, Any]:
    return {
        "prediction_id": f"id-{number:012}",
        "timestamp": f"2026-11-22T10:{number % 60:02}:00.{number % 1000:03}Z",
        "model_version": "7",
        "prediction": rng.choice(["returns", "fit", "shipping"]),
        "confidence": rng.random(),
        "features": {f"x{place}": value for place, value in enumerate(make(rng))},
        "tags": {"market": rng.choice(["DE", "FR", "IT"])},
    }


def _numbers(rng: random.Random) -> list[Any]:
    return [rng.gauss(0, 1) for _ in range(FEATURES)]


def _mixed(rng: random.Random) -> list[Any]:
    numbers = [rng.gauss(0, 1) for _ in range(12)]
    texts = [rng.choice(["web", "app", "store"]) for _ in range(3)]
    text = "where do I send these shoes back, please? " * rng.randint(0, 2)
    return [
        *numbers,
        rng.randrange(1_000),
        rng.randrange(10),
        *texts,
        text,
        rng.random() < 0.5,
        rng.choice([None, 1.5]),
    ]


def _compare(title: str, rows: list[dict[str, Any]], turns: int) -> None:
    lines, array = b"\n".join(map(orjson.dumps, rows)), orjson.dumps(rows)
    columns = _columns_of(rows)
    columnar, arrow = orjson.dumps({"columns": columns}), _stream_of(columns)
    packed = {"gzip": gzip.compress(lines, 6), "zstd": pa.compress(lines, codec="zstd", asbytes=True)}
    works: dict[str, Work] = {
        "orjson.loads, line by line": lambda: [orjson.loads(line) for line in lines.split(b"\n")],
        "orjson.loads, the array": lambda: orjson.loads(array),
        "msgspec without types, the array": lambda: msgspec.json.decode(array),
        "json.loads, the array": lambda: json.loads(array),
        "NDJSON": lambda: _read(lines, "ndjson"),
        "JSON array": lambda: _read(array, "json"),
        "columnar JSON": lambda: _read(columnar, "json"),
        "Arrow stream": lambda: _read(arrow, "arrow"),
        "NDJSON, gzip": lambda: _read(unpack(packed["gzip"], "gzip", LARGEST), "ndjson"),
        "NDJSON, zstd": lambda: _read(unpack(packed["zstd"], "zstd", LARGEST), "ndjson"),
    }
    bodies: dict[wire.Form, list[bytes]] = {"ndjson": [lines], "json": [array, columnar], "arrow": [arrow]}
    tables = [_read(body, form) for form, same in bodies.items() for body in same]
    if not all(table.equals(tables[0]) for table in tables):
        raise SystemExit("the forms do not give the same table")
    sizes = ", ".join(
        f"{name} {len(body) / len(rows):,.0f}"
        for name, body in (("NDJSON", lines), ("columnar", columnar), ("Arrow", arrow))
    )
    print(f"\n{title}; {len(rows):,} rows a body; bytes a row: {sizes}, gzip {len(packed['gzip']) / len(rows):,.0f}")
    seconds: dict[str, list[float]] = {name: [] for name in works}
    # The rows of this benchmark are no work for the garbage collector while it measures; a service has none of them.
    gc.collect()
    gc.freeze()
    for _ in range(turns):
        for name, work in works.items():
            begun = process_time()
            work()
            seconds[name].append(process_time() - begun)
    gc.unfreeze()
    first = median(seconds["orjson.loads, line by line"])
    for name, times in seconds.items():
        print(f"  {name:<34} {len(rows) / median(times):>12,.0f} rows/s {first / median(times):6.2f} x")


def _read(body: bytes, form: wire.Form) -> pa.Table:
    batch = wire.predictions(body, form, "classification", NOW)
    if batch.rejected:
        raise SystemExit(f"row {batch.rejected[0].row}: {batch.rejected[0].problem}")
    return batch.table


def _columns_of(rows: list[dict[str, Any]]) -> dict[str, list[Any]]:
    columns = {name: [row[name] for row in rows] for name, value in rows[0].items() if not isinstance(value, dict)}
    for group in ("features", "tags"):
        columns |= {f"{group}.{name}": [row[group][name] for row in rows] for name in rows[0][group]}
    return columns


def _stream_of(columns: dict[str, list[Any]]) -> bytes:
    times = pa.array([datetime.fromisoformat(text) for text in columns["timestamp"]], pa.timestamp("us", "UTC"))
    table = pa.table({**columns, "timestamp": times})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue())


if __name__ == "__main__":
    main()
