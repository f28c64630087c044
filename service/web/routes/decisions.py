"""GET decisions: the ledger of what was decided, with every reason, and the evidence a person reads."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Header, Response
from starlette.responses import FileResponse, HTMLResponse

from service.evidence import together
from service.evidence.reports import report_of
from service.house import House
from service.ledger.records import DecisionRecord
from service.web.routes.desk import AtDesk, Desk, Limit, Reader, answer
from service.web.routes.refusals import NotYet, Unknown

routes = APIRouter(tags=["decisions"])

Accept = Annotated[str, Header()]
# The report is a page of its own with inline scripts, made from what senders wrote: it may run, but not in our name.
_SANDBOX = {
    "Content-Security-Policy": "sandbox allow-scripts; default-src 'unsafe-inline' 'unsafe-eval' data: blob:",
    "X-Content-Type-Options": "nosniff",
}


@routes.get("/v1/models/{model}/decisions", summary="Decisions of a model, newest first")
def list_decisions(model: str, desk: AtDesk, caller: Reader, limit: Limit = 100) -> Response:
    """Decisions that changed something, and one a day besides; each with all its reasons.

    `entry` is its number and hash in the ledger's chain, null where it is older than that. `confirmation` is what
    labels made of its trigger since: null where none fired, or while they have not settled it.
    """
    desk.check_model(model, caller)
    return answer({"decisions": _told(desk.house, desk.house.ledger.decisions(model, limit))})


@routes.get("/v1/decisions/{decision_id}", summary="One decision")
def show_decision(decision_id: str, desk: AtDesk, caller: Reader) -> Response:
    """Every reason with the two numbers that were compared, and the readings that made it news, if it was."""
    return answer(_told(desk.house, [_find(desk, desk.models(caller), decision_id)])[0])


@routes.get("/v1/models/{model}/decisions/{decision_id}", summary="One decision of a model")
def show_decision_of_model(model: str, decision_id: str, desk: AtDesk, caller: Reader) -> Response:
    """The same."""
    return answer(_told(desk.house, [_find(desk, [desk.check_model(model, caller)], decision_id)])[0])


@routes.get("/v1/decisions/{decision_id}/evidence", summary="The Evidently report", response_class=HTMLResponse)
def show_evidence(decision_id: str, desk: AtDesk, caller: Reader, accept: Accept = "") -> Response:
    """An HTML page: a sample of the window against a sample of the baseline. Made for decisions to retrain only.

    With `Accept: application/json` what is on top of it: which columns together tell the two apart.
    """
    return _evidence(desk, _find(desk, desk.models(caller), decision_id), accept)


@routes.get(
    "/v1/models/{model}/decisions/{decision_id}/evidence",
    summary="The Evidently report of a decision of a model",
    response_class=HTMLResponse,
)
def show_evidence_of_model(model: str, decision_id: str, desk: AtDesk, caller: Reader, accept: Accept = "") -> Response:
    """The same."""
    return _evidence(desk, _find(desk, [desk.check_model(model, caller)], decision_id), accept)


def report_file(house: House, decision: DecisionRecord) -> Path:
    """Where the decision's report is, once it is made."""
    return report_of(house, decision.id)


def _evidence(desk: Desk, decision: DecisionRecord, accept: str) -> Response:
    report = report_file(desk.house, decision)
    if accept.startswith("application/json"):
        found = together.read(report.parent)
        if found is not None:
            return answer({"sentence": found.sentence, "segment": found.segment, "reading": found.reading})
        if report.is_file():
            raise Unknown(f"which columns together made {decision.id} was not read")
    elif report.is_file():
        return FileResponse(report, media_type="text/html; charset=utf-8", headers=_SANDBOX)
    if report.parent.is_dir():
        raise NotYet(f"the report of {decision.id} is being made: ask again in a few seconds")
    if decision.action == "retrain":
        raise Unknown(f"there is no report of {decision.id} in the data folder of this replica")
    raise Unknown(f"{decision.id} is a decision to {decision.action}: a report is made for a retrain only")


def _told(house: House, decisions: Sequence[DecisionRecord]) -> list[dict[str, Any]]:
    """Decisions of one model, with their entries in its chain and what labels made of them."""
    if not decisions:
        return []
    model, names = decisions[0].model, [each.id for each in decisions]
    entries, confirmed = house.ledger.chain(model).find(names), house.ledger.confirmed(model, names)
    return [
        {**msgspec.to_builtins(each), "entry": entries.get(each.id), "confirmation": confirmed.get(each.id)}
        for each in decisions
    ]


def _find(desk: Desk, models: Sequence[str], decision_id: str) -> DecisionRecord:
    found = next((d for model in models if (d := desk.house.ledger.decision(model, decision_id))), None)
    if found is None:
        raise Unknown(f"there is no decision {decision_id[:100]!r}; GET /v1/models/MODEL/decisions lists them")
    return found
