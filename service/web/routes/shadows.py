"""GET shadows: what a model's shadow policies would have done, beside what its policy in force did."""

from typing import Annotated

from fastapi import APIRouter, Query, Response

from service.shadows.ledger import ShadowLedger
from service.shadows.view import DAYS, side_by_side
from service.web.routes.desk import AtDesk, Limit, Reader, answer
from service.web.routes.refusals import Unknown

routes = APIRouter(tags=["policies"])

Days = Annotated[int, Query(ge=1, le=3650, description="How far back.")]


@routes.get("/v1/models/{model}/shadows", summary="Shadow policies beside the one in force")
def list_shadows(model: str, desk: AtDesk, caller: Reader, days: Days = DAYS) -> Response:
    """For both sides the retrainings of the last days; for each shadow what it says now, how often it said what, and
    where it parted from the policy in force, with what either of them missed.
    """
    desk.check_model(model, caller)
    return answer(side_by_side(desk.house, model, days))


@routes.get("/v1/models/{model}/shadows/{shadow}/decisions", summary="What a shadow would have decided")
def list_shadow_decisions(model: str, shadow: str, desk: AtDesk, caller: Reader, limit: Limit = 100) -> Response:
    """Newest first: those that changed something on either side, and one a day besides. Nothing came of any."""
    desk.check_model(model, caller)
    ledger, present = ShadowLedger(desk.house.store), desk.house.policies.shadows(model)
    if shadow not in present and shadow not in ledger.shadows(model):
        listed = ", ".join(sorted(present)) or "there is none"
        raise Unknown(f"model {model} has no shadow policy {shadow[:100]!r}; there are: {listed}")
    return answer({"decisions": ledger.decisions(model, shadow, limit)})
