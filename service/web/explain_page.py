"""The page that says why a model would or would not be retrained now: one click from whatever asks the question."""

from fastapi import APIRouter, Request, Response

from service.errors import StoreError
from service.house import House
from service.web.auth import Caller
from service.web.pages import render
from service.web.routes.desk import AtDesk, Desk, in_thread
from service.web.routes.explain import Segment, Shadow, explained
from service.web.routes.models import is_used

routes = APIRouter(include_in_schema=False)
_SEGMENTS_LISTED = 60


@routes.get("/models/{model}/explain")
async def show_explanation(
    model: str, request: Request, desk: AtDesk, segment: Segment = None, shadow: Shadow = None
) -> Response:
    """Every condition in words, with a sign; what is missing; links to the other segments and to the shadows."""
    try:
        caller = await desk.admit(request, "read")
        return await in_thread(lambda: _page(desk, caller, model, segment, shadow))
    except StoreError as error:
        return render("away.html", 503, problem=str(error))


def _page(desk: Desk, caller: Caller, model: str, segment: str | None, shadow: str | None) -> Response:
    desk.check_model(model, caller)
    house = desk.house
    return render(
        "explain.html",
        model=model,
        found=explained(desk, model, segment, shadow),
        shadow=shadow,
        segments=_segments(house, model),
        shadows=sorted(house.policies.shadows(model)),
        blind=house.ledger.blindness(model),
    )


def _segments(house: House, model: str) -> list[str]:
    """The segments to choose from, those with the most rows first; `all` is among them."""
    used = [each for each in house.ledger.evaluation(model).segments if is_used(each)]
    ordered = sorted(used, key=lambda each: (each["segment"] != "all", -each["rows"]))
    return [str(each["segment"]) for each in ordered[:_SEGMENTS_LISTED]]
