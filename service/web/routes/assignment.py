"""GET which version of a model serves whom: what a production system asks that routes a canary."""

import hashlib
from typing import Annotated

import msgspec
from fastapi import APIRouter, Query, Request, Response

from service.retraining.assignment import FRESH_SECONDS, Split
from service.web.auth import Caller, NotAllowed
from service.web.routes.desk import AtDesk, Desk, in_thread

routes = APIRouter(tags=["releases"])
MOST_UNIT_CHARACTERS = 500

Unit = Annotated[
    str | None,
    Query(max_length=MOST_UNIT_CHARACTERS, description="Whoever is to see one model only: a customer, a session."),
]


@routes.get("/v1/models/{model}/assignment", summary="Which version serves whom")
async def show_assignment(model: str, request: Request, desk: AtDesk, unit: Unit = None) -> Response:
    """Champion, challenger on trial with its share of the traffic, and the version for this `unit`: the same one for as
    long as the trial lasts.

    Takes the scope `ingest` or `read`. An answer may be kept for a few seconds, and has an ETag.
    """
    caller = await _admit(request, desk)
    split = desk.splits.fresh(model)
    if split is None:
        split = await in_thread(lambda: _read(desk, model, caller))
    body = msgspec.json.encode(_shown(split, unit))
    tag = f'"{hashlib.sha256(body).hexdigest()[:16]}"'
    headers = {"ETag": tag, "Cache-Control": f"private, max-age={FRESH_SECONDS:.0f}", "Vary": "Authorization"}
    if request.headers.get("if-none-match") == tag:
        return Response(status_code=304, headers=headers)
    return Response(body, headers=headers, media_type="application/json")


async def _admit(request: Request, desk: Desk) -> Caller:
    try:
        return await desk.admit(request, "ingest")
    except NotAllowed:
        return await desk.admit(request, "read")


def _read(desk: Desk, model: str, caller: Caller) -> Split:
    return desk.splits.read(desk.check_model(model, caller))


def _shown(split: Split, unit: str | None) -> dict[str, object]:
    """`uri` is that of the unit's version; without a unit that of the challenger, or else of the champion."""
    version = split.version_for(unit) if unit is not None else None
    return {
        "model": split.model,
        "champion": split.champion or None,
        "challenger": split.challenger or None,
        "trial": split.trial or None,
        "mode": split.mode or None,
        "share": split.share,
        "version": version or None,
        "until": split.until,
        "uri": split.uri_of(version or split.challenger or split.champion) or None,
    }
