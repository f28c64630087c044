"""POST predictions and labels: the busy routes, without FastAPI's work on every request."""

from collections.abc import Callable, Coroutine
from typing import Any

import anyio
from fastapi import APIRouter, Request, Response
from fastapi.routing import APIRoute

from service.house import House
from service.intake import wire
from service.intake.ingest import Ingest, hash_body
from service.web.routes.bodies import JSON, NDJSON, check_type, idempotency_key
from service.web.routes.desk import Desk, answer, desk_of, in_thread

Parse = Callable[..., wire.Batch]
Accept = Callable[..., dict[str, Any]]

_FORMS: dict[str, wire.Form] = {JSON: "json", NDJSON: "ndjson"}
# Parsing is work for the processor, and appending waits for the store's disk: with bodies of 1,000 rows 16 threads took
# a fifth more than 4, with single rows no more. The other threads are left to who reads.
_PARSERS = 8


class PlainRoute(APIRoute):
    """A route whose endpoint takes the request as it is: FastAPI documents it, and costs nothing while it answers."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        endpoint: Callable[[Request], Coroutine[Any, Any, Response]] = self.endpoint
        return endpoint


class Intake:
    """The two endpoints, and the threads they share."""

    def __init__(self) -> None:
        self._parsers = anyio.CapacityLimiter(_PARSERS)

    async def predictions(self, request: Request) -> Response:
        """Take a batch of predictions."""
        return await self._take(request, wire.predictions, Ingest.accept_predictions)

    async def labels(self, request: Request) -> Response:
        """Take a batch of labels."""
        return await self._take(request, wire.labels, Ingest.accept_labels)

    async def _take(self, request: Request, parse: Parse, accept: Accept) -> Response:
        desk = await desk_of(request)
        caller = await desk.admit(request, "ingest")
        form = _FORMS[check_type(request, tuple(_FORMS))]
        key = idempotency_key(request)
        model = request.path_params["model"]
        if desk.house.policies.policy(model) is None:
            await in_thread(lambda: desk.check_model(model, caller))
        async with desk.bodies.take(request) as body:
            return await anyio.to_thread.run_sync(
                lambda: _append(desk, model, form, key, body, parse, accept), limiter=self._parsers
            )


def _append(
    desk: Desk, model: str, form: wire.Form, key: str | None, body: bytes, parse: Parse, accept: Accept
) -> Response:
    house = desk.house
    now = house.clock()
    batch = parse(body, form, task_of(house, model), now, most_rows=house.settings.max_batch_rows)
    return answer(accept(house.ingest, model, batch, key, hash_body(body), now), 202)


def task_of(house: House, model: str) -> wire.Task:
    """What the model predicts: its policy says it, else a baseline of it, else it is a classification."""
    policy = house.policies.policy(model)
    if policy is not None:
        return "regression" if policy.task.kind == "regression" else "classification"
    versions = [house.ledger.champion(model), *house.ledger.baselines(model)]
    found = (house.ledger.baseline(model, version) for version in versions if version)
    baseline = next((each for each in found if each is not None), None)
    return "regression" if baseline is not None and baseline.layout.task == "regression" else "classification"


def router() -> APIRouter:
    """The two routes."""
    intake, routes = Intake(), APIRouter(tags=["intake"], route_class=PlainRoute)
    for path, endpoint, row in (("predictions", intake.predictions, _PREDICTION), ("labels", intake.labels, _LABEL)):
        routes.add_api_route(
            f"/v1/models/{{model}}/{path}",
            endpoint,
            methods=["POST"],
            status_code=202,
            name=f"post_{path}",
            summary=f"Post {path}",
            description=_DESCRIPTION,
            responses={202: {"description": "The rows are durable.", "content": {JSON: {"schema": _ANSWER}}}},
            openapi_extra=_documented(row),
        )
    return routes


def _documented(row: dict[str, Any]) -> dict[str, Any]:
    return {
        "parameters": [
            {"name": "model", "in": "path", "required": True, "schema": {"type": "string"}},
            {
                "name": "Idempotency-Key",
                "in": "header",
                "schema": {"type": "string", "maxLength": 255},
                "description": "The same key and body again give the same answer, and nothing is counted twice.",
            },
        ],
        "requestBody": {
            "required": True,
            "content": {
                JSON: {"schema": {"type": "array", "items": row}},
                NDJSON: {"schema": {"type": "string", "description": "One such object a line."}},
            },
        },
    }


_DESCRIPTION = "Answered after the durable append. Rows that cannot be taken are listed; the others are taken."
_TEXT, _VALUE = {"type": "string"}, {"type": ["string", "number", "boolean"]}
_VALUES = {"type": "object", "additionalProperties": {"type": ["string", "number", "boolean", "null"]}}
_PREDICTION = {
    "type": "object",
    "required": ["prediction_id", "prediction"],
    "properties": {
        "prediction_id": _TEXT,
        "prediction": _VALUE,
        "timestamp": {"type": "string", "format": "date-time", "description": "Arrival where absent."},
        "model_version": {"type": "string", "description": "The champion where absent."},
        "confidence": {"type": "number", "minimum": 0, "maximum": 1},
        "scores": {"type": "object", "additionalProperties": {"type": "number"}},
        "features": _VALUES,
        "tags": _VALUES,
    },
}
_LABEL = {
    "type": "object",
    "required": ["prediction_id", "label"],
    "properties": {
        "prediction_id": _TEXT,
        "label": _VALUE,
        "timestamp": {"type": "string", "format": "date-time", "description": "Arrival where absent."},
        "outcome": {"type": "object", "description": "What the user experienced; kept with the label."},
    },
}
_ANSWER = {
    "type": "object",
    "properties": {
        "batch": _TEXT,
        "accepted": {"type": "integer"},
        "rejected": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {"row": {"type": "integer"}, "field": _TEXT, "problem": _TEXT},
            },
        },
        "rejected_rows": {"type": "integer"},
    },
}
