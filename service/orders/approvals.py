"""Approvals: what waits for a person's yes, why it is proposed, what it would do, and what was answered."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from policies.decision import TRIGGER_CODES
from policies.file.policy import Policy
from policies.proposals import Proposal, agrees, refuses
from service.deciding.history import as_answer
from service.errors import ServiceError
from service.house import House
from service.ledger.records import DecisionRecord, Evaluation, Request

ANSWER_HOLDS = timedelta(days=1)
"""How long a yes or no counts where nothing else is said; a yes at least for two evaluations."""
WAITING, APPROVED, REFUSED = "waiting", "approved", "refused"


class NothingAwaits(ServiceError):
    """The decision proposes nothing that could be answered now."""


@dataclass(frozen=True)
class Awaiting:
    """A proposal that everything but a person favours. `state` is waiting, approved (the next evaluation opens the
    retraining) or refused; `answer` is what was said, where something counts. `decision` is the id to answer by.
    """

    model: str
    decision: str
    since: datetime
    segments: tuple[str, ...]
    reasons: tuple[str, ...]
    would: str
    state: str
    answer: Request | None = None


def awaiting(house: House, evaluation: Evaluation) -> Awaiting | None:
    """What after a model's last evaluation waits for a person, or was answered and goes on; None where nothing does."""
    model, proposal = evaluation.model, evaluation.proposal
    policy = house.policies.policy(model)
    if proposal is None or policy is None or not _waits(evaluation.reasons):
        return None
    state, answer = _answered(house, model, proposal)
    # A no that has just lapsed, or a champion that has just moved: the next evaluation will say so.
    is_over = state == WAITING and policy.retrain.approval == "automatic"
    if is_over or house.ledger.champion(model) != evaluation.version:
        return None
    decision = house.ledger.decision(model, evaluation.decision)
    return Awaiting(
        model=model,
        decision=evaluation.decision,
        since=proposal.since,
        segments=proposal.segments,
        reasons=tuple(r["text"] for r in evaluation.reasons if r["met"] and r["code"] in TRIGGER_CODES),
        would=_would(policy, evaluation, decision),
        state=state,
        answer=answer,
    )


def answered_proposal(house: House, decision: DecisionRecord) -> Proposal:
    """What a person agrees to or refuses by naming this decision: what it proposed, where that still stands.

    Raises:
        NothingAwaits: it never awaited approval, or what it proposed has vanished since.
    """
    if not _waits(decision.reasons):
        raise NothingAwaits(f"{decision.id} does not await approval: its action is {decision.action}")
    now = awaiting(house, house.ledger.evaluation(decision.model))
    if now is None or now.since > decision.at or set(now.segments).isdisjoint(decision.triggers):
        newer = (
            f"; what awaits approval now is {now.decision}" if now else f"; nothing of {decision.model} awaits one now"
        )
        raise NothingAwaits(f"what {decision.id} proposed is not proposed any more{newer}")
    return Proposal(now.since, decision.triggers)


def usual_term(policy: Policy | None) -> timedelta:
    """How long an answer counts where nothing else is said."""
    return max(ANSWER_HOLDS, 2 * policy.evaluate) if policy else ANSWER_HOLDS


def _waits(reasons: Iterable[Mapping[str, Any]]) -> bool:
    return any(r["code"] == "awaiting_approval" and r["met"] for r in reasons)


def _answered(house: House, model: str, proposal: Proposal) -> tuple[str, Request | None]:
    now = house.clock()
    no, yes = house.ledger.request(model, "reject"), house.ledger.request(model, "approve")
    if no is not None and refuses(as_answer(no), proposal, now):
        return REFUSED, no
    if yes is not None and agrees(as_answer(yes), proposal, now):
        return APPROVED, yes
    return WAITING, None


def _would(policy: Policy, evaluation: Evaluation, decision: DecisionRecord | None) -> str:
    began = decision.change_started if decision else None
    change = f" (the change began about {began:%Y-%m-%d %H:%M} UTC)" if began else ""
    return (
        f"train a new version on labelled rows{change} with the {policy.retrain.trainer.kind} trainer, compare it with "
        f"version {evaluation.version}, and release it if the gate passes"
    )
