"""The HTTP surface: every route of a running house, its documentation, and its failures as problem documents."""

from collections.abc import Callable
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from fastapi import FastAPI
from starlette.staticfiles import StaticFiles

from service.deciding.explaining import Explaining
from service.house import House
from service.retraining.assignment import Splits
from service.web import explain_page, failures_page, pages, problems
from service.web.auth import Keyring
from service.web.express import Express
from service.web.routes import (
    aside,
    assignment,
    backtests,
    baselines,
    decisions,
    explain,
    failures,
    health,
    intake,
    kserve,
    ledger,
    models,
    notices,
    orders,
    policies,
    releases,
    reports,
    retrainings,
    shadows,
    signals,
    trainers,
)
from service.web.routes.bodies import BodyReader
from service.web.routes.desk import Desk
from service.web.routes.gathering import Gathering
from service.web.snapshot import NO_EVALUATIONS, Durations

BODY_SECONDS = 30.0
"""How long a request body may take: 32 MiB at a little over 1 MiB/s."""
MOST_WAITING = 96
"""Small bodies that may wait for those before them: a turn and a half. A hundred who come at once are taken, and who is
taken in a flood waits some ten times as long as in a calm hour."""

_DESCRIPTION = """Post predictions and labels; read drift per segment, decisions with their reasons, retrainings and
releases. Every failure is an `application/problem+json` document; [/problems](/problems) explains their types."""

_PROBLEM = {
    "type": "object",
    "required": ["type", "title", "status", "detail", "instance"],
    "properties": {
        "type": {"type": "string", "format": "uri-reference"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "instance": {"type": "string", "format": "uri-reference"},
    },
}


def create_app(
    house: House,
    *,
    is_leader: Callable[[], bool] = lambda: False,
    evaluations: Callable[[], Durations] = lambda: NO_EVALUATIONS,
    body_seconds: float = BODY_SECONDS,
) -> FastAPI:
    """The application of a house. Starts and stops nothing: the house's parts are the caller's.

    `is_leader` and `evaluations` tell /metrics about this process.
    """
    app = Express(
        (intake.router(), kserve.router()),
        title="Tidegate",
        version=_version(),
        description=_DESCRIPTION,
        redoc_url=None,
        redirect_slashes=False,
        responses={
            "default": {
                "description": "A problem (RFC 9457)",
                "content": {problems.MEDIA_TYPE: {"schema": _PROBLEM}},
            }
        },
    )
    app.state.desk = Desk(
        house,
        Keyring(house.store),
        BodyReader(house.settings.max_body_bytes, body_seconds),
        Gathering(partial(intake.accept_small, house), MOST_WAITING),
        is_leader,
        evaluations,
        Explaining(house),
        Splits(house),
    )
    for part in (
        models,
        assignment,
        decisions,
        explain,
        shadows,
        ledger,
        failures,
        retrainings,
        reports,
        trainers,
        releases,
        baselines,
        backtests,
        policies,
        orders,
        signals,
        notices,
        aside,
        health,
        pages,
        explain_page,
        failures_page,
    ):
        app.include_router(part.routes)
    app.mount("/static", StaticFiles(directory=Path(__file__).with_name("static")), name="static")
    problems.install(app)
    return app


def _version() -> str:
    try:
        return version("tidegate")
    except PackageNotFoundError:
        return "0+source"  # run from the sources, without an installation
