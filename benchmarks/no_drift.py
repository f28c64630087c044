"""Alarms while nothing drifts: how often a month of hourly readings of 50 segments x 20 columns ends in an episode.

An episode is a segment with size and evidence on two evaluations running, as the default policy counts them.
Run: python benchmarks/no_drift.py iid | wobbling [MONTHS [FIRST_SEED]] | control | streams
"""

import argparse
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from machine import described
from numpy.typing import NDArray
from pyarrow import parquet
from traffic import FloatArray, Traffic, Wobbling, layout_of

from monitors.baseline.baselines import Baseline, build, of_profiles
from monitors.compare import Comparison, Question
from monitors.counting.profiles import fold
from monitors.counting.slices import LONGEST
from policies.assessment import assess
from policies.file.parse import parse
from policies.file.policy import Policy

SEGMENTS, COLUMNS, MONTH, WEEK = 50, 20, 720, 168
ROWS, BASELINES = (50, 200, 1_000, 5_000), (500, 2_000, 10_000)
BREATHING = Wobbling(season=0.15, daily=0.1, hourly=0.1)
POLICY = parse("{model: m, task: {kind: classification}, evaluate: 1h, segments: [[segment]]}")
IntArray = NDArray[np.int64]
DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


class Watch:
    """Counts episodes of drift over evaluations one after the other."""

    def __init__(self, baseline: Baseline, policy: Policy = POLICY) -> None:
        self._comparison, self._policy = Comparison.to(baseline), policy
        self._before = self._inside = np.zeros(len(baseline.layout.segments), dtype=bool)
        self.episodes = self.evaluations = 0
        self.strongest = -np.inf
        self.names: list[str] = []

    def look(self, profiles: Mapping[int, FloatArray], hour: int) -> None:
        at = datetime.fromtimestamp(hour * 3600, UTC)
        readings = self._comparison.read(
            profiles, {}, Question({}, "psi", self._policy.performance.metric, estimate=False), at
        )
        drift = assess(self._policy, readings, at).drift
        drifting = drift.drifting.any(axis=1)
        lasting = drifting & self._before
        began = lasting & ~self._inside
        self.names += [
            f"{readings.segments[s]}:{readings.drift.columns[int(np.nanargmax(readings.drift.evidence_ln[s]))]}"
            for s in np.flatnonzero(began)
        ]
        self.episodes += int(began.sum())
        self.evaluations += 1
        self._before, self._inside = drifting, lasting
        self.strongest = max(self.strongest, float(np.nanmax(readings.drift.segment_evidence_ln)))
        self.bar = drift.bar


def month(rows: int, history: int, wobbling: Wobbling, season: str, seed: int, learnt: Wobbling | None = None) -> Watch:
    """A month after a baseline of `history` hours, which breathed as `learnt` says if not like the month."""
    source = Traffic(layout_of(SEGMENTS, COLUMNS), rows, learnt or wobbling, np.random.default_rng(seed))
    named = {"model": "m", "version": "1", "season": season}
    watch = Watch(of_profiles(source.layout, dict(source.slices(history)), {}, **named))
    source.wobbling = wobbling
    profiles: dict[int, FloatArray] = {}
    for _ in range(MONTH):
        profiles |= source.slices(1)
        profiles = {start: p for start, p in profiles.items() if start >= (source.hour - WEEK) * 3600}
        watch.look(profiles, source.hour)
    return watch


def iid() -> None:
    print("independent rows, one month each, seed 0")
    for before in BASELINES:
        for rows in ROWS:
            if rows <= before:
                watch = month(rows, before // rows, Wobbling(), "none", 0)
                told = f"{rows:5} rows a segment and hour, baseline {before:6}"
                print(f"{told}: {watch.episodes} episodes, strongest e^{watch.strongest:.1f}", flush=True)


def wobbling(months: int, first: int) -> None:
    print(f"wobbling traffic ({BREATHING}), baseline of 8 weeks, season hour_of_day, 200 rows a segment and hour")
    total = 0
    for seed in range(first, first + months):
        watch = month(200, 8 * WEEK, BREATHING, "hour_of_day", seed)
        total += watch.episodes
        told = f"seed {seed}: {watch.episodes} episodes, strongest e^{watch.strongest:.1f} of e^{watch.bar:.1f}"
        print(f"{told}; so far {total} in {(seed + 1 - first) * SEGMENTS} segment-months", flush=True)


def control() -> None:
    """The wobbling month against a baseline that knows nothing of it: this has to alarm."""
    watch = month(200, 8 * WEEK, BREATHING, "hour_of_day", 0, learnt=Wobbling())
    print(f"control: wobbling traffic against a still baseline, seed 0: {watch.episodes} episodes in a month")


def streams(folder: Path) -> None:
    print("real streams, their years or weeks in a random order (seeds 0-4): half of them the baseline, half replayed")
    for name, step, block, season in (
        ("noaa_weather", 24, 365 * 24, "none"),
        ("metro_traffic", 1, WEEK, "hour_of_week"),
        ("bike_sharing", 1, WEEK, "hour_of_week"),
    ):
        for seed in range(5):
            watch = _replay(folder / f"{name}.parquet", step, block, season, seed)
            told = f"{name}, blocks of {block} hours, season {season}, seed {seed}"
            told += f": {watch.episodes} episodes in {watch.evaluations} evaluations {watch.names}"
            print(f"{told}, strongest e^{watch.strongest:.1f} of e^{watch.bar:.1f}", flush=True)


def _replay(file: Path, step: int, block: int, season: str, seed: int) -> Watch:
    """Rows `step` hours apart, in blocks of `block` hours; looked at every 84 hourly or 7 daily rows."""
    table = parquet.read_table(file)
    seconds = pc.cast(pc.cast(table["timestamp"], pa.timestamp("s")), pa.int64()).to_numpy()
    blocks, place = np.unique(seconds // (block * 3600), return_inverse=True)
    shuffled = np.random.default_rng(seed).permutation(len(blocks))[place] * block * 3600 + seconds % (block * 3600)
    order = np.argsort(shuffled, kind="stable")
    rows = _batch(table.take(pa.array(order)), shuffled[order])
    half = int(np.searchsorted(shuffled[order], len(blocks) // 2 * block * 3600))
    task = "regression" if pa.types.is_floating(rows["prediction"].type) else "classification"
    named = {"model": "m", "version": "1", "task": task, "season": season, "cuts": []}
    baseline = build(rows.slice(0, half), slice_seconds=step * 3600, **named)
    profiles = fold(baseline.layout, rows.slice(half), step * 3600)
    watch = Watch(baseline, parse(f"{{model: m, task: {{kind: {task}}}, evaluate: {step}h}}"))
    starts = sorted(profiles)
    for end in range(WEEK, len(starts), 7 if step > 1 else WEEK // 2):
        shown = starts[max(0, end - LONGEST) : end]
        watch.look({s: profiles[s] for s in shown}, starts[end - 1] // 3600 + step)
    return watch


def _batch(table: pa.Table, seconds: IntArray) -> pa.Table:
    """Rows as predictions that are always right, at new times."""
    label = next(c for c in ("label", "rentals", "traffic_volume") if c in table.column_names)
    values = table.column(label)
    is_number = pa.types.is_floating(values.type)
    columns = {"timestamp": pa.array(seconds * 1_000_000, pa.timestamp("us", "UTC"))}
    columns["prediction"] = pc.cast(values, pa.float64() if is_number else pa.string())
    for column in table.column_names:
        if column not in (label, "timestamp"):
            columns[f"feature_{column}"] = table[column]
    return pa.table(columns)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("iid", "wobbling", "control", "streams"))
    parser.add_argument("months", nargs="?", type=int, default=40)
    parser.add_argument("first", nargs="?", type=int, default=0)
    parser.add_argument("--data", type=Path, default=DATA, help="folder of the streams")
    asked = parser.parse_args()
    print(described())
    if asked.what == "wobbling":
        wobbling(asked.months, asked.first)
    elif asked.what == "streams":
        streams(asked.data)
    else:
        {"iid": iid, "control": control}[asked.what]()


if __name__ == "__main__":
    main()
