"""Bodies of 1,000 rows from the first byte until they are folded, against what orjson alone parses in the same run.

Everything is on: idempotency keys, durable append, fold, label join, archive. Rows per core-second count the processor
time of the three processes, and nobody else's. Turns of all formats alternate. On processors whose cores share what
they compute with, a core-second holds less while the others are busy, as they are here: orjson is measured both ways.

Run: PYTHONPATH=. python benchmarks/ingest.py
"""

import io
import json
import os
import re
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from statistics import median
from time import process_time

import numpy as np
import orjson
import pyarrow as pa
from load import CATEGORIES, NUMBERS, PATH, rows_of, send, serving, table_of
from machine import described
from sender import request

SEED, ROWS, REQUESTS, CONNECTIONS, ROUNDS, PARSES = 0, 1_000, 60, 4, 7, 20
NDJSON, COLUMNAR, ARROW = "NDJSON", "columnar JSON", "Arrow IPC"
Bodies = Mapping[str, tuple[str, list[bytes]]]
"""By format its media type and its bodies."""


@dataclass(frozen=True)
class Turn:
    """What one turn of one format used, in seconds by process, and how long it took by the clock."""

    spent: dict[str, float]
    seconds: float

    @property
    def total(self) -> float:
        """Of all processes."""
        return sum(self.spent.values())


def main() -> None:
    print(described())
    print(f"{ROWS:,} rows a body, {NUMBERS} numbers and {CATEGORIES} categories each; {CONNECTIONS} connections")
    print(f"one api, one worker, one store process, everysec; seed {SEED}")
    rng = np.random.default_rng(SEED)
    tables = [table_of(rng, ROWS) for _ in range(3)]
    lines = rows_of(tables[0])
    bodies = bodies_of(tables)
    sizes = ", ".join(f"{name} {len(made[0]) / ROWS:.0f}" for name, (_, made) in bodies.items())
    print(f"bytes a row: {sizes}\n")
    _in_full(bodies, lines)
    print("The same where nothing is archived meanwhile")
    _without_archive(bodies)


def bodies_of(tables: list[pa.Table]) -> Bodies:
    """Each table in each format."""
    return {
        NDJSON: ("application/x-ndjson", [b"\n".join(rows_of(table)) for table in tables]),
        COLUMNAR: ("application/json", [_columnar(table) for table in tables]),
        ARROW: ("application/vnd.apache.arrow.stream", [_arrow(table) for table in tables]),
    }


def _in_full(bodies: Bodies, lines: list[bytes]) -> None:
    alone: list[float] = []
    beside: list[float] = []
    cores = os.cpu_count() or 1
    with ProcessPoolExecutor(cores) as pool:

        def parse() -> None:
            alone.append(_parse(lines))
            beside.append(sum(pool.map(_parse, [lines] * cores)) / cores)

        turns = _turns(bodies, parse, archive_rows="5000")
    print(f"Rows per core-second, medians of {ROUNDS} turns of {REQUESTS * ROWS:,} rows")
    print(f"  {'bare orjson.loads, line by line':<32}{median(alone):>10,.0f}")
    print(f"  {f'the same on all {cores} cores at once':<32}{median(beside):>10,.0f}")
    _told(turns, (median(alone), median(beside)))


def _without_archive(bodies: Bodies) -> None:
    _told(_turns(bodies, lambda: None, archive_rows="10000000", backlog_rows="10000000"), ())


def _turns(bodies: Bodies, between: Callable[[], object], **settings: str) -> dict[str, list[Turn]]:
    turns: dict[str, list[Turn]] = {name: [] for name in bodies}
    first = 0
    with serving(**settings) as service:
        for turn in range(ROUNDS + 1):
            between()
            for name, (media_type, made) in bodies.items():
                templates = [request(PATH, media_type, body) for body in made]
                before = service.cpu_seconds()
                notes = send(templates, service.port, requests=REQUESTS, connections=CONNECTIONS, first=first)
                first += REQUESTS
                drained = service.wait_until_counted()
                after = service.cpu_seconds()
                if (notes["status"] != 202).any():
                    raise ValueError(f"{name}: answered {np.unique(notes['status'])}")
                if turn:  # the first warms up
                    spent = {each: after[each] - before[each] for each in after}
                    sent = float((notes["due"] + notes["seconds"]).max() - notes["due"].min())
                    turns[name].append(Turn(spent, sent + drained))
        counted = service.deciding.counted()
        assert counted == first * ROWS, (counted, first * ROWS)  # noqa: S101  else something else was measured
    return turns


def _told(turns: dict[str, list[Turn]], orjson_rates: tuple[float, ...]) -> None:
    rows = ROWS * REQUESTS
    rates = {name: rows / median(turn.total for turn in each) for name, each in turns.items()}
    for name, each in turns.items():
        parts = ", ".join(f"{part} {median(t.spent[part] for t in each) / rows * 1e6:.2f}" for part in each[0].spent)
        clock = rows / median(turn.seconds for turn in each)
        share = "".join(f"{rates[name] / rate:5.2f}" for rate in orjson_rates) + " of orjson, " * bool(orjson_rates)
        print(f"  {name:<32}{rates[name]:>10,.0f}   {share}{rates[name] / rates[NDJSON]:.2f} x NDJSON")
        print(f"    us a row: {parts}; by the clock {clock:,.0f} rows a second")
    print()


def _parse(lines: list[bytes]) -> float:
    """Rows that orjson alone parses in a second of the processor."""
    begun = process_time()
    for _ in range(PARSES):
        for line in lines:
            orjson.loads(line)
    return PARSES * len(lines) / (process_time() - begun)


def _named(table: pa.Table) -> pa.Table:
    """With the names that bodies of columns have."""
    names = [re.sub("^(feature|tag)_", r"\1s.", name) for name in table.column_names]
    return table.rename_columns(names)


def _columnar(table: pa.Table) -> bytes:
    columns = {name: _named(table).column(name).to_pylist() for name in _named(table).column_names}
    columns["timestamp"] = [value.strftime("%Y-%m-%dT%H:%M:%SZ") for value in columns["timestamp"]]
    return json.dumps({"columns": columns}, separators=(",", ":")).encode()


def _arrow(table: pa.Table) -> bytes:
    sink = io.BytesIO()
    named = _named(table)
    with pa.ipc.new_stream(sink, named.schema) as writer:
        writer.write_table(named)
    return sink.getvalue()


if __name__ == "__main__":
    main()
