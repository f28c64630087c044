"""Every reason of a decision: met and not met, alone and with its numbers; people's orders and answers among them."""

import hashlib
import os
import subprocess
import sys
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_decide import (
    DAY,
    DROPPED,
    DROPPING,
    ESTIMATED,
    LOST,
    NOW,
    SILENCE,
    WON,
    lasting,
    met,
    policy,
    quiet,
    with_drop,
    with_fault,
    with_labels,
)

from monitors.readings import Readings
from policies.decide import decide
from policies.decision import CODES, TRIGGER_CODES, Attempt, Freeze, History, ManualRequest, Reason
from policies.file.parse import digest
from policies.file.policy import Period, Policy, Silence
from policies.orders import with_orders
from policies.proposals import Answer, Proposal, agrees, refuses, renew

ON_PERFORMANCE = policy(when="[performance]")


@dataclass(frozen=True)
class Given:
    """What one decision is made from."""

    policy: Policy = ON_PERFORMANCE
    readings: Readings = DROPPED
    history: History = DROPPING

    def decide(self, at=NOW):
        return decide(self.policy, self.readings, self.history, at)


PLAIN = Given()
PROPOSED = Proposal(NOW - DAY, ("all",))
LANDED = History(proposal=PROPOSED, runs=DROPPING.runs)
FROZEN = replace(DROPPING, freezes=(Freeze(Period(NOW - DAY, NOW + DAY), "ana", "the sale"),))
HUSHED = replace(DROPPING, silences=(Silence(NOW + DAY, "a sale", "ana", segment="*"),))
ON_DRIFT = Given(
    policy(when="[{drift: {segments: 1}, and: estimated_drop}]"), ESTIMATED, lasting("drift+estimated_drop:all")
)
ON_TWIN = Given(policy(when="[twin]"), replace(quiet(), twin=WON), lasting("twin:all"))
SPENT = (Attempt(NOW - 20 * DAY, "released"), Attempt(NOW - 9 * DAY, "refused"))
RESTED = replace(DROPPING, last_finished_at=NOW - 2 * DAY)


@dataclass(frozen=True)
class Case:
    """`with_it`: the reason is met. `without`: the same but for it. The numbers are those compared when it is met."""

    with_it: Given
    without: Given = PLAIN
    observed: float | None = None
    limit: float | None = None


DAYS = 86_400.0
CASES = {
    "performance_drop": Case(PLAIN, Given(readings=quiet()), 0.1, 0.03),
    "drift_with_estimated_drop": Case(ON_DRIFT, replace(ON_DRIFT, readings=quiet()), 0.08, 0.03),
    "twin_better": Case(ON_TWIN, replace(ON_TWIN, readings=replace(quiet(), twin=LOST)), 200.0, 1.0),
    "manual": Case(
        Given(readings=quiet(), history=History(manual=ManualRequest("ana", "why", NOW))), Given(readings=quiet())
    ),
    "size_below_threshold": Case(Given(readings=with_drop(quiet(), "all", drop=0.01)), PLAIN, 0.01, 0.03),
    "evidence_below_threshold": Case(Given(readings=with_drop(quiet(), "all", evidence=4.0)), PLAIN, 4.0),
    "not_persistent": Case(Given(history=History()), PLAIN, 1.0, 2.0),
    "insufficient_labels": Case(Given(readings=with_labels(DROPPED, 499)), PLAIN, 499.0, 500.0),
    "insufficient_rows": Case(Given(readings=replace(DROPPED, rows=np.full(3, 150))), PLAIN, 150.0, 200.0),
    "data_fault": Case(Given(readings=with_fault(DROPPED, "intent=shipping")), PLAIN, 0.4, 0.0),
    "blind": Case(Given(readings=replace(DROPPED, rows=np.array([0, 10, 10]))), PLAIN, 0.0, 1.0),
    "cooling_down": Case(
        Given(policy(cooldown="3d"), history=RESTED), Given(policy(cooldown="2d"), history=RESTED), 2 * DAYS, 3 * DAYS
    ),
    "budget_spent": Case(
        Given(policy(budget="{count: 2, per: 30d}"), history=replace(DROPPING, retrainings=SPENT)),
        Given(policy(budget="{count: 3, per: 30d}"), history=replace(DROPPING, retrainings=SPENT)),
        2.0,
        2.0,
    ),
    "in_flight": Case(Given(history=replace(DROPPING, in_flight="r-12")), PLAIN, 1.0, 1.0),
    "frozen": Case(Given(history=FROZEN), PLAIN, DAYS, 0.0),
    "silenced": Case(Given(history=HUSHED), PLAIN),
    "no_expected_gain": Case(
        Given(readings=replace(DROPPED, twin=LOST)), Given(readings=replace(DROPPED, twin=WON)), 100.0
    ),
    "awaiting_approval": Case(
        Given(policy(approval="required"), history=LANDED), Given(policy(approval="automatic"), history=LANDED)
    ),
}


def of_code(decision, code) -> list[Reason]:
    return [reason for reason in decision.reasons if reason.code == code]


def test_every_code_has_its_case():
    assert set(CASES) == set(CODES)


@pytest.mark.parametrize("code", CODES)
def test_every_reason_is_met_and_not_met_and_alone_turns_the_decision(code):
    case = CASES[code]
    with_it, without = case.with_it.decide(), case.without.decide()
    assert met(with_it, code)
    assert of_code(without, code)
    assert not any(reason.met for reason in of_code(without, code) if reason.segment in {None, "all"})
    asks = code in TRIGGER_CODES
    assert (with_it.action == "retrain") is asks
    assert (without.action == "retrain") is not asks


@pytest.mark.parametrize("code", [code for code, case in CASES.items() if case.observed is not None])
def test_every_reason_has_the_numbers_that_were_compared(code):
    reason = met(CASES[code].with_it.decide(), code)[0]
    assert reason.observed == pytest.approx(CASES[code].observed)
    assert reason.limit is not None
    if CASES[code].limit is not None:
        assert reason.limit == pytest.approx(CASES[code].limit)
    assert reason.text


SCRIPT = "from test_holds import digest_of_all; print(digest_of_all())"


def digest_of_all() -> str:
    decisions = [given.decide() for case in CASES.values() for given in (case.with_it, case.without)]
    return hashlib.sha256(b"".join(msgspec.json.encode(decision) for decision in decisions)).hexdigest()


def test_the_same_inputs_give_the_same_bytes_in_any_process():
    """Sets and dictionaries of texts come in another order under another hash seed."""
    here = Path(__file__).parent
    said = {digest_of_all()}
    for seed in ("1", "2"):
        environment = {
            **os.environ,
            "PYTHONHASHSEED": seed,
            "PYTHONPATH": os.pathsep.join([str(here), str(here.parent)]),
        }
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT], env=environment, capture_output=True, text=True, check=True
        )
        said.add(done.stdout.strip())
    assert len(said) == 1


# ---- what people ordered


def test_an_order_hides_like_a_silence_of_the_file_and_the_digest_stays_the_files():
    written, ordered = Given(policy(SILENCE)), Given(history=HUSHED)
    assert written.decide().action == ordered.decide().action == "hold"
    assert ordered.decide().policy == digest(ON_PERFORMANCE) != digest(with_orders(ON_PERFORMANCE, HUSHED))
    assert "silenced by ana" in met(ordered.decide(), "silenced")[0].text
    assert ordered.decide().states["all"] == "watch"
    assert ordered.decide(NOW + DAY).action == "retrain"
    assert with_orders(policy(), History()) == policy()


def test_silences_of_the_file_and_of_people_add_up():
    both = with_orders(policy(SILENCE), HUSHED)
    assert [silence.who for silence in both.silences] == ["ops", "ana"]


def test_a_freeze_says_whose_it_is_holds_a_persons_wish_too_and_ends_by_itself():
    wished = replace(FROZEN, manual=ManualRequest("ben", "now", NOW))
    for history in (FROZEN, wished):
        reason = met(Given(history=history).decide(), "frozen")[0]
        assert reason.text == f"frozen by ana until {(NOW + DAY).isoformat()}: the sale"
        assert Given(history=history).decide(NOW + DAY).action == "retrain"
    planned = replace(DROPPING, freezes=(Freeze(Period(NOW + DAY, NOW + 2 * DAY), "ana", "the sale"),))
    assert Given(history=planned).decide().action == "retrain"


def test_of_two_freezes_the_one_that_lasts_longer_is_told():
    decision = Given(policy(freeze='["2026-11-20/2026-12-01"]'), history=FROZEN).decide()
    assert "the policy is frozen until 2026-12-01" in met(decision, "frozen")[0].text


# ---- a yes or no to a proposal

ASKS = policy(approval="required")


def yes_to(proposal, **more):
    return Answer(**{"proposal": proposal, "who": "ana", "why": "ok", "at": NOW, "until": NOW + DAY, **more})


def test_a_proposal_goes_on_while_it_asks_and_a_yes_goes_with_it():
    first = decide(ASKS, DROPPED, DROPPING, NOW)
    history = DROPPING.after(first)
    hour = timedelta(hours=1)
    again = decide(ASKS, DROPPED, history, NOW + hour)
    assert first.proposal == again.proposal == Proposal(NOW, ("all",))
    approved = replace(history.after(again), approval=yes_to(again.proposal, until=NOW + 30 * DAY))
    assert decide(ASKS, DROPPED, approved, NOW + 2 * hour).action == "retrain"
    gone = decide(ASKS, quiet(), approved, NOW + 2 * hour)
    assert (gone.action, gone.proposal) == ("hold", None)
    week = NOW + 7 * DAY
    back = decide(ASKS, DROPPED, replace(approved.after(gone), runs=DROPPING.runs), week)
    assert (back.action, back.proposal.since) == ("watch", week)
    assert met(back, "awaiting_approval")


def test_a_yes_waits_through_a_hold_of_its_proposal():
    approved = replace(LANDED, approval=yes_to(PROPOSED))
    cooling = replace(approved, last_finished_at=NOW)
    held = decide(policy(approval="required", cooldown="2h"), DROPPED, cooling, NOW)
    assert held.action == "watch"
    assert not met(held, "awaiting_approval")
    assert decide(ASKS, DROPPED, approved.after(held), NOW + timedelta(hours=2)).action == "retrain"


def test_a_no_is_about_the_segments_that_were_named():
    refused = replace(LANDED, refusal=yes_to(PROPOSED), runs={**DROPPING.runs, "performance:intent=returns": 1})
    assert decide(policy(), DROPPED, refused, NOW).action == "watch"
    further = with_drop(DROPPED, "intent=returns")
    assert decide(policy(), further, refused, NOW).action == "retrain"
    assert met(decide(ASKS, further, refused, NOW), "awaiting_approval")[0].text == "the policy asks for an approval"


segment_sets = st.sets(st.sampled_from(["all", "a", "b", "c"]), min_size=1).map(sorted).map(tuple)
moments = st.integers(0, 40).map(lambda hours: NOW + timedelta(hours=hours))


@given(segment_sets, segment_sets, moments, moments)
def test_no_answer_counts_beyond_its_time_or_for_other_segments(said, asking, since, now):
    answer, proposal = yes_to(Proposal(since, said)), Proposal(since, asking)
    assert agrees(answer, proposal, now) == (now < answer.until and bool(set(said) & set(asking)))
    assert refuses(answer, proposal, now) == (now < answer.until and set(asking) <= set(said))
    later = replace(proposal, since=since + DAY)
    assert not agrees(answer, later, now)
    assert refuses(answer, later, now) == refuses(answer, proposal, now)
    assert not agrees(None, proposal, now)
    assert not refuses(answer, None, now)


@given(st.lists(segment_sets | st.just(()), min_size=1, max_size=8))
def test_a_proposal_lasts_as_long_as_segments_hand_it_on(evaluations):
    before, began = None, NOW
    for number, asking in enumerate(evaluations):
        now = NOW + timedelta(hours=number)
        handed_on = before is not None and set(before.segments) & set(asking)
        began = began if handed_on else now
        before = renew(before, asking, now)
        assert before == (Proposal(began, asking) if asking else None)
