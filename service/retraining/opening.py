"""Opening a retraining: recorded before anything starts, under a name that follows from the decision, so that no crash
opens it twice.
"""

import hashlib
import json

from policies.decision import TRIGGER_CODES
from service.failures.carrying import failures_to_mend
from service.house import House
from service.ledger.records import DecisionRecord, Retraining


def open_retraining(house: House, decision: DecisionRecord) -> Retraining | None:
    """The retraining of a decision, recorded before anything starts; None where it was opened before."""
    retraining = Retraining(
        id=name_of(decision),
        model=decision.model,
        decision=decision.id,
        champion=decision.version,
        state="requested",
        opened_at=house.clock(),
        reasons=tuple(sorted({r["code"] for r in decision.reasons if r["met"] and r["code"] in TRIGGER_CODES})),
        segments=decision.triggers,
        change_started=decision.change_started,
        labels_seen=house.ledger.evaluation(decision.model).labels,
        failures=failures_to_mend(house, decision.model),
    )
    return retraining if house.ledger.open_retraining(retraining) else None


def name_of(decision: DecisionRecord) -> str:
    """A name that the same decision always gives: from model, policy, baseline and the window's end."""
    said = json.dumps([decision.model, decision.policy, decision.baseline, decision.at.isoformat()])
    return "r-" + hashlib.sha256(said.encode()).hexdigest()[:12]


def next_version(house: House, model: str) -> str:
    """The number after the largest one among the versions with a baseline, and those that trainers were told: what
    one of them keeps outside under its version is not mistaken for another's.
    """
    told = [each.version for each in house.ledger.retrainings(model)]
    numbers = [int(v) for v in (*house.ledger.baselines(model), *told) if v.isdecimal()]
    return str(max(numbers, default=0) + 1)
