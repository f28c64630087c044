"""POST events of KServe's inference logger: requests and responses, put together and taken as predictions.

The logger takes anything but 200 for a failure and never sends again. So an event that can be of no use is answered
with 200 too, counted with its reason, and told in the log; what another try could mend is answered with its problem.
"""

import logging
from dataclasses import dataclass
from functools import partial
from typing import Any

from fastapi import APIRouter, Request, Response

from service.conventions.cloudevents import STRUCTURED, Event, read_event
from service.conventions.exchanges import as_lines, as_rows
from service.conventions.names import feature_names
from service.conventions.pairs import Offered, Pairs
from service.conventions.unusable import Unusable
from service.errors import BadBody, KeyConflict, NothingAcceptable
from service.intake.bodies import wire
from service.intake.bodies.limits import Limits
from service.intake.log.entries import PREDICTIONS
from service.intake.log.ingest import hash_body
from service.intake.log.small import MOST_BYTES, Small
from service.web.auth import Caller, NotAllowed
from service.web.routes.bodies import JSON
from service.web.routes.desk import Desk, answer, desk_of, in_thread
from service.web.routes.intake import PlainRoute, task_of

_log = logging.getLogger(__name__)
_MOST_TOLD = 1000


@dataclass(frozen=True)
class _Ready:
    """An exchange whose rows wait to be appended."""

    event: Event
    offered: Offered
    rows: bytes


class Inbox:
    """The endpoint; it remembers what it has told the log, so that each kind of trouble is told once for a model."""

    def __init__(self) -> None:
        self._told: set[tuple[str, str]] = set()

    async def post(self, request: Request) -> Response:
        """Take one event."""
        desk = await desk_of(request)
        # The logger's address is all that can be set of it: http://anything:KEY@host/v1/kserve sends the key as Basic.
        caller = await desk.admit(request, "ingest", takes_basic=True)
        pairs = Pairs(desk.house.log, desk.house.settings.pairing, desk.house.settings.pairing_bytes)
        async with desk.bodies.take(request) as body:
            found = await in_thread(lambda: self._offer(desk, caller, pairs, request, body))
            if not isinstance(found, _Ready):
                return answer(found)
            ready = found
            try:
                taken = await _append(desk, ready)
            except (BadBody, KeyConflict) as problem:
                return answer(await in_thread(partial(self._refuse, pairs, ready, problem)))
            await in_thread(lambda: pairs.settle(ready.event, ready.offered, "counted"))
            told = ("accepted", "rejected", "rejected_rows")
            return answer({"outcome": "counted", **{name: taken[name] for name in told}})

    def _offer(
        self, desk: Desk, caller: Caller, pairs: Pairs, request: Request, body: bytes
    ) -> dict[str, Any] | _Ready:
        try:
            event = read_event(request.headers, body)
        except Unusable as problem:
            pairs.count("refused")
            return self._tell("refused", "", problem.reason, str(problem))
        if not caller.may_see(event.model):
            raise NotAllowed(f"the access key {caller.name!r} is for the models {', '.join(caller.models)} only")
        if event.model not in desk.models(Caller()):
            pairs.count("unknown_model")
            said = f"there is no model {event.model[:80]!r}: a policy file or a first baseline of this name adds it"
            return self._tell("unknown_model", event.model[:80], "unknown_model", said)
        offered = pairs.offer(event, desk.house.clock())
        if offered.exchange is None:
            return self._tell(offered.outcome, event.model, offered.outcome, _SAID[offered.outcome])
        house = desk.house
        try:
            names = feature_names(house.store, house.ledger, event.model)
            return _Ready(event, offered, as_lines(as_rows(offered.exchange, names, task_of(house, event.model))))
        except Unusable as problem:
            pairs.settle(event, offered, "refused", problem.reason)
            return self._tell("refused", event.model, problem.reason, str(problem))

    def _refuse(self, pairs: Pairs, ready: _Ready, problem: BadBody | KeyConflict) -> dict[str, Any]:
        outcome, reason = _REFUSED.get(type(problem), ("refused", "too_many_rows"))
        pairs.settle(ready.event, ready.offered, outcome, reason)
        return self._tell(outcome, ready.event.model, reason or "rows", str(problem))

    def _tell(self, outcome: str, model: str, reason: str, said: str) -> dict[str, Any]:
        if (
            outcome not in {"waiting", "duplicate"}
            and (model, reason) not in self._told
            and len(self._told) < _MOST_TOLD
        ):
            self._told.add((model, reason))
            _log.warning("KServe event of %s %s: %s", model or "no model", outcome, said)
        return {"outcome": outcome, "detail": said}


async def _append(desk: Desk, ready: _Ready) -> dict[str, Any]:
    """The answer to the exchange's rows, taken as any body is, under a key that follows from the event's id."""
    model, rows = ready.event.model, ready.rows
    if len(rows) <= MOST_BYTES:
        return await desk.small.add(Small(PREDICTIONS, model, "ndjson", rows, ready.offered.key))
    house = desk.house

    def take() -> dict[str, Any]:
        now = house.clock()
        batch = wire.predictions(rows, "ndjson", task_of(house, model), now, Limits.of(house.settings))
        return house.ingest.accept_predictions(model, batch, ready.offered.key, hash_body(rows), now)

    return await in_thread(take)


# The rows of a body of which none can be taken are counted with their reasons already.
_REFUSED = {NothingAcceptable: ("refused", ""), KeyConflict: ("conflict", "conflict")}
_SAID = {
    "waiting": "kept until the other half of the exchange comes",
    "duplicate": "this event came before",
    "conflict": "another event came before with this id: each request needs a ce-id of its own",
}


def router() -> APIRouter:
    """The route."""
    routes = APIRouter(tags=["intake"], route_class=PlainRoute)
    routes.add_api_route(
        "/v1/kserve",
        Inbox().post,
        methods=["POST"],
        name="post_kserve",
        summary="Post an event of KServe's inference logger",
        description="A CloudEvent in binary or structured mode: one half of an exchange with a model server.",
        responses={
            200: {"description": "Taken, or of no use; the answer says which.", "content": {JSON: {"schema": _ANSWER}}}
        },
        openapi_extra={
            "parameters": [
                {"name": name, "in": "header", "schema": {"type": "string"}, "description": told}
                for name, told in (
                    ("ce-specversion", "1.0"),
                    ("ce-id", "The same for a request and its response."),
                    ("ce-type", "org.kubeflow.serving.inference.request or .response"),
                    ("ce-inferenceservicename", "The name of the model."),
                    ("ce-time", "When it happened, RFC 3339."),
                    ("ce-metadata", "Headers of the request as JSON; they become tags."),
                )
            ],
            "requestBody": {
                "required": True,
                "content": {JSON: {"schema": {"type": "object"}}, STRUCTURED: {"schema": {"type": "object"}}},
            },
        },
    )
    return routes


_ANSWER = {
    "type": "object",
    "required": ["outcome"],
    "properties": {
        "outcome": {"type": "string"},
        "detail": {"type": "string"},
        "accepted": {"type": "integer"},
        "rejected_rows": {"type": "integer"},
    },
}
