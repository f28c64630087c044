"""Alarms of the twin test while nothing changes: how often fresh twins beat a stale one that is no older than they are.

The world stays as it is: a curved border between two classes, with 2 to 30 % of wrong labels. The baseline has 2,000
rows, and a test comes every 500 labels. An alarm is a run of tests with a lead and evidence above the policy's bar.

Run: python benchmarks/twin.py [WORLDS [SEED]]. 100 worlds take about two minutes of a core.
"""

import argparse
from dataclasses import replace
from datetime import timedelta
from itertools import pairwise

import numpy as np
import pyarrow as pa
from machine import described
from threadpoolctl import threadpool_limits

from monitors.reading.twin import read_twin
from monitors.readings import FloatArray
from policies.bars import twin_bar
from policies.file.parse import parse
from service.training.comparing import outcomes
from service.training.models import Model
from service.training.trainers import refit
from service.training.twins import TEST_LABELS, TWIN_ROWS

TESTS = 48
"""Tests of one baseline: a model that is this old has seen a release or two in most systems."""
FEATURES = 4
MINUTES_A_LABEL = (1, 30)
POLICY = parse("{model: twin, task: {kind: classification}}")
_YEAR = timedelta(days=365.25)


def make_rows(rng: np.random.Generator, border: FloatArray, noise: float, count: int) -> pa.Table:
    """Rows of the world: which side of the border they are on, some of them told wrong."""
    x = rng.normal(size=(count, FEATURES))
    side = (x @ border + 0.5 * np.sin(2 * x[:, 0]) > 0) ^ (rng.random(count) < noise)
    features = {f"feature_x{at}": x[:, at] for at in range(FEATURES)}
    return pa.table({**features, "label": np.where(side, "a", "b")})


def teach(rows: pa.Table) -> Model:
    return refit(rows, task="classification", step=2)


def live(rng: np.random.Generator) -> list[tuple[int, int]]:
    """The wins and losses of each test of one world."""
    border, noise = rng.normal(size=FEATURES), float(rng.choice([0.02, 0.1, 0.2, 0.3]))
    stale = teach(make_rows(rng, border, noise, 2_000).slice(2_000 - TWIN_ROWS))
    stream = make_rows(rng, border, noise, TWIN_ROWS + TEST_LABELS * TESTS)
    found = []
    for at in range(TESTS):
        fresh = teach(stream.slice(TEST_LABELS * at, TWIN_ROWS))
        test = stream.slice(TWIN_ROWS + TEST_LABELS * at, TEST_LABELS)
        ours, theirs = (outcomes("classification", m.predict(test).column("prediction"), test) for m in (fresh, stale))
        found.append((int((ours > theirs).sum()), int((ours < theirs).sum())))
    return found


def count_alarms(tests: list[tuple[int, int]], apart: timedelta) -> int:
    """How often the reading rises above its bar."""
    readings = [read_twin(tests[:upto], TEST_LABELS) for upto in range(1, len(tests) + 1)]
    dated = [replace(reading, apart=apart) for reading in readings if reading]
    above = [False, *(each.wins > each.losses and each.evidence_ln >= twin_bar(POLICY, each) for each in dated)]
    return sum(now and not before for before, now in pairwise(above))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("worlds", nargs="?", type=int, default=300)
    parser.add_argument("seed", nargs="?", type=int, default=0)
    asked = parser.parse_args()
    print(described())
    rng = np.random.default_rng(asked.seed)
    with threadpool_limits(1):
        worlds = [live(rng) for _ in range(asked.worlds)]
    tests = TESTS * asked.worlds
    print(f"nothing changes; {asked.worlds} worlds, {tests:,} tests of {TEST_LABELS} labels, seed {asked.seed}")
    for minutes in MINUTES_A_LABEL:
        apart = timedelta(minutes=minutes * TEST_LABELS)
        alarms = sum(count_alarms(world, apart) for world in worlds)
        said = f"{alarms} alarms, {alarms / tests * (_YEAR / apart):.2f} a year (1 a year is promised)"
        print(f"  a label in {minutes} minutes: {said}")


if __name__ == "__main__":
    main()
