"""Who speaks for a trainer outside: whoever shows the token of its order, or signs with the secret of its policy."""

from dataclasses import dataclass
from typing import Literal

from fastapi import Request

from service.launching.outside import is_token_of
from service.launching.port import LaunchFailed
from service.launching.webhook import secret_of
from service.ledger.records import Retraining
from service.signatures import BadSignature, check_signature
from service.web.auth import Caller, NoAccess
from service.web.routes.desk import Desk, desk_of, in_thread
from service.web.routes.refusals import NotPossible, Unknown

_HEARD = ("requested", "training", "teaching")
"""While a retraining is in one of these states, what its trainer says and sends counts."""


@dataclass(frozen=True)
class Asker:
    """The trainer of an order, `by` what it shows. What it says and sends counts while that order is waited for."""

    retraining: Retraining
    order: str
    by: Literal["token", "signature"]

    @property
    def counts(self) -> bool:
        placed = self.retraining.order
        return self.retraining.state in _HEARD and (placed is None or placed.name == self.order)


def check_shown(request: Request) -> None:
    """That there is a token or a signature, which is looked at once the body is read. Raises NoAccess."""
    if not _token(request) and "webhook-signature" not in request.headers:
        raise NoAccess("a token (Authorization: Bearer TOKEN) or a signature by Standard Webhooks is needed")


def asker_of(desk: Desk, retraining_id: str, request: Request, body: bytes) -> Asker:
    """Whose token is shown, or who has signed the body; also where the retraining has ended.

    Raises:
        NoAccess: neither is right.
        Unknown: there is no such retraining.
    """
    token = _token(request)
    return _by_token(desk, retraining_id, token) if token else _by_signature(desk, retraining_id, request, body)


async def asker_of_token(retraining_id: str, request: Request) -> Asker:
    """Whose token is shown, while the retraining has not ended. Raises NoAccess, Unknown, NotPossible."""
    desk, token = await desk_of(request), _token(request)
    if not token:
        raise NoAccess("the token of this retraining is needed: send it as Authorization: Bearer TOKEN")
    asker = await in_thread(lambda: _by_token(desk, retraining_id, token))
    if asker.retraining.is_finished:
        raise NotPossible(ended(asker.retraining))
    return asker


def _by_token(desk: Desk, retraining_id: str, token: str) -> Asker:
    found = _known(desk, retraining_id)
    placed = found.order.name if found is not None and found.order is not None else retraining_id
    order = next((o for o in (placed, retraining_id) if is_token_of(desk.house.store, o, token)), None)
    if order is None:
        raise NoAccess("this is not the token of this retraining: its order has it")
    return Asker(_or_unknown(found, retraining_id), order, "token")


def _by_signature(desk: Desk, retraining_id: str, request: Request, body: bytes) -> Asker:
    found, headers = _or_unknown(_known(desk, retraining_id), retraining_id), request.headers
    placed = found.order
    variable = str(placed.trainer.get("secret_env", "")) if placed is not None else ""
    if placed is None or not variable:
        raise NoAccess(f"the trainer of {found.id} has no secret to sign with: send the token of its order")
    identity, at, signatures = (headers.get(f"webhook-{name}", "") for name in ("id", "timestamp", "signature"))
    try:
        check_signature(secret_of(variable), identity, at, signatures, body, desk.house.clock())
    except (BadSignature, LaunchFailed) as error:
        raise NoAccess(str(error)) from error
    return Asker(found, placed.name, "signature")


def _known(desk: Desk, retraining_id: str) -> Retraining | None:
    ledger = desk.house.ledger
    return next((r for model in desk.models(Caller()) if (r := ledger.retraining(model, retraining_id))), None)


def _or_unknown(found: Retraining | None, retraining_id: str) -> Retraining:
    if found is None:
        raise Unknown(f"there is no retraining {retraining_id[:100]!r}")
    return found


def _token(request: Request) -> str:
    kind, _, text = request.headers.get("authorization", "").partition(" ")
    return text.strip() if kind.lower() == "bearer" else ""


def ended(retraining: Retraining) -> str:
    """How a retraining has ended, for a trainer that still has something to say."""
    return f"{retraining.id} is {retraining.state}: {retraining.note or 'nothing more is heard of it'}"
