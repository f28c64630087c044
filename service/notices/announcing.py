"""What is so of a model now, as the ledger and the policy folder have it, and notices of what is news in it."""

import logging

from policies.hold import QUIET_SLICES
from service.house import House
from service.notices.news import Facts, Told, notices_of
from service.notices.outbox import Letter, Outbox
from service.notices.receivers import receivers_of
from service.notices.regressions import regression_of
from service.orders.approvals import WAITING, awaiting

_log = logging.getLogger(__name__)
RETRAININGS = 20
"""The newest, among which news is looked for."""
_TRIES = 5


def announce(house: House, model: str) -> int:
    """Put a letter into the outbox for each receiver of what is news of a model. Gives how many notices there were.

    What the policy wants no notices of counts as told. Without a receiver nothing is told.
    """
    outbox, receivers = Outbox(house.store), receivers_of(house.settings)
    state = house.policies.states().get(model)
    if not receivers or state is None:
        return 0
    for _ in range(_TRIES):  # evaluations and retrainings announce in threads of their own
        stored, before = outbox.told(model)
        facts = read_facts(house, model, before)
        news, told = notices_of(before, facts)
        wanted = [notice for notice in news if notice.kind in state.policy.notices]
        letters = [Letter(notice, to, facts.now, due_at=facts.now) for notice in wanted for to in receivers]
        if told == before or outbox.put(model, stored, told, letters, facts.now):
            return len(wanted)
    _log.warning("%s: others announce at the same time; what is news is told at the next evaluation", model)
    return 0


def read_facts(house: House, model: str, told: Told) -> Facts:
    """The facts of a model that has a policy."""
    ledger, state = house.ledger, house.policies.states()[model]
    evaluation, retrainings = ledger.evaluation(model), ledger.retrainings(model, RETRAININGS)
    waits = awaiting(house, evaluation)
    news = [each for each in retrainings if each.id not in told.retrainings]
    decided = {each.id: ledger.decision(model, each.decision) for each in news}
    blind = next((r["text"] for r in evaluation.reasons if r["code"] == "blind" and r["met"]), "")
    if evaluation.at is not None:  # before the first evaluation it has not become blind, it is new
        blind = blind or ledger.blindness(model) or ""
    return Facts(
        model=model,
        now=house.clock(),
        evaluation=evaluation,
        retrainings=retrainings,
        releases=ledger.releases(model),
        regression=regression_of(house.store, model),
        waits=waits if waits and waits.state == WAITING else None,
        why={name: decision.reasons for name, decision in decided.items() if decision},
        blind=blind,
        problem=state.problem,
        quiet=QUIET_SLICES * state.policy.window.slice,
    )
