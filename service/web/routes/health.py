"""/metrics, /healthz, /readyz, and what the kinds of problems mean."""

from dataclasses import replace

from fastapi import APIRouter, Request, Response

from service.errors import StoreError
from service.web import metrics, observe
from service.web.auth import Caller
from service.web.routes.desk import AtDesk, Desk, answer, in_thread
from service.web.snapshot import Snapshot

routes = APIRouter(tags=["operations"])


@routes.get("/healthz", summary="Whether the process is alive")
async def healthz() -> Response:
    """Always 200: a store that is away is no reason to restart this process."""
    return answer({"alive": True})


@routes.get("/readyz", summary="Whether rows can be taken")
def readyz(desk: AtDesk) -> Response:
    """200 where the store can be written, else 503."""
    desk.house.store.check_writable()
    return answer({"ready": True})


@routes.get("/metrics", summary="Metrics for Prometheus")
async def show_metrics(request: Request, desk: AtDesk) -> Response:
    """Models from stored state, this process from itself. With the store away it says so and nothing about models."""
    try:
        caller = await desk.admit(request, "read")
        text = await in_thread(lambda: metrics.expose(lambda: _snapshot(desk, caller)))
    except StoreError:
        away = Snapshot(store_up=False, is_leader=desk.is_leader(), evaluations=desk.evaluations())
        text = metrics.expose(lambda: away)
    return Response(text, media_type=metrics.CONTENT_TYPE)


def _snapshot(desk: Desk, caller: Caller) -> Snapshot:
    taken = observe.snapshot(desk.house, is_leader=desk.is_leader(), evaluations=desk.evaluations())
    return replace(taken, models=tuple(each for each in taken.models if caller.may_see(each.model)))
