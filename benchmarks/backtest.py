"""What a backtest costs: CPU of 720 hourly evaluations of 50 segments x 20 columns, of one policy and of two.

Profiles as a fold would have stored them, with labels a day late; one segment drifts in the middle, and its labels show
it. Run: python benchmarks/backtest.py
"""

import resource
from dataclasses import replace
from datetime import UTC, datetime
from statistics import median
from time import process_time

import numpy as np
from machine import described
from traffic import FloatArray, Traffic, Wobbling, layout_of

from monitors.baseline.baselines import of_profiles
from monitors.counting.layouts import Layout
from policies.file.parse import parse
from policies.file.policy import Policy
from policies.past.backtest import backtest
from policies.past.course import Course
from policies.past.past import Past, Reign

HOURS, BEFORE, WEEKS = 720, 168, 4
SEGMENTS, COLUMNS = 50, 20
RUNS = 3
TARGET_SECONDS = 10
POLICY = """
model: m
task: {kind: classification}
segments: [[segment]]
window: {slice: 1h, label_delay: 1d}
evaluate: 1h
retrain: {requires: {labelled_rows: 500}, cooldown: 3d, budget: {count: 4, per: 30d}}
"""


def labels(layout: Layout, rows: int, wrong: FloatArray, rng: np.random.Generator) -> FloatArray:
    """A labelled profile [S, width] of one slice: `rows` labels a segment, of which a part is `wrong` [S - 2]."""
    cells = layout.labelled_cells
    found = np.zeros((len(layout.segments), cells.width))
    found[1:-1, cells.start("rows")] = rows
    found[1:-1, cells.start("correct")] = rng.binomial(rows, 1 - wrong)
    found[0] = found[1:-1].sum(axis=0)
    return found


def past(rows: int, season: str, seed: int = 0) -> Past:
    """Four weeks of a baseline, then a week for the windows and a month to look at, `rows` rows a segment and hour."""
    rng = np.random.default_rng(seed)
    layout = layout_of(SEGMENTS, COLUMNS)
    source = Traffic(layout, rows, Wobbling(0.1, 0.03, 0.03), rng)
    fine = np.full(SEGMENTS, 0.1)
    usual = dict(source.slices(WEEKS * 168))
    answered = {start: labels(layout, rows // 4, fine, rng) for start in usual}
    baseline = of_profiles(layout, usual, answered, model="m", version="1", season=season)
    profiles = dict(source.slices(BEFORE + HOURS // 2))
    source.shift[7, :4], wrong = 0.6, fine.copy()
    wrong[7] = 0.2
    changed = dict(source.slices(HOURS // 2))
    labelled = {start: labels(layout, rows // 4, fine, rng) for start in profiles}
    labelled |= {start: labels(layout, rows // 4, wrong, rng) for start in changed}
    profiles |= changed
    since, until = (datetime.fromtimestamp(3600 * (WEEKS * 168 + BEFORE + hours), UTC) for hours in (0, HOURS))
    return Past("m", since, until, (Reign(baseline, since, until, profiles, labelled),))


def timed(policies: list[Policy], known: Past) -> tuple[float, list[Course]]:
    begun = process_time()
    courses = backtest(policies, known)
    return process_time() - begun, courses


def show(rows: int, season: str) -> None:
    known, policy = past(rows, season), parse(POLICY)
    other = replace(policy, persist=6, drift=replace(policy.drift, threshold=0.1))
    one, two = [], []
    for _ in range(RUNS):
        seconds, courses = timed([policy], known)
        one.append(seconds)
        two.append(timed([policy, other], known)[0])
    alone, more = median(one), median(two) - median(one)
    told = ", ".join(f"after {each.at - known.since} in {'+'.join(each.segments)}" for each in courses[0].retrainings)
    print(f"{rows} rows a segment and hour, season {season}, {courses[0].evaluations} evaluations, medians of {RUNS}:")
    print(f"  one policy {alone:.1f} s of CPU ({TARGET_SECONDS} s allowed), {alone / HOURS * 1e3:.1f} ms an evaluation")
    print(f"  a second one that asks the same question {more:.1f} s more ({more / alone:.0%})")
    print(f"  it would have retrained {told or 'never'}", flush=True)


def main() -> None:
    print(described(), flush=True)
    for rows, season in ((100, "none"), (1_000, "none"), (100, "hour_of_day")):
        show(rows, season)
    print(f"largest memory of the process: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:,.0f} MB")


if __name__ == "__main__":
    main()
