"""Alarms while nothing drifts: a month of hourly readings of 50 segments x 20 columns of independent rows.

An alarm is a segment with size and evidence, as a policy with its defaults counts them, persistence left out.
Run: python benchmarks/false_alarms.py [ROWS_A_SEGMENT_AND_HOUR [BASELINE_ROWS_A_SEGMENT [HOURS]]]
"""

import sys
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa

from monitors.baselines import build
from monitors.compare import Comparison, Question
from monitors.profiles import fold
from policies.assessment import assess
from policies.parse import parse

SEGMENTS, COLUMNS, START = 50, 20, 1_767_225_600
POLICY = parse("{model: m, task: {kind: classification}, evaluate: 1h, segments: [[segment]]}")


def rows(rng: np.random.Generator, count: int, hour: int) -> pa.Table:
    """`count` rows of each segment, within one hour."""
    total = count * SEGMENTS
    micros = np.full(total, (START + hour * 3600) * 1_000_000)
    columns = {f"feature_x{i}": rng.normal(size=total).astype(np.float32) for i in range(COLUMNS)}
    return pa.table(
        {
            "timestamp": pa.array(micros, pa.timestamp("us", "UTC")),
            "prediction": pa.array(rng.choice(["a", "b"], total).tolist()),
            "tag_segment": pa.array([f"s{i % SEGMENTS}" for i in range(total)]),
            **columns,
        }
    )


def main() -> None:
    count, before, hours = (int(a) for a in (*sys.argv[1:], *("50", "2000", "720")[len(sys.argv) - 1 :]))
    rng = np.random.default_rng(0)
    history = [rows(rng, count, hour) for hour in range(max(1, before // count))]
    began = len(history)
    baseline = build(pa.concat_tables(history), model="m", version="1", cuts=[["segment"]], task="classification")
    comparison, profiles = Comparison.to(baseline), {}
    alarms = faults = 0
    for hour in range(began, began + hours):
        profiles |= fold(baseline.layout, rows(rng, count, hour), 3600)
        at = datetime.fromtimestamp(START + (hour + 1) * 3600, UTC)
        readings = comparison.read(profiles, {}, Question({}, "psi", "accuracy"), at)
        found = assess(POLICY, readings, at)
        alarms += int(found.drift.drifting.any(axis=1).sum())
        faults += int(found.quality.cells.any(axis=(1, 2)).sum())
    told = f"{count} rows a segment and hour, baseline of {began * count}, {hours} hours"
    print(f"{told}: {alarms} segment alarms, {faults} faults in {hours * (SEGMENTS + 1)} segment readings")


if __name__ == "__main__":
    main()
