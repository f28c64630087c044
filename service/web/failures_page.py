"""The page of a model's failure categories: ranked, with who works on them, how they move, and examples."""

from fastapi import APIRouter, Request, Response

from service.errors import StoreError
from service.web.auth import Caller
from service.web.failure_rows import failure_rows
from service.web.pages import render
from service.web.routes.desk import AtDesk, Desk, in_thread

routes = APIRouter(include_in_schema=False)


@routes.get("/models/{model}/failures")
async def show_failures(model: str, request: Request, desk: AtDesk) -> Response:
    """All categories, those first that need somebody most."""
    try:
        caller = await desk.admit(request, "read")
        return await in_thread(lambda: _page(desk, caller, model))
    except StoreError as error:
        return render("away.html", 503, problem=str(error))


def _page(desk: Desk, caller: Caller, model: str) -> Response:
    desk.check_model(model, caller)
    look, rows = failure_rows(desk.house, model)
    return render("failures.html", model=model, look=look, rows=rows, now=desk.house.clock())
