"""Releases: every move of a model's champion pointer, and the way back."""

from collections.abc import Sequence

from fastapi import APIRouter, Request, Response

from service.ledger.records import Release
from service.retraining.aftermath import between_regressions
from service.retraining.releasing import roll_back
from service.web.auth import Caller
from service.web.routes.desk import AtDesk, Desk, Limit, Operator, Reader, answer, in_thread
from service.web.routes.refusals import NotPossible
from service.web.routes.wishes import WISH_DOCUMENTED, Wish, read_wish, record

routes = APIRouter(tags=["releases"])


@routes.get("/v1/models/{model}/releases", summary="Releases of a model, newest first")
def list_releases(model: str, desk: AtDesk, caller: Reader, limit: Limit = 100) -> Response:
    """First releases, releases and rollbacks, each with its reason, the uri of a model that is not held here, its
    digest and its retraining; `regressions` are those found worse while watched, `aftermaths` say of each released
    version whether what it was for has cleared.
    """
    desk.check_model(model, caller)
    ledger = desk.house.ledger
    return answer(
        {
            "champion": ledger.champion(model) or None,
            "releases": ledger.releases(model)[: -limit - 1 : -1],
            "regressions": ledger.regressions(model)[: -limit - 1 : -1],
            "seconds_between_regressions": between_regressions(ledger, model, desk.house.clock()),
            "aftermaths": ledger.aftermaths(model),
        }
    )


@routes.post("/v1/models/{model}/rollback", summary="Go back to the version before", openapi_extra=WISH_DOCUMENTED)
async def rollback(model: str, request: Request, desk: AtDesk, caller: Operator) -> Response:
    """Makes the version that the champion replaced the champion again. Again, it goes one version further back."""
    wish = await read_wish(request, desk, caller, Wish)
    return await in_thread(lambda: _roll_back(desk, model, caller, wish))


def _roll_back(desk: Desk, model: str, caller: Caller, wish: Wish) -> Response:
    house = desk.house
    desk.check_model(model, caller)
    champion = house.ledger.champion(model)
    previous = version_before(house.ledger.releases(model), champion)
    if not previous:
        shown = f"{champion} is its first version" if champion else "it has no champion yet"
        raise NotPossible(f"{model} cannot go back: {shown}")
    release = roll_back(house, model, champion, previous, f"{wish.who}: {wish.why}")
    record(desk, model, "rollback", wish, version=previous, previous=champion)
    return answer(release)


def version_before(releases: Sequence[Release], champion: str) -> str:
    """The version that the champion replaced when it was released last; empty where there is none.

    Rollbacks are left out: after one, the version before is an older one, not the one that was just given up.
    """
    moves = [each for each in releases if each.version == champion and each.kind != "rollback"]
    return moves[-1].previous if moves else ""
