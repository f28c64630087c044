"""Retrainings: what runs and what came of it; a person's wish for one, and a person's yes or no."""

from typing import Any

import msgspec
from fastapi import APIRouter, Request, Response

from service import records
from service.records import Retraining
from service.web.auth import Caller
from service.web.routes.bodies import JSON, SMALL_BYTES, check_type, decode
from service.web.routes.desk import AtDesk, Desk, Limit, Operator, Reader, answer, in_thread
from service.web.routes.refusals import BadRequest, NotPossible, Unknown

routes = APIRouter(tags=["retrainings"])
_MOST_CHARACTERS = 1000


class Wish(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who wants it, and why; both stay in the ledger."""

    who: str
    why: str


WISH_DOCUMENTED: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            JSON: {
                "schema": {
                    "type": "object",
                    "required": ["who", "why"],
                    "properties": {"who": {"type": "string"}, "why": {"type": "string"}},
                }
            }
        },
    }
}


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
    return answer(_find(desk, caller, retraining_id))


@routes.post(
    "/v1/models/{model}/retrain", status_code=202, summary="Ask for a retraining", openapi_extra=WISH_DOCUMENTED
)
async def retrain(model: str, request: Request, desk: AtDesk, caller: Operator) -> Response:
    """The next evaluation decides with this wish as a reason; its decision says what speaks against it, if anything."""
    wish = await read_wish(request, desk, caller)
    return await in_thread(lambda: _put(desk, desk.check_model(model, caller), "retrain", wish))


@routes.post(
    "/v1/retrainings/{retraining_id}/approve", status_code=202, summary="Say yes", openapi_extra=WISH_DOCUMENTED
)
async def approve(retraining_id: str, request: Request, desk: AtDesk, caller: Operator) -> Response:
    """For a decision that awaits approval: `retraining_id` is the id of that decision."""
    wish = await read_wish(request, desk, caller)
    return await in_thread(lambda: _put(desk, _awaiting(desk, caller, retraining_id), "approve", wish))


@routes.post("/v1/retrainings/{retraining_id}/reject", status_code=202, summary="Say no", openapi_extra=WISH_DOCUMENTED)
async def reject(retraining_id: str, request: Request, desk: AtDesk, caller: Operator) -> Response:
    """The same for a no, which holds for a day."""
    wish = await read_wish(request, desk, caller)
    return await in_thread(lambda: _put(desk, _awaiting(desk, caller, retraining_id), "reject", wish))


async def read_wish(request: Request, desk: Desk, caller: Caller) -> Wish:
    """The body's wish; who shows a key is named with it.

    Raises:
        WrongType, BodyTooLarge, BodyTooSlow, BadRequest: the body cannot be used.
    """
    check_type(request, [JSON])
    async with desk.bodies.take(request, SMALL_BYTES) as body:
        wish = decode(body, Wish)
    for field, text in (("who", wish.who), ("why", wish.why)):
        if not text.strip() or len(text) > _MOST_CHARACTERS:
            raise BadRequest(f"`{field}` must be a text of 1 to {_MOST_CHARACTERS} characters: it stays in the ledger")
    return Wish(f"{wish.who} (access key {caller.name})", wish.why) if caller.name else wish


def _put(desk: Desk, model: str, verb: str, wish: Wish) -> Response:
    put = records.Request(verb, wish.who, wish.why, desk.house.clock())
    desk.house.ledger.put_request(model, put)
    return answer({"model": model, **msgspec.to_builtins(put)}, 202)


def _find(desk: Desk, caller: Caller, retraining_id: str) -> Retraining:
    ledger = desk.house.ledger
    found = next((r for model in desk.models(caller) if (r := ledger.retraining(model, retraining_id))), None)
    if found is None:
        raise Unknown(f"there is no retraining {retraining_id[:100]!r}; GET /v1/retrainings lists them")
    return found


def _awaiting(desk: Desk, caller: Caller, decision_id: str) -> str:
    """The model whose last kept decision this is, and awaits approval."""
    for model in desk.models(caller):
        evaluation = desk.house.ledger.evaluation(model)
        if evaluation.decision == decision_id:
            if any(r["code"] == "awaiting_approval" and r["met"] for r in evaluation.reasons):
                return model
            raise NotPossible(f"{decision_id} does not await approval: its action is {evaluation.action}")
    started = _find(desk, caller, decision_id) if decision_id.startswith("r-") else None
    if started is not None:
        raise NotPossible(f"{started.id} was started already and is {started.state}: there is nothing to approve")
    raise Unknown(f"no decision {decision_id[:100]!r} awaits approval; GET /v1/models/MODEL shows the last one of each")
