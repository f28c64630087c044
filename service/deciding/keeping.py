"""What one evaluation leaves: its state for the next one, the decision where it is worth keeping, and counters."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import msgspec

from monitors.readings import FAULT_KINDS, Readings
from policies.assessment import Assessment
from policies.decision import CONDITION_CODES, Decision
from policies.file.policy import Policy
from service.deciding.confirmations import open_trigger
from service.house import House
from service.ledger.records import DecisionRecord, Evaluation
from service.readings_view import segments_view

HEARTBEAT = timedelta(days=1)
"""A decision that changes nothing is kept at least this often."""
_NEED_A_LOOK = ("fault", "drifting", "watch")


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
    if is_new:
        record = replace(record, readings=worth_keeping(segments, reasons))
    if is_new or is_due:
        house.ledger.keep_policy(policy)
        open_trigger(house, record, last)
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
        proposal=decision.proposal,
    )
    held = {r.code for r in decision.reasons if r.met} if decision.action != "retrain" else set()
    counted = [f"decisions:{decision.action}", *(f"hold_reasons:{code}" for code in sorted(held))]
    house.ledger.record(evaluation, record if is_new or is_due else None, counted)
    return record if is_new or is_due else None


def worth_keeping(
    segments: Sequence[Mapping[str, Any]], reasons: Sequence[Mapping[str, Any]]
) -> list[Mapping[str, Any]]:
    """The readings that a decision is kept with, for ever: of `all`, of segments that need a look, and of those that a
    reason names; of their columns those that are large or have evidence, and the first.
    """
    named = {"all", *(reason["segment"] for reason in reasons)}
    return [
        {**each, "columns": [c for at, c in enumerate(each["columns"]) if at == 0 or _tells(c)]}
        for each in segments
        if each["state"] in _NEED_A_LOOK or each["segment"] in named
    ]


def _tells(column: Mapping[str, Any]) -> bool:
    size, evidence = column["size"], column["evidence_ln"]
    return (size is not None and size >= column["threshold"]) or (evidence is not None and evidence > 0)


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
