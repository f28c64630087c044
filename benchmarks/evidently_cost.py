"""CPU of one look at every segment: Tidegate against Evidently's report per segment, and its bare statistics.

The same rows in one run: 100,000 now and as many before, 50 segments, 16 numbers and 4 categories, a day of hourly
slices. Tidegate folds all rows and reads every window, statistic, evidence and fault of all segments and of their
whole. Evidently gets its rows ready cut by segment; its report is `Report([DataDriftPreset()])` with the defaults,
without the HTML. CPU of all threads; imports are left out.
Run: python benchmarks/evidently_cost.py [ROWS [REPORTS]]
"""

import os
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from statistics import median

import numpy as np
import pandas as pd
import pyarrow as pa
from machine import described
from threadpoolctl import threadpool_limits

from monitors.baseline.baselines import build
from monitors.compare import Comparison, Question
from monitors.counting.profiles import fold

SEGMENTS, NUMBERS, CATEGORIES, HOURS, START = 50, 16, 4, 24, 1_767_225_600
SEED = 0


def rows(rng: np.random.Generator, count: int, began: int) -> pa.Table:
    """`count` rows over a day, segments in turn."""
    seconds = began + np.arange(count) * (HOURS * 3600) // count
    numbers = {f"feature_x{i}": rng.normal(size=count) for i in range(NUMBERS)}
    categories = {f"feature_k{i}": rng.choice([f"v{v}" for v in range(8)], count) for i in range(CATEGORIES)}
    return pa.table(
        {
            "timestamp": pa.array(seconds * 1_000_000, pa.timestamp("us", "UTC")),
            "prediction": rng.choice(["a", "b"], count),
            "tag_segment": [f"s{i % SEGMENTS}" for i in range(count)],
            **numbers,
            **categories,
        }
    )


def seconds_of(work: Callable[[], object]) -> float:
    """CPU seconds of one call, all threads together."""
    began = time.process_time()
    work()
    return time.process_time() - began


def by_segment(table: pa.Table) -> list[pd.DataFrame]:
    """The rows of each segment with the columns that Evidently compares."""
    frame = table.to_pandas()
    features = [name for name in frame.columns if name.startswith("feature_")]
    return [part[features].reset_index(drop=True) for _, part in frame.groupby("tag_segment")]


def tidegate(before: pa.Table, now: pa.Table) -> tuple[float, float, float]:
    """CPU of building the baseline, of folding and of reading: medians of three, seven and seven."""

    def start() -> Comparison:
        return Comparison.to(build(before, model="m", version="1", cuts=[["segment"]], task="classification"))

    comparison = start()
    at = datetime.fromtimestamp(START + 2 * HOURS * 3600, UTC)

    profiles = fold(comparison.baseline.layout, now, 3600)

    def read() -> None:
        readings = comparison.read(profiles, {}, Question({}, "psi", "accuracy"), at)
        if np.isnan(readings.drift.size[readings.rows > 0]).any():
            raise SystemExit("a column was not read: this would compare nothing")

    return (
        median(seconds_of(start) for _ in range(3)),
        median(seconds_of(lambda: fold(comparison.baseline.layout, now, 3600)) for _ in range(7)),
        median(seconds_of(read) for _ in range(7)),
    )


def reports(before: list[pd.DataFrame], now: list[pd.DataFrame]) -> Iterator[float]:
    """CPU of Evidently's report of each segment."""
    from evidently import Dataset, Report  # noqa: PLC0415  the environment must be set before
    from evidently.presets import DataDriftPreset  # noqa: PLC0415  same

    for reference, current in zip(before, now, strict=True):
        yield seconds_of(
            lambda a=current, b=reference: (
                Report([DataDriftPreset()])  # type: ignore[misc]
                .run(Dataset.from_pandas(a), Dataset.from_pandas(b))
                .dict()
            )
        )


def bare(before: list[pd.DataFrame], now: list[pd.DataFrame], numbers: str, categories: str) -> float:
    """CPU of Evidently's bare statistics, column by column of all segments, the median of three."""
    from evidently.legacy.calculations import stattests  # noqa: PLC0415  the environment must be set before
    from evidently.legacy.core import ColumnType  # noqa: PLC0415  same

    def all_columns() -> None:
        for reference, current in zip(before, now, strict=True):
            for name in reference.columns:
                is_number = name.startswith("feature_x")
                test = getattr(stattests, f"{numbers if is_number else categories}_stat_test").func
                test(reference[name], current[name], ColumnType.Numerical if is_number else ColumnType.Categorical, 0.1)

    return median(seconds_of(all_columns) for _ in range(3))


def main() -> None:
    count, wanted = (int(a) for a in (*sys.argv[1:], *("100000", str(SEGMENTS))[len(sys.argv) - 1 :]))
    os.environ["DO_NOT_TRACK"] = "1"
    warnings.simplefilter("ignore")  # Evidently's, which are not what is measured
    rng = np.random.default_rng(SEED)
    before, now = rows(rng, count, START), rows(rng, count, START + HOURS * 3600)
    print(described())
    print(f"seed {SEED}; {count} rows, {SEGMENTS} segments, {NUMBERS} + {CATEGORIES} columns; CPU seconds")
    with threadpool_limits(1):
        learn, folding, reading = tidegate(before, now)
        look = folding + reading
        print(f"tidegate: fold {folding:.3f} + read {reading:.3f} = {look:.3f}; baseline, once a version, {learn:.3f}")
        old, new = by_segment(before), by_segment(now)
        for numbers, categories in (("psi", "psi"), ("wasserstein", "jensenshannon")):
            cost = bare(old, new, numbers, categories)
            print(f"evidently's bare {numbers} and {categories}: {cost:.3f}, {cost / look:.1f} times")
        each = list(reports(old[:wanted], new[:wanted]))
        cost = sum(each) * SEGMENTS / len(each)
        how = "all" if len(each) == SEGMENTS else f"{len(each)}, scaled up,"
        print(f"evidently's reports, {how} of {SEGMENTS} segments: {cost:.1f}, median {median(each):.3f} a segment,")
        print(f"  {cost / look:.0f} times; with the baseline counted in {cost / (look + learn):.0f} times")


if __name__ == "__main__":
    main()
