"""What went wrong, as RFC 9457 problem documents: the one table from errors to HTTP."""

import logging
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import PurePath
from typing import Any
from urllib.parse import quote

import msgspec
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from monitors.errors import MonitorError
from policies.errors import PoliciesError, PolicyInvalid
from service import errors
from service.backtest import backtesting
from service.failures import saying as failure_saying
from service.failures import view as failure_view
from service.intake.archive import tables
from service.intake.folding import aside
from service.launching import events as trainer_events
from service.launching import received
from service.ledger import chain, ledger
from service.orders import approvals, orders
from service.retraining import answer as retraining_answer
from service.web import auth
from service.web.routes import refusals
from service.web.routes.bodies import LastWord

MEDIA_TYPE = "application/problem+json"
PAGE = "/problems"

_log = logging.getLogger(__name__)
_MOST_TOLD = 100
_STORE_RETRY_SECONDS = 2


@dataclass(frozen=True)
class Kind:
    """One kind of problem: its place on the page /problems, its status, and what the person who meets it can do."""

    slug: str
    status: int
    title: str
    remedy: str


_ROUTE = Kind("no-such-route", 404, "There is no such address", "Look the address up in /docs.")
_METHOD = Kind("wrong-method", 405, "The address is there, the method is not", "Use a method of the Allow header.")
_PARAMETER = Kind("bad-parameter", 422, "A parameter cannot be used", "Mend the parameters that `errors` lists.")
_REQUEST = Kind("bad-request", 400, "The request cannot be answered", "Mend what the detail names.")
UNEXPECTED = Kind(
    "unexpected", 500, "Something unexpected went wrong",
    "Try again; if it stays, give the operator the `id`: the log has the whole story under it.",
)  # fmt: skip

_AWAY = Kind(
    "store-away", 503, "The store does not answer",
    "Send it again after Retry-After, with the same Idempotency-Key. Operator: is the Redis or Valkey server running?",
)  # fmt: skip
_LARGE = Kind("body-too-large", 413, "The body is too large", "Split it into several bodies.")
_UNKNOWN = Kind("unknown", 404, "There is nothing of this name", "Look at the list one level up.")
_STATE = Kind("not-possible", 409, "Its state does not allow this", "Read the detail.")
_UPLOAD = Kind("bad-upload", 400, "What was sent cannot be used", "Mend it where the detail points.")
_BODY = Kind("bad-body", 400, "The body cannot be taken", "Mend the body where the detail points.")

# An error without a row of its own takes the row of its nearest ancestor.
TABLE: Mapping[type[Exception], Kind] = {
    errors.BadName: Kind("bad-name", 400, "A name cannot be used", "Use another name."),
    errors.BadBody: _BODY,
    errors.NothingAcceptable: Kind(
        "nothing-acceptable", 400, "No row of the body can be taken",
        "Mend the rows that `rejected` lists, each with its field and problem.",
    ),
    errors.TooManyRows: Kind("too-many-rows", 413, "The body has too many rows", "Split it into several bodies."),
    errors.TooManyValues: Kind("too-many-values", 413, "The body has too many values", "Split it into several bodies."),
    errors.UnpackedTooLarge: _LARGE,
    errors.KeyConflict: Kind(
        "key-conflict", 422, "The Idempotency-Key was used with another body",
        "Use a new key for new rows; to try a body again, send exactly the same bytes.",
    ),
    errors.Backlogged: Kind(
        "backlogged", 429, "The log is full",
        "Send it again after Retry-After. Operator: is a worker running, and does it keep up?",
    ),
    errors.ArchiveAway: Kind(
        "archive-away", 503, "The archive does not answer",
        "Send it again after Retry-After. Operator: is the folder or the object storage of the archive reachable?",
    ),
    aside.NotAside: Kind("not-aside", 404, "No such batch is aside", "List those that are: GET /v1/aside."),
    errors.StoreError: _AWAY,
    errors.StoreAway: _AWAY,
    errors.StoreFull: Kind(
        "store-full", 503, "The store is out of memory",
        "Send it again after Retry-After. Operator: raise its maxmemory, or let workers drain the log.",
    ),
    errors.NotDurable: Kind(
        "not-durable", 503, "Too few replicas confirmed",
        "Send the same body with the same Idempotency-Key again. Operator: are the replicas connected?",
    ),
    chain.LedgerDamaged: Kind(
        "ledger-damaged", 500, "The ledger was changed from outside", "Run `tidegate decisions verify`.",
    ),
    ledger.ChampionMoved: Kind("champion-moved", 409, "The champion has changed", "Look again, then decide again."),
    ledger.NoBaseline: Kind("no-baseline", 409, "The version has no baseline", "Build its baseline first."),
    received.BadUpload: _UPLOAD,
    retraining_answer.BadAnswer: _UPLOAD,
    trainer_events.EventDiffers: Kind(
        "event-differs", 422, "The webhook-id was used for another event",
        "Use a new id for a new event; to try one again, send exactly the same bytes.",
    ),
    trainer_events.AnotherRun: Kind(
        "another-run", 409, "Another run has this order", "End: the run that the detail names does the work.",
    ),
    trainer_events.TooMuchSaid: Kind("too-much-said", 413, "No more is kept of it", "Send fewer checkpoints."),
    tables.BadFile: Kind("bad-file", 400, "The file cannot be used", "Mend the file where the detail points."),
    MonitorError: Kind("cannot-measure", 422, "The rows cannot be measured", "Mend the rows or the policy's columns."),
    PoliciesError: Kind("policy-invalid", 422, "The policy cannot be used", "Mend what `problems` lists."),
    auth.BadKey: Kind("bad-key", 400, "Such a key cannot be made", "Choose another name or scope."),
    auth.UnknownKey: Kind("unknown-key", 404, "There is no such key", "List the keys."),
    auth.NoAccess: Kind("no-access", 401, "An access key is needed", "Send a key as Authorization: Bearer KEY."),
    auth.NotAllowed: Kind("not-allowed", 403, "This key is not for that", "Ask the operator for a key that is."),
    refusals.Unknown: _UNKNOWN,
    refusals.UnknownModel: Kind(
        "unknown-model", 404, "There is no model of this name",
        "Check the name against `models`; a policy file or a first baseline adds a model.",
    ),
    refusals.NotYet: Kind("not-yet", 404, "It is being made", "Ask again after Retry-After."),
    refusals.NotPossible: _STATE,
    approvals.NothingAwaits: _STATE,
    orders.OrderOver: _STATE,
    orders.NoSuchOrder: _UNKNOWN,
    failure_view.NoSuchFailure: _UNKNOWN,
    failure_saying.BadWord: _REQUEST,
    refusals.BadRequest: _REQUEST,
    refusals.WrongType: Kind("wrong-type", 415, "The body's type is not read here", "Send one that `allowed` lists."),
    refusals.BodyTooLarge: _LARGE,
    refusals.BodyTooSlow: Kind("body-too-slow", 408, "The body came too slowly", "Send it again, in smaller bodies."),
    refusals.Occupied: Kind("occupied", 503, "Another one is running", "Send it again after Retry-After."),
    backtesting.CannotBacktest: Kind(
        "cannot-backtest", 409, "The past is not stored, or is too much at once", "Choose another `since`.",
    ),
    refusals.Crowded: Kind("crowded", 429, "Too many bodies at once", "Send it again after Retry-After."),
}  # fmt: skip

# What an error knows that its document repeats as fields.
_FACTS: Mapping[type[Exception], tuple[str, ...]] = {
    errors.TooManyRows: ("limit",),
    errors.TooManyValues: ("limit",),
    errors.UnpackedTooLarge: ("limit",),
    refusals.BodyTooLarge: ("limit",),
    refusals.UploadTooLarge: ("limit",),
    refusals.UnknownModel: ("models",),
    refusals.WrongType: ("allowed",),
}

KINDS = tuple({kind.slug: kind for kind in (*TABLE.values(), _ROUTE, _METHOD, _PARAMETER, UNEXPECTED)}.values())


def kind_of(error: Exception) -> Kind:
    """The kind of problem that an error is."""
    return next((TABLE[ancestor] for ancestor in type(error).__mro__ if ancestor in TABLE), UNEXPECTED)


def problem(
    kind: Kind,
    request: Request,
    detail: str,
    facts: Mapping[str, Any] | None = None,
    headers: dict[str, str] | None = None,
    form: type[Response] = Response,
) -> Response:
    """The document: type, title, status, detail, instance, and the facts as further fields."""
    document = {
        "type": f"{PAGE}#{kind.slug}",
        "title": kind.title,
        "status": kind.status,
        "detail": detail,
        "instance": quote(request.scope["path"]),
        **(facts or {}),
    }
    return form(msgspec.json.encode(document), kind.status, headers, MEDIA_TYPE)


def of_error(request: Request, error: Exception) -> Response:
    """The document of an error of ours, with what it knows and the headers it asks for."""
    kind = kind_of(error)
    if kind is UNEXPECTED:
        return _unexpected(request, error)
    # Who asked first (Expect: 100-continue) has not begun to send.
    is_sending = isinstance(error, refusals.BodyTooLarge) and "expect" not in request.headers
    form = LastWord if is_sending else Response
    return problem(kind, request, str(error), _facts(error), _headers(request, error), form)


def install(app: FastAPI) -> None:
    """Make every failure of the application a problem document."""
    for root in (errors.ServiceError, MonitorError, PoliciesError):
        app.add_exception_handler(root, _answer)
    app.add_exception_handler(HTTPException, _answer_http)
    app.add_exception_handler(RequestValidationError, _answer_validation)
    app.add_middleware(_Unexpected)


async def _answer(request: Request, error: Exception) -> Response:
    return of_error(request, error)


async def _answer_http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101  registered for it
    headers = dict(error.headers or {})
    if error.status_code == _METHOD.status:
        detail = f"{request.method} is not possible here; allowed: {headers.get('Allow', 'see /docs')}"
        return problem(_METHOD, request, detail, headers=headers)
    if error.status_code == _ROUTE.status:
        return problem(_ROUTE, request, f"there is nothing at {request.scope['path'][:200]!r}; see /docs")
    kind = replace(_REQUEST, status=error.status_code)
    return problem(kind, request, str(error.detail), headers=headers)


async def _answer_validation(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101  registered for it
    found = [{"where": ".".join(map(str, each["loc"])), "problem": each["msg"]} for each in error.errors()]
    detail = "; ".join(f"{each['where']}: {each['problem']}" for each in found)
    return problem(_PARAMETER, request, detail, {"errors": found})


def _facts(error: Exception) -> dict[str, Any]:
    if isinstance(error, errors.NothingAcceptable):
        told = [{"row": r.row, "field": r.field, "problem": r.problem} for r in error.rejected[:_MOST_TOLD]]
        return {"rejected": told, "rejected_rows": len(error.rejected)}
    if isinstance(error, PolicyInvalid):
        return {"problems": told_policy(error)}
    return {name: getattr(error, name) for name in _FACTS.get(type(error), ())}


def told_policy(error: PolicyInvalid) -> list[dict[str, Any]]:
    """Each problem of a policy with its place: `file` is `policy`, or that of the defaults; counted from 1."""
    return [
        {
            "file": PurePath(p.source).name,
            "line": p.line,
            "column": p.column,
            "path": p.path,
            "seen": p.seen,
            "problem": p.message,
        }
        for p in error.problems
    ]


def _headers(request: Request, error: Exception) -> dict[str, str]:
    match error:
        case errors.Backlogged() | refusals.Crowded() | refusals.Occupied():
            return {"Retry-After": str(error.retry_after_seconds)}
        case errors.StoreError() | errors.ArchiveAway() | refusals.NotYet():
            return {"Retry-After": str(_STORE_RETRY_SECONDS)}
        case auth.NoAccess():
            # A browser asks its user for Basic; it is taken for reading only.
            is_page = "text/html" in request.headers.get("accept", "")
            return {"WWW-Authenticate": f'{"Basic" if is_page else "Bearer"} realm="tidegate"'}
        case refusals.BodyTooLarge() | refusals.BodyTooSlow():
            # What is left of the body will not be read.
            return {"Connection": "close"}
    return {}


def _unexpected(request: Request, error: Exception) -> Response:
    identity = secrets.token_hex(6)
    _log.error("unexpected error %s at %s %r", identity, request.method, request.scope["path"], exc_info=error)
    detail = f"this is a fault of the service, not of the request; the log has it under the id {identity}"
    return problem(UNEXPECTED, request, detail, {"id": identity})


class _Unexpected:
    """Answers what nobody foresaw, so that the server below has nothing to tell about our insides."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on, and answer where nothing was sent yet."""
        started = False

        async def note(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self._app(scope, receive, note)
        except Exception as error:
            if scope["type"] != "http" or started:
                raise
            await _unexpected(Request(scope), error)(scope, receive, send)
