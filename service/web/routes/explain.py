"""GET explain: why a model would or would not be retrained now, condition by condition, and what is missing."""

from typing import Annotated

import msgspec
from fastapi import APIRouter, Query, Response

from policies.errors import SegmentUnknown
from policies.explanation import Explanation
from service.deciding.explaining import NothingToExplain
from service.shadows.shadows import ShadowUnfit
from service.web.routes.desk import AtDesk, Desk, Reader, answer
from service.web.routes.refusals import NotPossible, Unknown

routes = APIRouter(tags=["decisions"])

Segment = Annotated[str | None, Query(description="One segment; otherwise those nearest to a retraining.")]
Shadow = Annotated[str | None, Query(alias="policy", description="A shadow policy instead of the one in force.")]


@routes.get("/v1/models/{model}/explain", summary="Why it would or would not retrain now")
def show_explanation(
    model: str, desk: AtDesk, caller: Reader, segment: Segment = None, shadow: Shadow = None
) -> Response:
    """Readings taken now, held against every condition of every trigger, then the reasons to wait; and what is missing.

    Nothing is recorded. `blind` says what to do where the model has no baseline.
    """
    desk.check_model(model, caller)
    found = explained(desk, model, segment, shadow)
    blind = desk.house.ledger.blindness(model)
    return answer({"shadow": shadow, "blind": blind, **msgspec.to_builtins(found)})


def explained(desk: Desk, model: str, segment: str | None, shadow: str | None) -> Explanation:
    """The explanation. Raises Unknown where the policy or segment is not there, NotPossible for an unfit shadow."""
    try:
        return desk.explaining.explain(model, segment, shadow)
    except (NothingToExplain, SegmentUnknown) as error:
        raise Unknown(str(error)) from error
    except ShadowUnfit as error:
        raise NotPossible(f"shadow {shadow} of {model} is not evaluated: {error}") from error
