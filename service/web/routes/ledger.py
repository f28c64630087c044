"""GET the ledger as it is stored: the chain of entries, for whoever keeps a copy or recomputes it."""

from typing import Annotated

from fastapi import APIRouter, Query, Response

from service.web.routes.desk import AtDesk, Limit, Reader, answer
from service.web.routes.refusals import Unknown

routes = APIRouter(tags=["ledger"])

After = Annotated[int, Query(ge=0, description="The entries that follow this number.")]


@routes.get("/v1/models/{model}/ledger", summary="The head of a model's ledger")
def show_head(model: str, desk: AtDesk, caller: Reader) -> Response:
    """How many entries its chain has, and the hash of the newest. `unchained` decisions are older than the chain."""
    desk.check_model(model, caller)
    ledger = desk.house.ledger
    head = ledger.chain(model).head()
    return answer({"model": model, "entries": head.number, "head": head.hash, "unchained": ledger.unchained(model)})


@routes.get("/v1/models/{model}/ledger/entries", summary="Entries of a model's ledger, oldest first")
def list_entries(model: str, desk: AtDesk, caller: Reader, after: After = 0, limit: Limit = 500) -> Response:
    """One a line, byte for byte as it was hashed; the SHA-256 of a line is what the next one names as `previous`."""
    desk.check_model(model, caller)
    entries = desk.house.ledger.chain(model).page(after, limit)
    return Response(b"".join(entry + b"\n" for entry in entries), media_type="application/x-ndjson")


@routes.get("/v1/models/{model}/policies/{digest}", summary="A policy by its digest")
def show_policy_text(model: str, digest: str, desk: AtDesk, caller: Reader) -> Response:
    """All that the policy said with its defaults spelled out, as JSON whose SHA-256 is the digest in its decisions."""
    desk.check_model(model, caller)
    text = desk.house.ledger.policy_text(model, digest)
    if text is None:
        raise Unknown(f"no decision of {model} that is kept with its policy was made by {digest[:100]!r}")
    return Response(text, media_type="application/json")
