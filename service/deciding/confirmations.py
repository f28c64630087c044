"""Triggers and the labels that come later: each that fired ends confirmed, unfounded, or undecided for want of labels.

By the leader, before each evaluation. What is found is an entry of its own: what was decided is never written again.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from monitors.baseline.baselines import Baseline
from monitors.reading.performance import MOST_SLICES
from policies.confirm import Confirmation, confirm
from policies.errors import PolicyInvalid
from policies.file.parse import parse
from policies.file.policy import Policy
from service.house import House
from service.ledger.records import Confirmed, DecisionRecord, Evaluation

PATIENCE = timedelta(days=30)
"""How long labels are waited for after the policy's label delay."""
MOST_OPEN = 100
"""Where more triggers wait, the oldest end undecided."""
_UNREADABLE = "its policy or its baseline cannot be read any more"
_JUDGED_BY_LABELS = ("performance_drop", "drift_with_estimated_drop")
"""A wish needs no confirmation, and a twin compares two models: it never says that the older one became worse."""


def open_trigger(house: House, decision: DecisionRecord, before: Evaluation) -> None:
    """Begin to wait for the labels of a decision that asked for a retraining: before it is kept.

    One that retrains, or the first in a row of those that something keeps from it; a retraining takes the place of the
    one before it in its row.
    """
    ledger, model = house.ledger, decision.model
    if decision.change_started is None or not decision.triggers or not _fires(decision.reasons):
        return
    if decision.action != "retrain":
        if before.version != decision.version or not _fires(before.reasons):
            ledger.open_trigger(decision)
        return
    waiting = [ledger.decision(model, each) for each in ledger.open_triggers(model)]
    for asked in waiting:
        if asked is not None and asked.action != "retrain" and asked.version == decision.version:
            ledger.drop_trigger(model, asked.id)
    ledger.open_trigger(decision)


@dataclass
class _Waiting:
    """A decision that waits for its labels, what its policy said, and what there was to see at the last look."""

    decision: DecisionRecord
    policy: Policy | None
    seen: tuple[float, bool] | None = None


class Confirmations:
    """Looks at open triggers; remembers those that it has seen, for what was decided does not change."""

    def __init__(self, house: House) -> None:
        self._house = house
        self._known: dict[str, dict[str, _Waiting]] = {}

    def step(self, model: str) -> list[Confirmed]:
        """Judge the model's open triggers for which labels came, and end those whose time is over. Gives what ended."""
        waiting = self._waiting(model)
        crowded = len(waiting) - MOST_OPEN
        found = [self._look(each, is_crowded=place < crowded) for place, each in enumerate(waiting)]
        ended = [each for each in found if each is not None]
        for each in ended:
            self._house.ledger.record_confirmed(each)
        return ended

    def _waiting(self, model: str) -> list[_Waiting]:
        ledger, before = self._house.ledger, self._known.get(model, {})
        known = self._known[model] = {}
        for each in ledger.open_triggers(model):
            if each in before:
                known[each] = before[each]
            elif (decision := ledger.decision(model, each)) is not None:
                known[each] = _Waiting(decision, _policy_of(self._house, decision))
            else:
                # It was noted, and the process ended before the decision was kept.
                ledger.drop_trigger(model, each)
        return list(known.values())

    def _look(self, waiting: _Waiting, *, is_crowded: bool) -> Confirmed | None:
        """How it ended; None where it is open still."""
        house, now, decision, policy = self._house, self._house.clock(), waiting.decision, waiting.policy
        baseline = house.ledger.baseline(decision.model, decision.version)
        if policy is None or baseline is None or baseline.fingerprint != decision.baseline:
            nothing = Confirmation("open", None, 0, None, None, None, None, None, _UNREADABLE)
            return _ended(house, decision, nothing, "undecided")
        labels_are_due = decision.at + policy.window.label_delay
        is_over = is_crowded or now >= labels_are_due + PATIENCE
        seen = float(house.cells.total_labelled(baseline)[0, 0]), now >= labels_are_due
        if seen == waiting.seen and not is_over:
            return None
        waiting.seen = seen
        found = _judge(house, decision, policy, baseline)
        if found.outcome == "open" and not is_over:
            return None
        return _ended(house, decision, found, "undecided" if found.outcome == "open" else found.outcome)


def _judge(house: House, decision: DecisionRecord, policy: Policy, baseline: Baseline) -> Confirmation:
    since = decision.change_started or decision.at
    before = int(since.timestamp()) - MOST_SLICES * baseline.slice_seconds
    labelled = house.cells.load_labelled(baseline, since=before)
    faulty = house.ledger.faulty_slices(decision.model)
    return confirm(policy, baseline, labelled, decision.triggers, since, decision.at, house.clock(), faulty)


def _policy_of(house: House, decision: DecisionRecord) -> Policy | None:
    """The policy that decided, whatever is in force now; what is, where that one was written for another build."""
    text = house.ledger.policy_text(decision.model, decision.policy)
    with suppress(PolicyInvalid):
        return parse(text.decode()) if text else house.policies.policy(decision.model)
    return house.policies.policy(decision.model)


def _fires(reasons: Sequence[Mapping[str, Any]]) -> bool:
    return any(reason["met"] and reason["code"] in _JUDGED_BY_LABELS for reason in reasons)


def _ended(house: House, decision: DecisionRecord, found: Confirmation, end: str) -> Confirmed:
    return Confirmed(
        model=decision.model,
        decision=decision.id,
        version=decision.version,
        at=house.clock(),
        end=end,
        segment=found.segment,
        labelled=found.labelled,
        drop=found.drop,
        limit=found.limit,
        evidence_ln=found.evidence_ln,
        against_ln=found.against_ln,
        settled_at=found.settled_at,
        text=found.text,
    )
