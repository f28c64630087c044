"""Each example policy over a month in which one thing happened: a loss in the middle, which labels show."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cache

import numpy as np
import pytest
from test_examples import EXAMPLES, policy_of

from monitors.baseline.baselines import Baseline, of_profiles
from monitors.columns.column import Column
from monitors.counting.layouts import Layout
from policies.file.policy import Policy
from policies.past.backtest import backtest
from policies.past.course import Course
from policies.past.past import Assumed, Past, Reign

BEGIN = datetime(2026, 3, 2, tzinfo=UTC)  # outside every freeze
SLICE, DAY = timedelta(hours=6), timedelta(days=1)
ROWS, BASELINE_DAYS, DAYS, LOSS_ON = 600, 30, 24, 8
BINS = 10


@cache
def layout_of(task: str) -> Layout:
    names = tuple(str(i) for i in range(BINS - 1))
    numbers = [Column(f"x{i}", f"feature_x{i}", "number", "", edges=tuple(range(BINS - 1))) for i in range(3)]
    output = Column("prediction", "prediction", "category", "", categories=names, known=frozenset(names))
    if task == "regression":
        output = Column("prediction", "prediction", "number", "", edges=tuple(range(BINS - 1)))
    return Layout(task, (output, *numbers), (), ())


def profile(layout: Layout, rng: np.random.Generator, *, moved: bool) -> np.ndarray:
    """Rows of one slice; all inputs move where something has."""
    found = np.zeros((1, layout.width))
    found[0, 0] = ROWS
    for place, offset in enumerate(layout.offsets[:-1]):
        shares = np.ones(BINS)
        shares[-1] = 0 if layout.columns[place].kind == "category" else 1
        if moved and place:
            shares = np.linspace(0.2, 1.8, BINS)
        found[0, offset : offset + BINS] = rng.multinomial(ROWS, shares / shares.sum())
    return found


def labels(layout: Layout, rng: np.random.Generator, *, moved: bool) -> np.ndarray:
    """One in ten is wrong, one in three after the loss; losses and errors about double."""
    cells = layout.labelled_cells
    found = np.zeros((1, cells.width))
    found[0, cells.start("rows")] = ROWS
    if layout.task == "regression":
        errors = rng.gamma(4.0, 0.5 if moved else 0.25, ROWS)
        actual = rng.normal(10, 3, ROWS)
        sums = {"absolute": errors, "squared": errors**2, "actual": actual, "actual_squared": actual**2}
        for name, values in sums.items():
            found[0, cells.start(name)] = values.sum()
        return found
    right = rng.binomial(ROWS, 0.67 if moved else 0.9)
    found[0, cells.start("correct")] = right
    found[0, cells.start("scored")] = ROWS
    for name, mean in (("log_loss", 0.8 if moved else 0.3), ("brier", 0.3 if moved else 0.1)):
        losses = rng.gamma(1.0, mean, ROWS)
        found[0, cells.start(name)], found[0, cells.start(f"{name}_squared")] = losses.sum(), (losses**2).sum()
    spread = np.full(cells.classes, 1 / cells.classes)
    for name, total in (("predicted", ROWS), ("actual", ROWS), ("hit", right)):
        found[0, cells.parts[name][0]] = total * spread
    return found


@cache
def past_of(task: str, *, loses: bool) -> tuple[Baseline, dict, dict]:
    layout, rng = layout_of(task), np.random.default_rng(7)
    length = int(SLICE.total_seconds())
    first = int(BEGIN.timestamp())

    def slices(since: int, days: int, *, moved: bool) -> tuple[dict, dict]:
        starts = range(since, since + days * 86_400, length)
        return {s: profile(layout, rng, moved=moved) for s in starts}, {
            s: labels(layout, rng, moved=moved) for s in starts
        }

    known, answered = slices(first - BASELINE_DAYS * 86_400, BASELINE_DAYS, moved=False)
    baseline = of_profiles(layout, known, answered, model="m", version="1", slice_seconds=length)
    before, after = slices(first, LOSS_ON, moved=False), slices(first + LOSS_ON * 86_400, DAYS - LOSS_ON, moved=loses)
    return baseline, before[0] | after[0], before[1] | after[1]


def course(policy: Policy, *, loses: bool = True, label_delay: timedelta = DAY) -> Course:
    """What it would have done, evaluated with every slice."""
    baseline, profiles, labelled = past_of(policy.task.kind, loses=loses)
    baseline = replace(baseline, model=policy.model)
    since, until = BEGIN + 2 * DAY, BEGIN + DAYS * DAY
    past = Past(policy.model, since, until, (Reign(baseline, since, until, profiles, labelled),))
    [found] = backtest([replace(policy, evaluate=SLICE)], past, Assumed(label_delay, timedelta(hours=2)))
    return found


each_example = pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: file.stem)


@each_example
def test_a_loss_brings_one_retraining_that_the_labels_confirm(file):
    found = course(policy_of(file))
    lost = BEGIN + LOSS_ON * DAY
    assert len(found.retrainings) == 1
    [asked] = found.retrainings
    assert lost < asked.at < BEGIN + DAYS * DAY
    assert asked.segments == ("all",)
    assert asked.change_started == pytest.approx(lost, abs=4 * SLICE)
    assert asked.confirmation == "confirmed"
    assert set(asked.reasons) <= {"performance_drop", "drift_with_estimated_drop"}


@each_example
def test_three_quiet_weeks_bring_none(file):
    found = course(policy_of(file), loses=False)
    assert found.retrainings == ()
    assert not [each for each in found.stretches if each.kind in {"held", "fault"}]
