"""The busy routes answered before all else: the layers of an application and the choice among all its routes cost more
than an empty answer.

The routes stay in the router too, which documents them and answers their other methods.
"""

import re
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from fastapi import APIRouter, FastAPI
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from service.web import problems
from service.web.routes.intake import PlainRoute

Endpoint = Callable[[Request], Awaitable[Response]]


class Express(FastAPI):
    """An application with these routers, whose plain routes it answers itself; `options` are FastAPI's."""

    def __init__(self, routers: Sequence[APIRouter], **options: Any) -> None:  # noqa: ANN401  as there
        super().__init__(**options)
        for router in routers:
            self.include_router(router)
        self._endpoints: list[tuple[str, Callable[[str], re.Match[str] | None], Endpoint]] = [
            (method, route.path_regex.match, route.endpoint)
            for router in routers
            for route in router.routes
            if isinstance(route, PlainRoute)
            for method in route.methods or ()
        ]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or let the layers and the router do it."""
        if scope["type"] == "http":
            for method, match, endpoint in self._endpoints:
                if method == scope["method"] and (found := match(scope["path"])):
                    scope["app"], scope["path_params"] = self, found.groupdict()
                    response = await _answer(endpoint, Request(scope, receive, send))
                    await response(scope, receive, send)
                    return
        await super().__call__(scope, receive, send)


async def _answer(endpoint: Endpoint, request: Request) -> Response:
    try:
        return await endpoint(request)
    except Exception as error:  # noqa: BLE001  nothing is around us that would answer it
        return problems.of_error(request, error)
