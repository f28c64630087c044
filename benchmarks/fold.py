"""Folding a batch for many segments and columns, in rows a second of one core.

Run: make bench
"""

from statistics import median
from time import process_time

import numpy as np
import pyarrow as pa

from monitors.layouts import learn_layout
from monitors.profiles import fold

ROWS, COLUMNS, SEGMENTS, RUNS = 10_000, 20, 50, 11


def main() -> None:
    rng = np.random.default_rng(0)
    columns = {f"feature_x{i}": rng.normal(size=ROWS) for i in range(COLUMNS)}
    table = pa.table(
        {
            "timestamp": pa.array(np.full(ROWS, 1_767_225_600_000_000), pa.timestamp("us", "UTC")),
            "prediction": pa.array(rng.choice(["a", "b"], ROWS).tolist()),
            "tag_segment": pa.array([f"s{i}" for i in rng.integers(0, SEGMENTS, ROWS)]),
            **columns,
        }
    )
    layout = learn_layout(table, cuts=[["segment"]], columns={}, target="prediction", task="classification")
    seconds = []
    for _ in range(RUNS):
        begun = process_time()
        fold(layout, table, 3600)
        seconds.append(process_time() - begun)
    print(f"fold of {ROWS} rows x {COLUMNS} columns x {SEGMENTS} segments: {ROWS / median(seconds):,.0f} rows/s")


if __name__ == "__main__":
    main()
