from datetime import timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from policies.errors import HoldoutUnusable
from policies.file.policy import Gate
from policies.gate import ENOUGH_LN, judge, worse_evidence_ln

GATE = Gate()


def rows(both=0, champion_only=0, challenger_only=0, neither=0):
    """Paired 0/1 outcomes with these counts."""
    counts = [both, champion_only, challenger_only, neither]
    return np.repeat([1.0, 1.0, 0.0, 0.0], counts), np.repeat([1.0, 0.0, 1.0, 0.0], counts)


def joined(*parts):
    """Several segments' rows one after the other, with their masks."""
    champion, challenger = (np.concatenate([part[side] for part in parts]) for side in (0, 1))
    owner = np.repeat(np.arange(len(parts)), [len(part[0]) for part in parts])
    return champion, challenger, owner == np.arange(len(parts))[:, None]


def answers(verdict):
    return {segment.name: segment.answer for segment in verdict.segments}


def test_a_better_challenger_passes():
    verdict = judge(GATE, *rows(700, 20, 80, 200))
    assert verdict.passed
    whole = verdict.segments[0]
    assert (whole.name, whole.n, whole.champion, whole.challenger) == ("all", 1000, 0.72, 0.78)
    assert (round(whole.gain, 6), whole.answer, whole.labels_needed) == (0.06, "better_or_equal", 0)


def test_a_worse_challenger_is_refused():
    verdict = judge(GATE, *rows(700, 80, 20, 200))
    assert not verdict.passed
    assert {reason.code for reason in verdict.reasons if reason.met} == {"gain_below_minimum", "segment_worse"}


def test_a_small_clear_gain_on_few_rows_is_not_held_against_it():
    """4.3 points better on 137 rows: demanding significance refused this one, and cost a whole phase."""
    verdict = judge(GATE, *rows(90, 8, 14, 25))
    assert verdict.passed
    assert answers(verdict) == {"all": "better_or_equal"}


def test_a_gain_for_all_does_not_pay_for_a_segment_that_lost_and_the_segment_is_named():
    champion, challenger, members = joined(rows(600, 10, 200, 100), rows(200, 60, 0, 40))
    verdict = judge(GATE, champion, challenger, ("intent=fit", "intent=returns"), members)
    assert not verdict.passed
    assert answers(verdict) == {"all": "better_or_equal", "intent=fit": "better_or_equal", "intent=returns": "worse"}
    (reason,) = [reason for reason in verdict.reasons if reason.met]
    assert (reason.code, reason.segment) == ("segment_worse", "intent=returns")
    assert "intent=returns: the gain on 300 rows is -0.2000" in reason.text


def test_a_thin_segment_neither_blocks_nor_silently_passes():
    champion, challenger, members = joined(rows(600, 10, 200, 100), rows(0, 40, 0, 0))
    verdict = judge(GATE, champion, challenger, ("a", "b"), members)
    assert verdict.passed
    thin = verdict.segments[2]
    assert (thin.answer, thin.labels_needed) == ("not_enough_labels", 60)
    assert verdict.unsettled == ("b",)
    assert [reason.segment for reason in verdict.reasons if reason.met] == ["b"]


def test_a_drop_that_is_not_proven_asks_for_about_as_many_labels_as_would_prove_it():
    verdict = judge(Gate(min_gain=-1), *rows(180, 16, 6, 20))
    (whole,) = verdict.segments
    assert whole.gain < -GATE.max_segment_drop
    assert whole.answer == "not_enough_labels"
    more = 1 + whole.labels_needed / whole.n
    settled = judge(Gate(min_gain=-1), *rows(*(round(count * more) for count in (180, 16, 6, 20))))
    assert answers(settled) == {"all": "worse"}


def test_a_segment_without_rows_asks_for_labels():
    champion, challenger = rows(100, 0, 10, 0)
    verdict = judge(GATE, champion, challenger, ("empty",), np.zeros((1, 110), bool))
    empty = verdict.segments[1]
    assert (empty.n, empty.champion, empty.gain, empty.answer) == (0, None, None, "not_enough_labels")
    assert empty.labels_needed == 100


def test_the_policy_may_ask_for_a_gain():
    assert not judge(Gate(min_gain=0.02), *rows(900, 0, 10, 90)).passed
    assert judge(Gate(min_gain=0.01), *rows(900, 0, 10, 90)).passed


def test_equal_models_pass_with_the_default_gate():
    assert judge(GATE, *rows(600, 30, 30, 340)).passed


def test_cases_that_must_pass_and_a_latency_are_judged_along():
    better = rows(700, 20, 80, 200)
    assert not judge(GATE, *better, failed_cases=1).passed
    slow = judge(Gate(latency_p95=timedelta(milliseconds=50)), *better, latency_p95=timedelta(milliseconds=51))
    assert [reason.code for reason in slow.reasons if reason.met] == ["too_slow"]
    assert judge(Gate(latency_p95=timedelta(milliseconds=50)), *better).passed


def test_a_regression_is_judged_by_its_errors():
    champion = np.tile([1.0, 2.0, 3.0], 200)
    better = judge(GATE, champion, champion * 0.9, kind="regression")
    assert better.passed
    assert better.segments[0].gain == pytest.approx(0.1)
    worse = judge(GATE, champion, champion * 1.2, kind="regression")
    assert not worse.passed
    assert answers(worse) == {"all": "worse"}
    perfect = judge(GATE, np.zeros(200), np.zeros(200), kind="regression")
    assert (perfect.passed, perfect.segments[0].gain) == (True, 0.0)
    assert not judge(GATE, np.zeros(200), np.ones(200), kind="regression").passed


def test_a_few_large_errors_are_unsettled_not_proven():
    champion, challenger = np.ones(200), np.full(200, 0.9)
    challenger[:3] = 100.0
    (whole,) = judge(Gate(min_gain=-1), champion, challenger, kind="regression").segments
    assert whole.gain < -1
    assert (whole.answer, whole.labels_needed) == ("not_enough_labels", 200)


@pytest.mark.parametrize(
    ("champion", "challenger", "message"),
    [
        (np.array([1.0, np.nan]), np.ones(2), "champion, row 1: expected a number from 0 to 1, saw nan"),
        (np.ones(2), np.array([np.inf, 1.0]), "challenger, row 0: expected a number from 0 to 1, saw inf"),
        (np.ones(2), np.array([0.5, 2.0]), "challenger, row 1"),
        (np.ones(2), np.array([0.5, -1.0]), "challenger, row 1"),
        (np.ones(2), np.ones(3), "expected paired rows, saw shapes"),
        (np.ones(0), np.ones(0), "the holdout has no labelled rows"),
    ],
)
def test_rows_that_cannot_be_compared_are_refused(champion, challenger, message):
    with pytest.raises(HoldoutUnusable, match=message):
        judge(GATE, champion, challenger)


def test_masks_have_to_fit_segments_and_rows():
    with pytest.raises(HoldoutUnusable, match="expected members of shape"):
        judge(GATE, np.ones(3), np.ones(3), ("a",), np.ones((2, 3), bool))
    with pytest.raises(HoldoutUnusable, match="expected members of shape"):
        judge(GATE, np.ones(3), np.ones(3), ("a",))


# ---- the test itself


@pytest.mark.parametrize("discordant", [0.04, 0.3])
def test_at_the_allowed_drop_chance_alone_refuses_less_than_once_in_twenty(discordant):
    rng = np.random.default_rng(7)
    lost, won = discordant / 2 + 0.01, discordant / 2 - 0.01  # worse by exactly the 2 points allowed
    draws = rng.choice([1.0, -1.0, 0.0], size=(2000, 400), p=[lost, won, 1 - discordant])
    evidence = [worse_evidence_ln(np.maximum(d, 0), np.maximum(-d, 0), 0.02, "classification") for d in draws]
    assert np.mean(np.array(evidence) >= ENOUGH_LN) < 0.05
    assert np.mean(np.exp(evidence)) < 1.2


def test_at_the_allowed_rise_of_errors_chance_alone_refuses_less_than_once_in_twenty():
    rng = np.random.default_rng(7)
    champion, challenger = rng.exponential(1.0, (1000, 300)), rng.exponential(1.02, (1000, 300))
    evidence = [worse_evidence_ln(c, d, 0.02, "regression") for c, d in zip(champion, challenger, strict=True)]
    assert np.mean(np.array(evidence) >= ENOUGH_LN) < 0.05


def test_ten_points_worse_are_mostly_proven_on_three_hundred_rows():
    rng = np.random.default_rng(7)
    draws = rng.choice([1.0, -1.0, 0.0], size=(500, 300), p=[0.14, 0.04, 0.82])
    evidence = [worse_evidence_ln(np.maximum(d, 0), np.maximum(-d, 0), 0.02, "classification") for d in draws]
    assert np.mean(np.array(evidence) >= ENOUGH_LN) > 0.65


pairs = st.integers(1, 300).flatmap(
    lambda n: st.tuples(*(hnp.arrays(np.float64, n, elements=st.sampled_from([0.0, 1.0])) for _ in range(2)))
)


@given(pairs, st.randoms(use_true_random=False))
def test_the_order_of_rows_does_not_matter(pair, random):
    order = list(range(len(pair[0])))
    random.shuffle(order)
    first, second = (judge(GATE, *(side[o] for side in pair)) for o in (slice(None), order))
    assert first.passed == second.passed
    assert answers(first) == answers(second)
    assert first.segments[0].evidence_ln == pytest.approx(second.segments[0].evidence_ln)


@given(pairs)
def test_a_model_never_loses_against_itself_and_one_that_gains_nowhere_loses_never_wins(pair):
    champion, other = pair
    assert judge(GATE, champion, champion).passed
    verdict = judge(Gate(min_gain=0.001), champion, np.minimum(champion, other))
    assert not verdict.passed


@given(pairs, st.floats(0, 0.5), st.floats(0, 0.5))
def test_allowing_a_larger_drop_never_refuses_more(pair, one, other):
    low, high = sorted((one, other))
    strict, lenient = (judge(Gate(max_segment_drop=allowed), *pair) for allowed in (low, high))
    assert lenient.segments[0].evidence_ln <= strict.segments[0].evidence_ln + 1e-9
    assert lenient.passed or not strict.passed
