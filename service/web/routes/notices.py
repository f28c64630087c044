"""Notices: what was sent of a model, and a test of where they go."""

from typing import Any

import msgspec
from fastapi import APIRouter, Response

from service.notices.delivery import try_out
from service.notices.outbox import Letter, Outbox
from service.notices.receivers import VARIABLES, receivers_of
from service.web.routes.desk import AtDesk, Limit, Operator, Reader, answer
from service.web.routes.refusals import NotPossible

routes = APIRouter(tags=["notices"])


@routes.get("/v1/models/{model}/notices", summary="Notices of a model, newest first")
def list_notices(model: str, desk: AtDesk, caller: Reader, limit: Limit = 100) -> Response:
    """What became of the newest notices, one entry for each receiver: at most the last 200 are kept.

    `receivers` are the ones that this process knows an address of, `waiting` is how many are still to be delivered.
    """
    desk.check_model(model, caller)
    outbox = Outbox(desk.house.store)
    found = [_plain(letter) for letter in outbox.newest(model, limit)]
    receivers = sorted(receivers_of(desk.house.settings))
    return answer({"model": model, "receivers": receivers, "waiting": outbox.waiting(model), "notices": found})


@routes.post("/v1/notices/test", summary="Send a test notice")
def send_test(desk: AtDesk, caller: Operator) -> Response:
    """To every receiver, at once, from this process; what each answered. `status` is null where none came in time."""
    if not receivers_of(desk.house.settings):
        raise NotPossible(f"notices go nowhere: set {' or '.join(VARIABLES.values())} and start the service again")
    found = try_out(desk.house, f"the key {caller.name}" if caller.name else "this machine")
    tried = [
        {"to": name, "is_taken": each.is_taken, "status": each.status, "reply": each.text}
        for name, each in found.items()
    ]
    return answer({"tried": tried})


def _plain(letter: Letter) -> dict[str, Any]:
    said: dict[str, Any] = msgspec.to_builtins(letter)
    return {**said.pop("notice"), **said}
