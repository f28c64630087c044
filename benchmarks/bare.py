"""`tidegate serve --role api` with two endpoints beside its own, to hold them against: one answers at once, the other
only appends the body to a stream of the store. Same application, same middleware, same server, same options.
"""

import logging
import os
import sys
from unittest.mock import patch

import anyio.to_thread
from fastapi import APIRouter, FastAPI, Request, Response

import service.serve
from service.house import House
from service.settings import Settings
from service.web.api import create_app
from service.web.routes.desk import answer
from service.web.routes.intake import PlainRoute

_ANSWER = {"batch": "0" * 32, "accepted": 1, "rejected": [], "rejected_rows": 0}


def with_bare_endpoints(house: House, **options: object) -> FastAPI:
    app = create_app(house, **options)
    routes = APIRouter(route_class=PlainRoute)

    async def empty(request: Request) -> Response:
        del request
        return answer(_ANSWER, 202)

    async def append(request: Request) -> Response:
        body = await request.body()
        await anyio.to_thread.run_sync(lambda: house.store.do("XADD", "tg:{bare}:log", "*", "b", body))
        return answer(_ANSWER, 202)

    routes.add_api_route("/v1/bare/{model}/empty", empty, methods=["POST"])
    routes.add_api_route("/v1/bare/{model}/append", append, methods=["POST"])
    before = len(app.router.routes)
    app.include_router(routes)
    # Found as early as our own: the order of the routes is the order in which they are tried.
    app.router.routes[:] = [*app.router.routes[before:], *app.router.routes[:before]]
    return app


def main() -> None:
    logging.basicConfig(level=logging.INFO, stream=sys.stderr)
    with patch.object(service.serve, "create_app", with_bare_endpoints):
        service.serve.serve(Settings.read(os.environ, role="api"))


if __name__ == "__main__":
    main()
