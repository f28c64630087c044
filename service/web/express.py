"""The busy routes answered before the router: choosing among all routes costs as much as an empty answer.

The routes stay in the router too, which documents them and answers their other methods.
"""

import re
from collections.abc import Awaitable, Callable, Sequence

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from monitors.errors import MonitorError
from policies.errors import PoliciesError
from service.errors import ServiceError
from service.web import problems
from service.web.routes.intake import PlainRoute

Endpoint = Callable[[Request], Awaitable[Response]]


class Express:
    """Answers the plain routes of these routers itself, and passes everything else on."""

    def __init__(self, app: ASGIApp, routers: Sequence[APIRouter]) -> None:
        self._app = app
        self._endpoints: list[tuple[str, Callable[[str], re.Match[str] | None], Endpoint]] = [
            (method, route.path_regex.match, route.endpoint)
            for router in routers
            for route in router.routes
            if isinstance(route, PlainRoute)
            for method in route.methods or ()
        ]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or pass on."""
        if scope["type"] == "http":
            for method, match, endpoint in self._endpoints:
                if method == scope["method"] and (found := match(scope["path"])):
                    scope["path_params"] = found.groupdict()
                    request = Request(scope, receive, send)
                    try:
                        response = await endpoint(request)
                    except (ServiceError, MonitorError, PoliciesError) as error:
                        response = problems.of_error(request, error)
                    await response(scope, receive, send)
                    return
        await self._app(scope, receive, send)
