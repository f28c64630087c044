"""Bin lookup through the table against a binary search, for columns of several shapes in one run.

Run: make bench
"""

from statistics import median
from timeit import repeat

import numpy as np
from machine import described

from monitors.columns.bins import Lookup, quantile_edges

ROWS, RUNS, LOOPS, SEED = 10_000, 31, 10, 0


def main() -> None:
    print(described())
    print(f"{ROWS:,} values, 10 bins; medians of {RUNS}, seed {SEED}\n")
    rng = np.random.default_rng(SEED)
    columns = {
        "normal": rng.normal(size=ROWS),
        "log-normal": rng.lognormal(size=ROWS),
        "normal, 290 +- 10": rng.normal(290, 10, ROWS),
        "prices": np.round(rng.lognormal(3, 1, ROWS), 2),
        "flags": rng.integers(0, 2, ROWS),
        "counts, mean 3": rng.poisson(3, ROWS),
        "counts, mean 1,000": rng.poisson(1_000, ROWS),
        "half of them zero": np.where(rng.random(ROWS) < 0.5, 0, rng.exponential(size=ROWS)),
        "years": rng.integers(1990, 2025, ROWS),
        "unix seconds": rng.uniform(1.7e9, 1.71e9, ROWS),
    }
    for name, values in columns.items():
        _compare(name, values.astype(np.float32))


def _compare(name: str, values: np.ndarray) -> None:
    lookup = Lookup.of(quantile_edges(values, 10))
    searched = lookup.table[(values - lookup.centre).view(np.uint32) >> 16] == lookup.mark
    by_table = median(repeat(lambda: lookup.bins(values), number=LOOPS, repeat=RUNS))
    by_search = median(repeat(lambda: np.searchsorted(lookup.edges, values, side="right"), number=LOOPS, repeat=RUNS))
    nanos = [seconds / LOOPS / ROWS * 1e9 for seconds in (by_table, by_search)]
    print(
        f"{name:<20} table {nanos[0]:5.1f} ns a value, searchsorted {nanos[1]:5.1f} ns: {by_search / by_table:5.1f} x, "
        f"{searched.mean():5.1%} searched"
    )


if __name__ == "__main__":
    main()
