"""A model's policy in force and its shadows side by side, as plain values for routes, commands and pages."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from policies.file.parse import digest
from service.house import House
from service.policy_files import PolicyState
from service.shadows.ledger import Shadow, ShadowDecision, ShadowLedger, Side

DAYS = 30
ACTIONS = ("hold", "watch", "retrain")
_DECISIONS_READ, _DIFFERENCES_TOLD = 1000, 100


def side_by_side(house: House, model: str, days: int = DAYS) -> dict[str, Any]:
    """What both did, and would have done, in the last days: retrainings of each, and where their actions differ.

    Lists begin with the newest. Only shadows whose file is there are told.
    """
    ledger, shadows, now = house.ledger, ShadowLedger(house.store), house.clock()
    since, evaluation, found = now - timedelta(days=days), ledger.evaluation(model), house.policies.shadows(model)
    known, counts = shadows.shadows(model), shadows.counts(model)
    told = [
        _shadow(name, state, known.get(name) or Shadow(name), counts, since)
        | {"differences": _differences(shadows.decisions(model, name, _DECISIONS_READ), since)}
        for name, state in sorted(found.items())
    ]
    return {
        "model": model,
        "since": since,
        "in_force": {
            "action": evaluation.action or None,
            "evaluated_at": evaluation.at,
            "retrainings": [
                {"at": r.opened_at, "id": r.id, "reasons": r.reasons, "segments": r.segments, "state": r.state}
                for r in ledger.retrainings(model)
                if r.opened_at >= since
            ],
        },
        "shadows": told,
    }


def _shadow(
    name: str, state: PolicyState, shadow: Shadow, counts: Mapping[tuple[str, str], int], since: datetime
) -> dict[str, Any]:
    return {
        "shadow": name,
        "file": state.file.name,
        "digest": digest(state.policy),
        "problem": shadow.problem or state.problem or None,
        "evaluated_at": shadow.at,
        "action": shadow.action or None,
        "missing": shadow.missing,
        "decisions": {action: counts.get((name, action), 0) for action in ACTIONS},
        "retrainings": [
            {"at": ask.opened_at, "id": ask.id, "reasons": ask.reasons, "segments": ask.segments, "over": ask.ended_at}
            for ask in reversed(shadow.asks)
            if ask.opened_at >= since
        ],
    }


def _differences(decisions: list[ShadowDecision], since: datetime) -> list[dict[str, Any]]:
    """Kept decisions in which the two parted, with what each said."""
    return [
        {"at": said.at, "in_force": said.in_force, "shadow": Side(said.action, said.triggers, said.missing)}
        for said in decisions
        if said.at >= since and said.action != said.in_force.action
    ][:_DIFFERENCES_TOLD]
