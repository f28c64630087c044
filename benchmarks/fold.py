"""Folding a batch for many segments and columns, against the plain way in the same run.

The plain way counts with numpy alone: per column a binary search for the bin, and a bincount over segment x bin. It
counts no sums, no missing values and nothing out of range.

Run: make bench
"""

import resource
from collections.abc import Callable
from dataclasses import replace
from statistics import median
from time import process_time

import numpy as np
import pyarrow as pa
from machine import described

from monitors.columns.bins import Float32Array, Lookup, quantile_edges
from monitors.counting.groups import Groups
from monitors.counting.layouts import Layout, learn_layout
from monitors.counting.profiles import add, fold
from monitors.readings import FloatArray, IntArray

ROWS, COLUMNS, SEGMENTS, RUNS, LOOPS, SEED = 10_000, 20, 50, 41, 3, 0
LONG = 3_000_000
HOUR = 3_600
START = 1_767_225_600
Work = Callable[[], object]


def main() -> None:
    print(described())
    print(f"{COLUMNS} columns x {SEGMENTS} segments, batches of {ROWS:,} rows; medians of {RUNS}, seed {SEED}\n")
    rng = np.random.default_rng(SEED)
    table = _table(rng, ROWS)
    layout = learn_layout(table, cuts=[["segment"]], columns={}, target="prediction", task="classification")
    _core(rng)
    _whole(layout, table)
    _memory(layout, rng)


def _core(rng: np.random.Generator) -> None:
    """The counting alone, on arrays in columns with the segment of each row given."""
    values = [rng.normal(size=ROWS).astype(np.float32) for _ in range(COLUMNS)]
    edges = [quantile_edges(column, 10) for column in values]
    lookups = [Lookup.of(column) for column in edges]
    segment = rng.integers(0, SEGMENTS, ROWS)

    def tallies(groups: Groups) -> list[FloatArray]:
        return [
            groups.tally(lookup.bins(column), len(lookup.edges) + 1)
            for lookup, column in zip(lookups, values, strict=True)
        ]

    def ours() -> list[FloatArray]:
        return tallies(Groups.of(segment, [np.arange(SEGMENTS)]))

    def with_sums() -> list[FloatArray]:
        groups = Groups.of(segment, [np.arange(SEGMENTS)])
        return [*tallies(groups), *(groups.moments(column) for column in values)]

    def plain() -> list[IntArray]:
        return _plain(edges, values, segment)

    def plain_with_sums() -> list[object]:
        weights = [column.astype(np.float64) for column in values]
        sums = [np.bincount(segment, w, minlength=SEGMENTS) for w in weights]
        return [*plain(), *sums, *(np.bincount(segment, w * w, minlength=SEGMENTS) for w in weights)]

    for counted, searched in zip(ours(), plain(), strict=True):
        np.testing.assert_array_equal(counted, searched)
    print("Counting, arrays in columns")
    _compare({"plain searchsorted + bincount": plain, "table + bincount": ours})
    print("The same with sums and sums of squares")
    _compare({"plain, three bincounts a column": plain_with_sums, "table, sums by sorted group": with_sums})


def _whole(layout: Layout, table: pa.Table) -> None:
    """`fold` from an Arrow table, with all it counts, against the plain counts alone."""
    values = [table.column(f"feature_x{i}").to_numpy().astype(np.float32) for i in range(COLUMNS)]
    edges = [np.asarray(c.edges, dtype=np.float32) for c in layout.columns if c.name.startswith("x")]
    segment = np.asarray([int(name[1:]) for name in table.column("tag_segment").to_pylist()])
    single = replace(layout, columns=layout.columns[:-1], joint=None)
    crossed = learn_layout(
        table, cuts=[["segment"], ["prediction"], ["prediction", "side"], ["side"]], columns={}, target="prediction",
        task="classification",
    )  # fmt: skip
    works: dict[str, Work] = {
        "plain, arrays in columns": lambda: _plain(edges, values, segment),
        "fold without the joint column": lambda: fold(single, table, HOUR),
        "fold": lambda: fold(layout, table, HOUR),
        f"fold, {len(crossed.cuts)} cuts, {len(crossed.segments)} segments": lambda: fold(crossed, table, HOUR),
    }
    print("Whole fold of an Arrow table")
    _compare(works)


def _memory(layout: Layout, rng: np.random.Generator) -> None:
    """Peak memory while a stream is folded batch by batch."""
    profiles: dict[int, FloatArray] = {}
    begun = process_time()
    print(f"Memory over {LONG:,} rows in batches of {ROWS:,}, {HOUR // 60} batches a slice of an hour")
    batches = [_table(rng, ROWS) for _ in range(4)]
    for done in range(0, LONG, ROWS):
        batch = batches[done // ROWS % 4]
        times = pa.array(np.full(ROWS, (START + done // ROWS * 60) * 1_000_000), pa.timestamp("us", "UTC"))
        add(profiles, fold(layout, batch.set_column(0, "timestamp", times), HOUR))
        if (done + ROWS) % (LONG // 3) == 0:
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            print(f"  {done + ROWS:>9,} rows  {peak:6.0f} MB at most, profiles {_megabytes(profiles):4.0f} MB")
    print(f"  {LONG / (process_time() - begun):,.0f} rows/s")


def _megabytes(profiles: dict[int, FloatArray]) -> float:
    return sum(profile.nbytes for profile in profiles.values()) / 2**20


def _table(rng: np.random.Generator, rows: int) -> pa.Table:
    return pa.table(
        {
            "timestamp": pa.array(np.full(rows, START * 1_000_000), pa.timestamp("us", "UTC")),
            "prediction": pa.array(rng.choice(["a", "b"], rows).tolist()),
            "tag_segment": pa.array([f"s{i}" for i in rng.integers(0, SEGMENTS, rows)]),
            "tag_side": pa.array(rng.choice(["left", "right"], rows).tolist()),
            **{f"feature_x{i}": rng.normal(size=rows) for i in range(COLUMNS)},
        }
    )


def _plain(edges: list[Float32Array], values: list[Float32Array], segment: IntArray) -> list[IntArray]:
    counted = []
    for inner, column in zip(edges, values, strict=True):
        bins = len(inner) + 1
        places = segment * bins + np.searchsorted(inner, column, side="right")
        counted.append(np.bincount(places, minlength=SEGMENTS * bins).reshape(-1, bins))
    return counted


def _compare(works: dict[str, Work]) -> None:
    """Medians of turns that alternate, so that a busy machine is busy for all of them."""
    seconds: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(RUNS):
        for name, work in works.items():
            begun = process_time()
            for _ in range(LOOPS):
                work()
            seconds[name].append((process_time() - begun) / LOOPS)
    first = median(next(iter(seconds.values())))
    for name, times in seconds.items():
        taken = median(times)
        print(f"  {name:<34} {ROWS / taken:>12,.0f} rows/s {taken / ROWS / COLUMNS * 1e9:6.2f} ns a value "
              f"{first / taken:5.2f} x")  # fmt: skip
    print()


if __name__ == "__main__":
    main()
