"""GET the model report of a retraining: what its challenger was asked, what it answered, and the verdict."""

from typing import Annotated

from fastapi import APIRouter, Header, Response
from starlette.responses import HTMLResponse

from service.report.render import style_of
from service.retraining.report import HTML, MARKDOWN, read_report
from service.web.auth import Caller
from service.web.routes.desk import AtDesk, Desk, Reader
from service.web.routes.refusals import Unknown
from service.web.routes.retrainings import find_retraining

routes = APIRouter(tags=["retrainings"])

Accept = Annotated[str, Header()]


@routes.get("/v1/retrainings/{retraining_id}/report", summary="The model report", response_class=HTMLResponse)
def show_report(retraining_id: str, desk: AtDesk, caller: Reader, accept: Accept = "") -> Response:
    """One HTML page that needs nothing else: it can be saved and sent. With `Accept: text/markdown` the same as
    Markdown. Kept when the retraining was judged, and again when it ended.
    """
    return _report(desk, caller, retraining_id, MARKDOWN if accept.startswith("text/markdown") else HTML)


@routes.get("/v1/retrainings/{retraining_id}/report.md", summary="The model report as Markdown")
def show_markdown(retraining_id: str, desk: AtDesk, caller: Reader) -> Response:
    """The same as Markdown."""
    return _report(desk, caller, retraining_id, MARKDOWN)


def _report(desk: Desk, caller: Caller, retraining_id: str, form: str) -> Response:
    found = find_retraining(desk, caller, retraining_id)
    report = read_report(desk.house, found, form)
    if report is None:
        raise Unknown(f"there is no report of {found.id}, and no policy of {found.model} to make one under")
    safe = {"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer", "Cache-Control": "no-store"}
    if form == MARKDOWN:
        return Response(report, headers=safe, media_type="text/markdown; charset=utf-8")
    allowed = (
        f"default-src 'none'; style-src {style_of(report)}; img-src data:; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    )
    return Response(report, headers=safe | {"Content-Security-Policy": allowed}, media_type="text/html; charset=utf-8")
