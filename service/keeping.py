"""What one evaluation leaves: its state for the next one, the decision where it is worth keeping, and counters."""

import hashlib
from dataclasses import replace
from datetime import datetime, timedelta

import msgspec

from monitors.readings import FAULT_KINDS, Readings
from policies.assessment import Assessment
from policies.decision import CONDITION_CODES, Decision
from policies.policy import Policy
from service.house import House
from service.readings_view import segments_view
from service.records import DecisionRecord, Evaluation

HEARTBEAT = timedelta(days=1)
"""A decision that changes nothing is kept at least this often."""


def keep(
    house: House,
    policy: Policy,
    readings: Readings,
    assessment: Assessment,
    decision: Decision,
    last: Evaluation,
    now: datetime,
) -> DecisionRecord | None:
    """Write the evaluation to the ledger; the decision where it was kept, None where nothing is news or due."""
    reasons = [msgspec.to_builtins(r) for r in decision.reasons]
    record = DecisionRecord(
        id=f"d-{decision.model}-{now:%Y%m%dT%H%M%S}",
        model=decision.model,
        version=decision.version,
        at=now,
        action=decision.action,
        reasons=reasons,
        states=dict(decision.states),
        triggers=decision.triggers,
        change_started=decision.change_started,
        policy=decision.policy,
        baseline=decision.baseline,
    )
    summary = _summary(decision)
    is_new = decision.action == "retrain" or summary != last.summary
    is_due = last.kept_at is None or now - last.kept_at >= HEARTBEAT
    segments = segments_view(policy, readings, dict(decision.states))
    if is_new or is_due:
        record = replace(record, readings=segments)
        last = replace(last, kept_at=now, decision=record.id)
    evaluation = replace(
        last,
        baseline=readings.baseline,
        at=now,
        runs=dict(decision.runs),
        fault_open=decision.fault_open,
        fault_quiet_since=decision.fault_quiet_since,
        faults=tuple(sorted(_fault_names(readings, assessment))),
        action=decision.action,
        summary=summary,
        reasons=reasons,
        evidence_threshold_ln=assessment.threshold_ln,
        findings=readings.findings,
        segments=segments,
    )
    held = {r.code for r in decision.reasons if r.met} if decision.action != "retrain" else set()
    counted = [f"decisions:{decision.action}", *(f"hold_reasons:{code}" for code in sorted(held))]
    house.ledger.record(evaluation, record if is_new or is_due else None, counted)
    return record if is_new or is_due else None


def _summary(decision: Decision) -> str:
    """What has to change for a decision to be news: the action, the states, and what asks or holds.

    How near the nearest condition is changes at every evaluation, and is no news.
    """
    met = sorted({f"{r.code}:{r.segment}" for r in decision.reasons if r.met and r.code not in CONDITION_CODES})
    said = [decision.action, sorted(decision.triggers), sorted(decision.states.items()), met]
    return hashlib.sha256(msgspec.json.encode(said)).hexdigest()[:16]


def _fault_names(readings: Readings, assessment: Assessment) -> set[str]:
    cells = zip(*assessment.quality.cells.nonzero(), strict=True)
    return {f"{readings.segments[s]}: {readings.quality.columns[c]} {FAULT_KINDS[k]}" for s, c, k in cells}
