"""Rows from a change of one column of one segment until it is seen, among 50 segments x 20 columns read every hour.

`evident`: size and evidence at one evaluation; `drifting`: on two running, as the default policy asks. Medians over
segments and seeds; the columns beside it are of ../docs/reference/statistics.md.
Run: python benchmarks/delay.py [SEEDS]
"""

import sys
from datetime import UTC, datetime

import numpy as np
from machine import described
from traffic import FloatArray, Traffic, Wobbling, layout_of

from monitors.baseline.baselines import of_profiles
from monitors.compare import Comparison, Question
from policies.assessment import assess
from policies.file.parse import parse

SEGMENTS, COLUMNS, WEEK, MOST_ROWS = 50, 20, 168, 8_000
BASELINE = 10_000
CHANGED = range(0, SEGMENTS, 5)
"""Segments that change, each for itself: a tenth of all."""
NUMBER = 5
POLICY = parse("{model: m, task: {kind: classification}, evaluate: 1h, segments: [[segment]]}")
CHANGES = (
    ("mean + .5 sd", "shift", 0.5),
    ("mean + .25 sd", "shift", 0.25),
    ("prior + 20 points", "prior", 0.2),
    ("prior + 10 points", "prior", 0.1),
)


def delays(rows: int, kind: str, size: float, seed: int) -> tuple[FloatArray, FloatArray]:
    """Rows until evident and until drifting, for each changed segment; infinite where it was not seen."""
    source = Traffic(layout_of(SEGMENTS, COLUMNS), rows, Wobbling(), np.random.default_rng(seed))
    history = dict(source.slices(BASELINE // rows))
    comparison = Comparison.to(of_profiles(source.layout, history, {}, model="m", version="1"))
    profiles = dict(source.slices(WEEK))
    if kind == "shift":
        source.shift[CHANGED, NUMBER] = size
    else:
        source.prior[CHANGED] = size
    at_first, lasting = np.full(len(CHANGED), np.inf), np.full(len(CHANGED), np.inf)
    before = np.zeros(len(CHANGED), dtype=bool)
    for hour in range(1, MOST_ROWS // rows + 1):
        profiles |= source.slices(1)
        profiles = {start: p for start, p in profiles.items() if start >= (source.hour - WEEK) * 3600}
        at = datetime.fromtimestamp(source.hour * 3600, UTC)
        readings = comparison.read(profiles, {}, Question({}, "psi", "accuracy", estimate=False), at)
        now = assess(POLICY, readings, at).drift.drifting.any(axis=1)[np.asarray(CHANGED) + 1]
        at_first = np.where(now, np.minimum(at_first, hour * rows), at_first)
        lasting = np.where(now & before, np.minimum(lasting, hour * rows), lasting)
        before = now
        if np.isfinite(lasting).all():
            break
    return at_first, lasting


def main() -> None:
    seeds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    print(described())
    print(f"baseline of {BASELINE} rows a segment, {seeds * len(CHANGED)} changes each, seeds 0-{seeds - 1}")
    for rows in (50, 100, 200, 1_000):
        for name, kind, size in CHANGES:
            found = [delays(rows, kind, size, seed) for seed in range(seeds)]
            evident, drifting = (np.median(np.concatenate(times)) for times in zip(*found, strict=True))
            print(
                f"{rows:5} rows an hour, {name:17}: evident after {evident:6.0f}, drifting after {drifting:6.0f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
