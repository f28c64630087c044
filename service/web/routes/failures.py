"""Failure categories of a model: what goes wrong, where, how often, trend, priority; and what people say of each."""

import msgspec
from fastapi import APIRouter, Request, Response

from policies.failures import STATES
from service.failures.saying import say
from service.failures.view import category_view, failures_view, find_category
from service.web.routes.bodies import JSON
from service.web.routes.desk import AtDesk, Desk, Operator, Reader, answer, in_thread
from service.web.routes.wishes import Wish, read_wish

routes = APIRouter(tags=["failures"])


class FailureWish(Wish, frozen=True, forbid_unknown_fields=True):
    """What is said of a category; an absent field stays as it was."""

    owner: str | None = None
    state: str | None = None
    note: str | None = None
    severity: float | None = None
    release: str | None = None


_TEXT = {"type": "string"}
_DOCUMENTED = {
    "requestBody": {
        "required": True,
        "content": {
            JSON: {
                "schema": {
                    "type": "object",
                    "required": ["who", "why"],
                    "properties": {
                        "who": _TEXT,
                        "why": _TEXT,
                        "owner": {**_TEXT, "description": "Who works on it."},
                        "state": {"enum": list(STATES), "description": "In what state it is."},
                        "note": {**_TEXT, "description": "What else should be known of it."},
                        "severity": {"type": "number", "description": "What an error costs; 1 is as usual."},
                        "release": {**_TEXT, "description": "The version that fixes it, with the state fixed."},
                    },
                }
            }
        },
    }
}


@routes.get("/v1/models/{model}/failures", summary="What goes wrong, by category")
def list_failures(model: str, desk: AtDesk, caller: Reader) -> Response:
    """The categories of the champion's newest labelled errors, those first that need somebody most."""
    desk.check_model(model, caller)
    return answer(failures_view(desk.house, model))


@routes.get("/v1/models/{model}/failures/{category}", summary="One failure category")
def show_failure(model: str, category: str, desk: AtDesk, caller: Reader) -> Response:
    """With examples, and what counts say of a fix."""
    desk.check_model(model, caller)
    return answer(category_view(find_category(desk.house, model, category)))


@routes.post("/v1/models/{model}/failures/{category}", summary="Say something of a category", openapi_extra=_DOCUMENTED)
@routes.patch(
    "/v1/models/{model}/failures/{category}", summary="Say something of a category", openapi_extra=_DOCUMENTED
)
async def tell_failure(model: str, category: str, request: Request, desk: AtDesk, caller: Operator) -> Response:
    """Owner, state, note and severity; who said so and why stays in the ledger."""
    wish = await read_wish(request, desk, caller, FailureWish)
    return await in_thread(lambda: _say(desk, desk.check_model(model, caller), category, wish))


def _say(desk: Desk, model: str, category: str, wish: FailureWish) -> Response:
    return answer(category_view(say(desk.house, model, category, **msgspec.structs.asdict(wish))))
