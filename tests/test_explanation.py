from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_decide import (
    DAY,
    DROPPED,
    DROPPING,
    ESTIMATED,
    LOST,
    NOW,
    REACHED,
    SEGMENTS,
    SILENCE,
    STRONG,
    WON,
    lasting,
    policy,
    quiet,
    with_drift,
    with_drop,
    with_fault,
    with_labels,
)

from policies.decide import Attempt, History, ManualRequest, decide
from policies.decision import Freeze
from policies.ends import ends_at
from policies.errors import SegmentUnknown
from policies.explanation import explain
from policies.file.policy import Period, Silence
from policies.proposals import Answer, Proposal
from policies.weighing import weigh

FREEZE = Freeze(Period(NOW - DAY, NOW + DAY), "ana", "a sale")
RETURNS = "intent=returns"


def told(explanation, segment, trigger="performance"):
    prospect = next(p for p in explanation.prospects if (p.segment, p.trigger) == (segment, trigger))
    return {part.text: part.fulfilled for part in prospect.conditions}


# ---- laws

NAMES = [
    f"{case}:{segment}" for case in ("performance", "drift", "drift/2", "drift+estimated_drop") for segment in SEGMENTS
]
policies = st.builds(
    policy,
    st.sampled_from(["", "", "persist: 1", SILENCE]),
    when=st.sampled_from(
        [
            "[performance, drift, twin]",
            "[]",
            "[twin]",
            "[{drift: {segments: 2}}, performance]",
            "[{drift: {columns: 2}}]",
            "[{drift: {segments: 1}, and: estimated_drop}]",
        ]
    ),
    approval=st.sampled_from(["automatic", "automatic", "automatic", "required"]),
    cooldown=st.sampled_from(["0", "3d"]),
    budget=st.sampled_from(["{count: 3, per: 30d}", "{count: 1, per: 30d}"]),
    freeze=st.sampled_from(["[]", "[]", "[]", "['2026-11-20/2026-12-01']"]),
)
sizes = st.sampled_from([0.3, 0.1, 0.02])
evidences = st.sampled_from([100.0, 100.0, 6.0, -1.0])
twins = st.sampled_from([None, None, WON, LOST])


@st.composite
def some_readings(draw):
    readings = draw(st.sampled_from([DROPPED, ESTIMATED, quiet()]))
    for segment in SEGMENTS:
        if draw(st.booleans()):
            readings = with_drop(readings, segment, drop=draw(sizes), evidence=draw(evidences))
        for column in draw(st.sets(st.sampled_from(["prediction", "text"]))):
            readings = with_drift(readings, (segment, column), size=draw(sizes), evidence=draw(evidences))
    if draw(st.sampled_from([False] * 15 + [True])):
        readings = with_fault(readings, draw(st.sampled_from(SEGMENTS)))
    rows = np.array([draw(st.sampled_from([*[5000] * 16, 150, 0])) for _ in SEGMENTS])
    labelled = np.array([draw(st.sampled_from([*[1000] * 5, 10])) for _ in SEGMENTS])
    estimated = np.array([draw(sizes) for _ in SEGMENTS])
    performance = replace(readings.performance, labelled=labelled, estimated_drop=estimated)
    readings = replace(
        readings, rows=rows, performance=performance, twin=draw(st.sampled_from([None, None, WON, LOST]))
    )
    return with_labels(readings, draw(st.sampled_from([1000, 1000, 300, 150, 0])))


@st.composite
def histories(draw):
    proposal = Proposal(NOW - DAY, draw(st.sampled_from([("all",), SEGMENTS])))
    answer = Answer(proposal, "ana", "seen", NOW - DAY, NOW + DAY)
    maybe = st.sampled_from([False] * 15 + [True])
    days = draw(st.lists(st.integers(1, 40), max_size=2))
    return History(
        runs={name: draw(st.sampled_from([2, 2, 2, 1, 0])) for name in (*NAMES, "twin:all")},
        in_flight="r-1" if draw(maybe) else None,
        retrainings=tuple(Attempt(NOW - each * DAY, "released") for each in days),
        last_finished_at=NOW - 2 * DAY if draw(maybe) else None,
        labels_since_attempt=draw(st.none() | st.just(10)) if draw(maybe) else None,
        fault_quiet_since=NOW - DAY if draw(maybe) else None,
        proposal=proposal,
        approval=answer if draw(st.booleans()) else None,
        refusal=answer if draw(maybe) else None,
        manual=ManualRequest("ana", "new intents", NOW) if draw(maybe) else None,
        freezes=(FREEZE,) if draw(maybe) else (),
        signal="an alert" if draw(maybe) else None,
    )


@settings(deadline=None, max_examples=150)
@given(policies, some_readings(), histories())
def test_nothing_is_missing_exactly_when_the_decision_is_to_retrain(rules, readings, history):
    explanation, decision = explain(rules, readings, history, NOW), decide(rules, readings, history, NOW)
    assert explanation.action == decision.action
    assert (explanation.missing == ()) == (decision.action == "retrain")
    assert explanation.summary.startswith("nothing is missing") == (decision.action == "retrain")


@settings(deadline=None, max_examples=100)
@given(policies, some_readings(), histories(), st.sampled_from(SEGMENTS))
def test_a_trigger_is_ready_exactly_when_each_of_its_conditions_is_fulfilled(rules, readings, history, segment):
    explanation = explain(rules, readings, history, NOW, segment)
    assert {prospect.segment for prospect in explanation.prospects} <= {segment}
    for prospect in explanation.prospects:
        assert prospect.ready == all(part.fulfilled for part in prospect.conditions)
        assert all(part.progress == 1 if part.fulfilled else 0 <= part.progress < 1 for part in prospect.conditions)
    if not explanation.missing:
        assert decide(rules, readings, history, NOW).action == "retrain"


@settings(deadline=None, max_examples=100)
@given(policies, some_readings(), histories())
def test_a_timed_hold_stands_until_its_end_and_not_from_then_on(rules, readings, history):
    weighing = weigh(rules, readings, history, NOW)
    for hold in (*weighing.holds, weighing.approval(proposed=True)):
        end = ends_at(hold, weighing.moment)
        if end is None:
            continue
        at_the_end, before = (
            {h.code: h.met for h in (*later.holds, later.approval(proposed=True))}
            for later in (weigh(rules, readings, history, at) for at in (end, end - timedelta(seconds=1)))
        )
        assert before[hold.code]
        approval_is_next = hold.code == "awaiting_approval" and rules.retrain.approval == "required"
        assert at_the_end[hold.code] == approval_is_next


@pytest.mark.parametrize("code", REACHED)
def test_the_same_arguments_give_the_same_explanation(code):
    rules, readings, history, _ = REACHED[code]
    assert explain(rules, readings, history, NOW) == explain(rules, readings, history, NOW)


# ---- what it says


def test_each_condition_says_how_far_it_is():
    readings = with_labels(with_drop(quiet(), RETURNS, drop=0.041, evidence=8.1), 120)
    explanation = explain(policy(), readings, History(last_finished_at=NOW - DAY), NOW)
    assert told(explanation, RETURNS) == {
        "drop of accuracy 0.041, 0.03 is enough": True,
        "evidence (ln e) 8.1 of 11.6": False,
        "0 of 2 evaluations in a row": False,
        "120 of 200 labelled rows since the change": False,
    }
    assert explanation.summary == (
        "nearest to a retraining: performance in intent=returns; missing: evidence (ln e) 8.1 of 11.6; "
        "0 of 2 evaluations in a row; 120 of 200 labelled rows since the change"
    )


def test_a_timed_hold_names_its_end_as_a_moment():
    history = replace(DROPPING, last_finished_at=NOW - DAY)
    explanation = explain(policy(cooldown="3d"), DROPPED, history, NOW)
    assert explanation.missing == ("cooling down until 2026-11-24 10:00 UTC",)
    hold = next(hold for hold in explanation.holds if hold.code == "cooling_down")
    assert (hold.fulfilled, hold.until) == (False, NOW + 2 * DAY)


def test_a_budget_returns_when_its_oldest_start_is_old_enough():
    starts = tuple(Attempt(NOW - days * DAY, "released") for days in (29, 20, 10))
    explanation = explain(policy(budget="{count: 2, per: 30d}"), DROPPED, replace(DROPPING, retrainings=starts), NOW)
    assert explanation.missing == ("budget spent until 2026-12-02 10:00 UTC",)


def test_freezes_that_follow_on_one_another_end_with_the_last():
    rules = policy(freeze="['2026-11-20/2026-11-23', '2026-11-23/2026-11-25']")
    assert explain(rules, DROPPED, DROPPING, NOW).missing == ("frozen until 2026-11-25 00:00 UTC",)


def test_an_approval_is_missing_before_there_is_anything_to_approve():
    explanation = explain(policy(approval="required"), quiet(), History(), NOW)
    assert "the policy asks for an approval" in explanation.missing
    assert explanation.action == "hold"


def test_a_segment_far_from_firing_can_be_asked_too():
    explanation = explain(policy(), DROPPED, DROPPING, NOW, "intent=shipping")
    assert explanation.action == "retrain"
    assert explanation.missing
    assert told(explanation, "intent=shipping")["drop of accuracy 0, 0.03 is enough"] is False


def test_a_segment_that_is_not_there_names_those_that_are_near():
    with pytest.raises(SegmentUnknown, match="did you mean intent=returns"):
        explain(policy(), quiet(), History(), NOW, "intent=return")
    with pytest.raises(SegmentUnknown, match="there are: all, intent=returns"):
        explain(policy(), quiet(), History(), NOW, "xyz")


def test_a_silenced_segment_says_by_whom_and_until_when():
    silence = Silence(NOW + DAY, "a sale", "ops", segment="all")
    explanation = explain(policy(), DROPPED, replace(DROPPING, silences=(silence,)), NOW, "all")
    assert told(explanation, "all") == {
        "silenced by ops until 2026-11-23 10:00 UTC: a sale": False,
        "drop of accuracy 0.1, 0.03 is enough": True,
        "evidence (ln e) 100 of 11.6": True,
        "0 of 2 evaluations in a row": False,
        "1,000 of 500 labelled rows since the change": True,
    }


def test_a_drift_trigger_says_what_else_it_asks_for():
    rules = policy(when="[{drift: {segments: 2, columns: 2}, and: estimated_drop}]")
    explanation = explain(rules, ESTIMATED, History(), NOW, "all")
    said = told(explanation, "all", "drift/2+estimated_drop")
    assert said["1 of 2 columns with both size and evidence"] is False
    assert said["estimated drop of accuracy 0.08, 0.03 is enough"] is True
    assert said["0 of 2 segments in which it persists"] is False


def test_the_column_that_is_told_has_the_size_that_is_told():
    apart = with_drift(quiet(), ("all", "prediction"), evidence=1.0)
    apart = with_drift(apart, ("all", "text"), size=0.01)
    assert (
        told(explain(policy(), apart, History(), NOW, "all"), "all", "drift")["psi of text 0.01, 0.05 is enough"]
        is False
    )


def test_evidence_that_is_not_of_the_large_column_is_told_apart():
    elsewhere = with_drift(quiet(), ("all", "text"), evidence=5.0, segment_evidence=STRONG)
    said = told(explain(policy(), elsewhere, History(), NOW, "all"), "all", "drift")
    assert said["psi of text 0.3, 0.05 is enough"] is True
    assert said["evidence (ln e) 100 of 11.6"] is True
    assert said["0 of 1 columns with both size and evidence"] is False


def test_the_nearest_of_all_triggers_is_the_one_whose_change_is_furthest():
    near = with_drop(with_drift(quiet(), ("all", "text"), evidence=3.0), RETURNS, evidence=9.0)
    nearest = explain(policy(), near, History(), NOW).nearest
    assert (nearest.trigger, nearest.segment) == ("performance", RETURNS)


def test_a_policy_without_a_trigger_says_that_nothing_looks():
    assert explain(policy(when="[]"), DROPPED, DROPPING, NOW).missing == ("the policy has no trigger",)
    only_twin = explain(policy(when="[twin]"), DROPPED, DROPPING, NOW, RETURNS)
    assert only_twin.missing == (f"no trigger of the policy looks at {RETURNS}",)


def test_a_persons_request_leaves_only_the_holds_for_persons():
    asked = History(manual=ManualRequest("ana", "new intents", NOW), last_finished_at=NOW)
    assert explain(policy(cooldown="3d"), quiet(), asked, NOW).missing == ()
    running = explain(policy(), quiet(), replace(asked, in_flight="r-1"), NOW)
    assert running.missing == ("retraining r-1 is running",)
    assert "ana asked for a retraining" in running.summary


def test_the_segment_that_is_ready_is_told_though_others_have_more_evidence():
    names = ("all", *(f"shop={n}" for n in range(8)))
    readings = quiet(segments=names)
    for n in range(8):
        readings = with_drop(readings, f"shop={n}", evidence=100.0 - n)
    since = np.zeros(9, np.int64)
    since[8] = 1000
    readings = replace(readings, performance=replace(readings.performance, labelled_since_change=since))
    history = lasting(*(f"performance:{name}" for name in names))
    assert decide(policy(), readings, history, NOW).triggers == ("shop=7",)
    assert explain(policy(), readings, history, NOW).nearest.segment == "shop=7"
