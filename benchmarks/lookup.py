"""Bin lookup through the table against a binary search: ratio of medians within one run.

Run: make bench
"""

from statistics import median
from timeit import repeat

import numpy as np

from monitors.bins import Lookup, quantile_edges

ROWS, RUNS, LOOPS = 10_000, 15, 50


def main() -> None:
    values = np.random.default_rng(0).normal(size=ROWS).astype(np.float32)
    lookup = Lookup.of(quantile_edges(values, 10))
    table = repeat(lambda: lookup.bins(values), number=LOOPS, repeat=RUNS)
    search = repeat(lambda: np.searchsorted(lookup.edges, values, side="right"), number=LOOPS, repeat=RUNS)
    micros = [median(times) / LOOPS * 1e6 for times in (table, search)]
    print(f"lookup of {ROWS} values: table {micros[0]:.0f} us, searchsorted {micros[1]:.0f} us")
    print(f"searchsorted / table: {micros[1] / micros[0]:.2f}")


if __name__ == "__main__":
    main()
