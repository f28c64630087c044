"""Retrainings: what runs and what came of it; a person's wish for one, yes or no to one, and end of one."""

from datetime import timedelta

import msgspec
from fastapi import APIRouter, Request, Response

from policies.proposals import Proposal
from service.ledger import records
from service.ledger.records import Retraining
from service.orders.approvals import answered_proposal, awaiting, usual_term
from service.orders.cancelling import ask_to_cancel
from service.web.auth import Caller
from service.web.routes.desk import AtDesk, Desk, Limit, Operator, Reader, answer, in_thread
from service.web.routes.refusals import NotPossible, Unknown
from service.web.routes.wishes import LASTING_DOCUMENTED, Lasting, end_of, read_wish, record

routes = APIRouter(tags=["retrainings"])
WISH_HOLDS = timedelta(days=7)
"""How long a wish for a retraining waits for what speaks against it, where nothing else is said."""


@routes.get("/v1/retrainings", summary="Retrainings of all models, newest first")
def list_all(desk: AtDesk, caller: Reader, limit: Limit = 100) -> Response:
    """With state, reasons, verdict and the release that came of it."""
    found = [each for model in desk.models(caller) for each in desk.house.ledger.retrainings(model, limit)]
    return answer({"retrainings": sorted(found, key=lambda each: each.opened_at, reverse=True)[:limit]})


@routes.get("/v1/models/{model}/retrainings", summary="Retrainings of a model, newest first")
def list_retrainings(model: str, desk: AtDesk, caller: Reader, limit: Limit = 100) -> Response:
    """The same for one model."""
    desk.check_model(model, caller)
    return answer({"retrainings": desk.house.ledger.retrainings(model, limit)})


@routes.get("/v1/retrainings/{retraining_id}", summary="One retraining")
def show_retraining(retraining_id: str, desk: AtDesk, caller: Reader) -> Response:
    """With its checkpoints per segment and the gate's verdict per segment."""
    return answer(find_retraining(desk, caller, retraining_id))


@routes.get("/v1/approvals", summary="What awaits a person's yes")
def list_approvals(desk: AtDesk, caller: Reader) -> Response:
    """Each proposal with the reasons for it, what a yes would start, and what was answered already."""
    house = desk.house
    found = (awaiting(house, house.ledger.evaluation(model)) for model in desk.models(caller))
    return answer({"approvals": [each for each in found if each is not None]})


@routes.post(
    "/v1/models/{model}/retrain", status_code=202, summary="Ask for a retraining", openapi_extra=LASTING_DOCUMENTED
)
async def retrain(model: str, request: Request, desk: AtDesk, caller: Operator) -> Response:
    """The next evaluation decides with this wish as a reason; its decision says what speaks against it, if anything.

    The wish waits for that, a week where nothing else is said.
    """
    wish = await read_wish(request, desk, caller, Lasting)
    return await in_thread(lambda: _retrain(desk, desk.check_model(model, caller), wish))


@routes.post(
    "/v1/retrainings/{retraining_id}/approve", status_code=202, summary="Say yes", openapi_extra=LASTING_DOCUMENTED
)
async def approve(retraining_id: str, request: Request, desk: AtDesk, caller: Operator) -> Response:
    """For a decision that awaits approval: `retraining_id` is the id of that decision.

    The yes is for what that decision proposed. It lapses when that is not proposed any more, or after a day.
    """
    wish = await read_wish(request, desk, caller, Lasting)
    return await in_thread(lambda: _answer(desk, caller, retraining_id, "approve", wish))


@routes.post(
    "/v1/retrainings/{retraining_id}/reject", status_code=202, summary="Say no", openapi_extra=LASTING_DOCUMENTED
)
async def reject(retraining_id: str, request: Request, desk: AtDesk, caller: Operator) -> Response:
    """The same for a no. It holds for a day, for the segments that the decision named; another one may still ask."""
    wish = await read_wish(request, desk, caller, Lasting)
    return await in_thread(lambda: _answer(desk, caller, retraining_id, "reject", wish))


@routes.post(
    "/v1/retrainings/{retraining_id}/cancel", status_code=202, summary="Cancel it", openapi_extra=LASTING_DOCUMENTED
)
async def cancel(retraining_id: str, request: Request, desk: AtDesk, caller: Operator) -> Response:
    """Ends a retraining that waits or runs, as `cancelled`. Its training process is stopped; other steps end first.

    What asked for it is refused for a day, or as long as is said. Too late once the champion has moved.
    """
    wish = await read_wish(request, desk, caller, Lasting)
    return await in_thread(lambda: _cancel(desk, caller, retraining_id, wish))


def _retrain(desk: Desk, model: str, wish: Lasting) -> Response:
    house = desk.house
    now = house.clock()
    put = records.Request("retrain", wish.who, wish.why, now, end_of(wish, now, WISH_HOLDS))
    record(desk, model, "retrain", wish, until=put.until)
    house.ledger.put_request(model, put)
    return _told(model, put)


def _answer(desk: Desk, caller: Caller, decision_id: str, verb: str, wish: Lasting) -> Response:
    house = desk.house
    decision = _decided(desk, caller, decision_id)
    model, now, proposal = decision.model, house.clock(), answered_proposal(house, decision)
    until = end_of(wish, now, usual_term(house.policies.policy(model)))
    record(desk, model, verb, wish, decision=decision_id, segments=proposal.segments, until=until)
    put = records.Request(verb, wish.who, wish.why, now, until, proposal)
    house.ledger.put_request(model, put)
    house.ledger.drop_request(model, "approve" if verb == "reject" else "reject")
    return _told(model, put)


def _cancel(desk: Desk, caller: Caller, retraining_id: str, wish: Lasting) -> Response:
    house = desk.house
    ledger, now = house.ledger, house.clock()
    found = find_retraining(desk, caller, retraining_id)
    if found.is_finished:
        raise NotPossible(f"{found.id} is {found.state} already: {found.note or 'there is nothing to cancel'}")
    until = end_of(wish, now, usual_term(house.policies.policy(found.model)))
    record(desk, found.model, "cancel", wish, retraining=found.id, segments=found.segments, until=until)
    refusal = records.Request("reject", wish.who, wish.why, now, until, Proposal(found.opened_at, found.segments))
    ledger.put_request(found.model, refusal)
    ask_to_cancel(ledger, found.model, found.id, wish.who, wish.why, now)
    return answer({"retraining": found.id, "model": found.model, "state": found.state, "refused_until": until}, 202)


def _told(model: str, put: records.Request) -> Response:
    return answer({"model": model, **msgspec.to_builtins(put)}, 202)


def find_retraining(desk: Desk, caller: Caller, retraining_id: str) -> Retraining:
    """A retraining that the caller may see. Raises Unknown."""
    ledger = desk.house.ledger
    found = next((r for model in desk.models(caller) if (r := ledger.retraining(model, retraining_id))), None)
    if found is None:
        raise Unknown(f"there is no retraining {retraining_id[:100]!r}; GET /v1/retrainings lists them")
    return found


def _decided(desk: Desk, caller: Caller, decision_id: str) -> records.DecisionRecord:
    """The decision of this id. A retraining's id says that it is too late."""
    ledger = desk.house.ledger
    found = next((d for model in desk.models(caller) if (d := ledger.decision(model, decision_id))), None)
    if found is not None:
        return found
    started = find_retraining(desk, caller, decision_id) if decision_id.startswith("r-") else None
    if started is not None:
        raise NotPossible(f"{started.id} was started already and is {started.state}: there is nothing to approve")
    raise Unknown(f"no decision {decision_id[:100]!r} awaits approval; GET /v1/approvals lists what does")
