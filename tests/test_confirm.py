from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from streams import START, predictions

from monitors.baseline.baselines import build
from monitors.counting.labelled import fold_labelled
from monitors.counting.scores import METRICS
from monitors.reading.rises import rose_less_ln, rose_ln
from policies.confirm import Confirmation, confirm
from policies.file.parse import parse

POLICY = "{model: m, task: {kind: classification}, window: {label_delay: 2d}, performance: {max_drop: 0.05}}"
BASELINE = build(predictions(4000, seed=9), model="m", version="1", cuts=[["group"]], task="classification")
DAY = timedelta(days=1)
CHANGED = datetime.fromtimestamp(START, UTC) + 4 * DAY
DECIDED = CHANGED + 2 * DAY
LATER = DECIDED + 3 * DAY


def labels(error: float, share: float = 1.0, seed: int = 1, **more) -> dict:
    """Labels of two quiet days and of two with this share of errors, of which `share` have come."""
    before = predictions(2880, seed=seed, start=int(CHANGED.timestamp()) - 2 * 86_400)
    after = predictions(2880, seed=seed + 1, error=error, start=int(CHANGED.timestamp()), **more)
    came = pa.concat_tables([before, after.slice(0, int(2880 * share))])
    return fold_labelled(BASELINE.layout, came, 3600)


def judged(labelled: dict, segments=("all",), at=LATER, policy=POLICY, **options) -> Confirmation:
    return confirm(parse(policy), BASELINE, labelled, segments, CHANGED, DECIDED, at, **options)


def test_a_real_loss_is_confirmed_with_its_numbers():
    found = judged(labels(error=0.2))
    assert (found.outcome, found.segment, found.labelled) == ("confirmed", "all", 2880)
    assert found.drop == pytest.approx(0.1, abs=0.03)
    assert found.evidence_ln > 3 > found.against_ln
    assert "2880 labels of the span" in found.text


def test_a_harmless_change_is_unfounded_once_the_labels_had_their_time():
    harmless = labels(error=0.1, shift=2.0)
    early = judged(harmless, at=DECIDED + timedelta(days=1))
    assert (early.outcome, early.settled_at) == ("open", None)
    found = judged(harmless)
    assert (found.outcome, found.settled_at) == ("unfounded", DECIDED + 2 * DAY)
    assert found.against_ln > 3 > found.evidence_ln


def test_without_labels_nothing_is_said():
    assert judged(labels(error=0.2, share=0)).outcome == "open"
    assert judged({}).text == "no label of the span has come yet"


def test_a_few_labels_leave_it_open_even_late():
    assert judged(labels(error=0.1, share=0.05), at=LATER + 30 * DAY).outcome == "open"


def test_labels_of_other_times_and_of_broken_slices_do_not_count():
    bad = labels(error=0.5)
    after = {start: profile for start, profile in bad.items() if start >= DECIDED.timestamp()}
    assert not after
    moved = {start + 2 * 86_400: profile for start, profile in bad.items()}
    assert judged(moved).drop == pytest.approx(0, abs=0.03)
    assert judged(bad, left_out=set(bad)).outcome == "open"


def test_one_of_several_segments_is_enough_to_confirm_and_all_of_them_to_refute():
    worse_in_b = predictions(4320, seed=5, start=int(CHANGED.timestamp()), step=40)
    wrong = pa.array(np.where(np.arange(4320) % 3 == 0, "x", worse_in_b.column("label").to_pylist()).tolist())
    in_b = pa.compute.equal(worse_in_b.column("tag_group"), "b")
    label = pa.compute.if_else(in_b, wrong, worse_in_b.column("label"))
    table = worse_in_b.set_column(worse_in_b.column_names.index("label"), "label", label)
    labelled = fold_labelled(BASELINE.layout, table, 3600)
    assert judged(labelled, ("group=a",)).outcome == "unfounded"
    found = judged(labelled, ("group=a", "group=b"))
    assert (found.outcome, found.segment) == ("confirmed", "group=b")
    assert judged(labelled, ("group=gone", "group=a")).segment == "group=a"
    assert judged(labelled, ("group=gone",)).outcome == "open"


def test_a_segment_with_a_limit_of_its_own_is_held_against_that():
    more = "segments: [[group]], overrides: [{segment: group=b, performance: {max_drop: 0.3}}]"
    own = POLICY.replace("window:", f"{more}, window:")
    lost = labels(error=0.25)
    assert (judged(lost, ("group=b",)).outcome, judged(lost, ("group=b",)).limit) == ("confirmed", 0.05)
    found = judged(lost, ("group=b",), policy=own)
    assert (found.outcome, found.limit) == ("unfounded", 0.3)


def test_it_is_settled_by_the_first_slices_that_show_it_and_their_label_delay():
    found = judged(labels(error=0.35))
    assert CHANGED + 2 * DAY < found.settled_at < DECIDED + 2 * DAY
    until = found.settled_at - 2 * DAY
    less = {s: profile for s, profile in labels(error=0.35).items() if s < until.timestamp() - 3600}
    assert judged(less).outcome == "open"


@pytest.mark.parametrize("metric", [name for name, how in METRICS.items() if how.task == "classification"])
def test_every_metric_tells_a_loss_from_none(metric):
    drop = 0.3 if METRICS[metric].worse == "relative" else 0.15
    policy = POLICY.replace("max_drop: 0.05", f"max_drop: {drop}, metric: {metric}")
    assert judged(labels(error=0.45), policy=policy).outcome == "confirmed"
    assert judged(labels(error=0.1), policy=policy).outcome == "unfounded"


@given(st.integers(0, 10_000))
def test_chance_confirms_and_refutes_rarely(seed):
    """The e-values of both sides are at most 1 on average where their claims are just so."""
    rng = np.random.default_rng(seed)
    usual = tuple(np.array(v) for v in (20_000.0, 2_000.0, 2_000.0))
    wrong = rng.binomial(500, [[0.1], [0.15]], (2, 400)).astype(float)
    still, lost = ((np.full(400, 500.0), each, each) for each in wrong)
    assert np.exp(rose_ln(still, usual, np.zeros(400), "error")).mean() < 2
    assert np.exp(rose_less_ln(lost, usual, np.zeros(400), "error", np.full(400, 0.05))).mean() < 2
    assert (
        rose_less_ln(still, usual, np.zeros(400), "error", np.full(400, 0.05))
        > rose_ln(still, usual, np.zeros(400), "error")
    ).mean() > 0.8


@pytest.mark.parametrize("factor", [0.5, 1.0, 20.0])
def test_losses_of_any_unit_say_the_same(factor):
    rng = np.random.default_rng(3)

    def sums(mean, rows):
        losses = factor * rng.gamma(2, mean / 2, rows)
        return tuple(np.array(v) for v in (float(rows), losses.sum(), (losses**2).sum()))

    usual, rise = sums(1.0, 8000), np.array(0.2 * factor)
    assert rose_less_ln(sums(1.0, 2000), usual, np.array(0.0), "absolute", rise) > 3
    assert rose_less_ln(sums(1.3, 2000), usual, np.array(0.0), "absolute", rise) < 0
    assert rose_ln(sums(1.3, 2000), usual, np.array(0.0), "absolute") > 3
