"""Batches set aside: what could not be counted, and a person's word on what becomes of it."""

from typing import Any

from fastapi import APIRouter, Request, Response

from service.errors import UnreadableEntry
from service.intake.folding import aside
from service.intake.folding.aside import Aside, NotAside
from service.web.auth import Caller
from service.web.routes.desk import AtDesk, Desk, Limit, Operator, Reader, answer, in_thread
from service.web.routes.wishes import WISH_DOCUMENTED, Wish, read_wish

routes = APIRouter(tags=["aside"])
ROWS_SHOWN = 5


@routes.get("/v1/aside", summary="Batches that were set aside, newest first")
def list_aside(desk: AtDesk, caller: Reader, limit: Limit = 100) -> Response:
    """Accepted batches that could not be counted, each with its reason; and those that somebody threw away."""
    store, partitions = desk.house.store, desk.house.log.partitions
    found = [each for each in aside.list_all(store, partitions) if caller.may_see(each.model)]
    gone = [each for each in aside.list_discarded(store, partitions, limit) if caller.may_see(each.model)]
    return answer(
        {"batches": len(found), "rows": sum(e.rows for e in found), "aside": found[:limit], "discarded": gone}
    )


@routes.get("/v1/aside/{batch_id}", summary="One of them")
def show_aside(batch_id: str, desk: AtDesk, caller: Operator) -> Response:
    """With its columns and first rows, where they can be read; `unreadable` says why not. Keys that read figures see no
    rows, so this is for those who operate.
    """
    found = _find(desk, caller, batch_id)
    return answer({**_plain(found), **_contents(desk, found)})


@routes.post("/v1/aside/{batch_id}/replay", summary="Put it back into the log")
def replay(batch_id: str, desk: AtDesk, caller: Operator) -> Response:
    """It is counted once, or set aside again under its new id, where what was wrong still is."""
    found = _find(desk, caller, batch_id)
    house = desk.house
    new = aside.replay(house.store, house.log.partitions, batch_id, house.clock())
    return answer({"replayed": batch_id, "as": new, "model": found.model, "rows": found.rows})


@routes.post("/v1/aside/{batch_id}/discard", summary="Throw it away", openapi_extra=WISH_DOCUMENTED)
async def discard(batch_id: str, request: Request, desk: AtDesk, caller: Operator) -> Response:
    """Its rows are lost, and who wanted it and why stays on record."""
    wish = await read_wish(request, desk, caller, Wish)
    return await in_thread(lambda: _discard(desk, caller, batch_id, wish))


def _discard(desk: Desk, caller: Caller, batch_id: str, wish: Wish) -> Response:
    _find(desk, caller, batch_id)
    house = desk.house
    return answer(aside.discard(house.store, house.log.partitions, batch_id, wish.who, wish.why, house.clock()))


def _find(desk: Desk, caller: Caller, batch_id: str) -> Aside:
    found = aside.find(desk.house.store, desk.house.log.partitions, batch_id)
    if not caller.may_see(found.model):
        raise NotAside(batch_id)
    return found


def _plain(found: Aside) -> dict[str, Any]:
    return {name: getattr(found, name) for name in Aside.__dataclass_fields__}


def _contents(desk: Desk, found: Aside) -> dict[str, Any]:
    if found.is_deadly:
        return {"columns": None, "sample": None, "unreadable": "reading it may end the process that does"}
    try:
        table = aside.rows_of(desk.house.store, found)
    except UnreadableEntry as error:
        return {"columns": None, "sample": None, "unreadable": str(error)}
    columns = {name: str(kind) for name, kind in zip(table.schema.names, table.schema.types, strict=True)}
    return {"columns": columns, "sample": aside.sample(table, ROWS_SHOWN), "unreadable": None}
