"""POST predictions and labels: the busy routes, without FastAPI's work on every request."""

from collections.abc import Callable, Coroutine, Sequence
from datetime import datetime
from typing import Any

import anyio
from fastapi import APIRouter, Request, Response
from fastapi.routing import APIRoute

from service.house import House
from service.intake.bodies import wire
from service.intake.bodies.compressed import unpack
from service.intake.bodies.limits import Limits
from service.intake.log import small
from service.intake.log.entries import LABELS, PREDICTIONS
from service.intake.log.ingest import Ingest, hash_body
from service.intake.log.small import Small
from service.web.routes.bodies import ARROW, JSON, NDJSON, coding_of, idempotency_key, type_of
from service.web.routes.bodies_told import ANSWER, DESCRIPTION, LABEL, PREDICTION, documented
from service.web.routes.desk import Desk, answer, desk_of, in_thread

Parse = Callable[..., wire.Batch]
Accept = Callable[..., dict[str, Any]]

_FORMS: dict[str, wire.Form] = {JSON: "json", NDJSON: "ndjson", ARROW: "arrow"}
# Parsing is work for one processor, and further threads would only be woken to wait: with bodies of 1,000 rows 8 used a
# quarter more of it than 2, of which one parses while the other waits for the store's disk.
_PARSERS = 2
# While it is parsed a body may take 20 times its size in memory, a compressed one many times more.
_LARGE_BYTES, _LARGE_COMPRESSED_BYTES, _LARGE_PARSERS = 4 << 20, 256 << 10, 2


class PlainRoute(APIRoute):
    """A route whose endpoint takes the request as it is: FastAPI documents it, and costs nothing while it answers."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        endpoint: Callable[[Request], Coroutine[Any, Any, Response]] = self.endpoint
        return endpoint


class Intake:
    """The two endpoints, and the threads they share."""

    def __init__(self) -> None:
        self._parsers = anyio.CapacityLimiter(_PARSERS)
        self._large = anyio.CapacityLimiter(_LARGE_PARSERS)

    async def predictions(self, request: Request) -> Response:
        """Take a batch of predictions."""
        return await self._take(request, wire.predictions, Ingest.accept_predictions)

    async def labels(self, request: Request) -> Response:
        """Take a batch of labels."""
        return await self._take(request, wire.labels, Ingest.accept_labels)

    async def _take(self, request: Request, parse: Parse, accept: Accept) -> Response:
        desk = await desk_of(request)
        desk.check_room()
        caller = await desk.admit(request, "ingest")
        form, coding = _FORMS[type_of(request, tuple(_FORMS))], coding_of(request)
        key = idempotency_key(request)
        model = request.path_params["model"]
        if desk.house.policies.policy(model) is None:
            await in_thread(lambda: desk.check_model(model, caller))
        async with desk.bodies.take(request) as body:
            if len(body) <= small.MOST_BYTES and not coding:
                kind = PREDICTIONS if parse is wire.predictions else LABELS
                return answer(await desk.small.add(Small(kind, model, form, body, key)), 202)
            return await anyio.to_thread.run_sync(
                lambda: _append(desk, model, form, coding, key, body, parse, accept),
                limiter=self._limiter(len(body), coding),
            )

    def _limiter(self, size: int, coding: str) -> anyio.CapacityLimiter:
        return self._large if size > (_LARGE_COMPRESSED_BYTES if coding else _LARGE_BYTES) else self._parsers


def accept_small(house: House, bodies: Sequence[Small]) -> list[small.Answer]:
    """The answer to each of these bodies, which came at about one moment."""

    def parse(kind: str, model: str, body: bytes, form: wire.Form, now: datetime) -> wire.Batch:
        rows = wire.predictions if kind == PREDICTIONS else wire.labels
        return rows(body, form, task_of(house, model), now, Limits.of(house.settings))

    return small.accept_all(house.ingest, parse, bodies, house.clock())


def _append(
    desk: Desk, model: str, form: wire.Form, coding: str, key: str | None, sent: bytes, parse: Parse, accept: Accept
) -> Response:
    house = desk.house
    now, limits = house.clock(), Limits.of(house.settings)
    body = unpack(sent, coding, limits.body_bytes) if coding else sent
    batch = parse(body, form, task_of(house, model), now, limits)
    # Of what was compressed, so that a body compressed anew is the same body.
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
    for path, endpoint, row in (("predictions", intake.predictions, PREDICTION), ("labels", intake.labels, LABEL)):
        routes.add_api_route(
            f"/v1/models/{{model}}/{path}",
            endpoint,
            methods=["POST"],
            status_code=202,
            name=f"post_{path}",
            summary=f"Post {path}",
            description=DESCRIPTION,
            responses={202: {"description": "The rows are durable.", "content": {JSON: {"schema": ANSWER}}}},
            openapi_extra=documented(row),
        )
    return routes
