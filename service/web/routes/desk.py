"""What every route has at hand: the house, the keys, the body reader, and who asks."""

import base64
import binascii
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

import anyio.to_thread
import msgspec
from fastapi import Depends, Query, Request, Response

from service.deciding.explaining import Explaining
from service.house import House
from service.intake.log.small import Small
from service.retraining.assignment import Splits
from service.web.auth import Caller, Keyring, is_loopback
from service.web.routes.bodies import BodyReader
from service.web.routes.gathering import Gathering
from service.web.routes.refusals import UnknownModel
from service.web.snapshot import Durations

Value = TypeVar("Value")


@dataclass(frozen=True)
class Desk:
    """`small` takes bodies of a few rows, those together that come together. `is_leader` and `evaluations` tell of this
    process: whether it decides, and how long its evaluations took.
    """

    house: House
    keyring: Keyring
    bodies: BodyReader
    small: Gathering[Small, dict[str, Any]]
    is_leader: Callable[[], bool]
    evaluations: Callable[[], Durations]
    explaining: Explaining
    splits: Splits

    def check_room(self) -> None:
        """Raises Backlogged or Crowded where a body would be turned away anyway: before it is read and parsed."""
        self.house.log.check_room()
        self.small.check_room()

    def models(self, caller: Caller) -> list[str]:
        """Models with a policy, a baseline or both, that the caller may see, sorted."""
        known = {*self.house.policies.states(), *self.house.ledger.models()}
        return sorted(filter(caller.may_see, known))

    def check_model(self, model: str, caller: Caller) -> str:
        """The name itself. Raises UnknownModel."""
        if self.house.policies.policy(model) is None and model not in self.house.ledger.models():
            raise UnknownModel(model, self.models(caller), str(self.house.settings.policies))
        return model

    async def admit(self, request: Request, scope: str, *, takes_basic: bool = False) -> Caller:
        """Who asks, if allowed; the path's `model`, where it has one, must be among the caller's.

        With `takes_basic` the key may be the password of HTTP Basic whatever the method: only for routes that no form
        of a page elsewhere can post to.
        """
        token, model = _token(request, takes_basic=takes_basic), str(request.path_params.get("model", ""))
        is_local = _is_local(request)
        if self.keyring.is_fresh:
            return self.keyring.admit(token, scope, model, is_local=is_local)
        return await anyio.to_thread.run_sync(
            lambda: self.keyring.admit(token, scope, model, is_local=is_local), abandon_on_cancel=True
        )


async def desk_of(request: Request) -> Desk:
    """The desk of the application that answers this request."""
    found: Desk = request.app.state.desk
    return found


async def _reader(request: Request) -> Caller:
    return await (await desk_of(request)).admit(request, "read")


async def _operator(request: Request) -> Caller:
    return await (await desk_of(request)).admit(request, "operate")


AtDesk = Annotated[Desk, Depends(desk_of)]
Reader = Annotated[Caller, Depends(_reader)]
Operator = Annotated[Caller, Depends(_operator)]
Limit = Annotated[int, Query(ge=1, le=1000, description="At most so many, the newest.")]


def answer(value: object, status: int = 200) -> Response:
    """A JSON response; dataclasses become objects, NaN null."""
    return Response(msgspec.json.encode(value), status, media_type="application/json")


async def in_thread(work: Callable[[], Value]) -> Value:
    """What `work` gives, done off the event loop."""
    return await anyio.to_thread.run_sync(work)


def _token(request: Request, *, takes_basic: bool) -> str:
    """The key of an Authorization header. A browser that reads may send it as the password of HTTP Basic."""
    kind, _, text = request.headers.get("authorization", "").partition(" ")
    if kind.lower() == "bearer":
        return text.strip()
    if kind.lower() == "basic" and (takes_basic or request.method in {"GET", "HEAD"}):
        try:
            return base64.b64decode(text.strip(), validate=True).decode().partition(":")[2]
        except (binascii.Error, UnicodeDecodeError):
            return ""
    return ""


def _is_local(request: Request) -> bool:
    """Whether this machine asks, by a name of this machine: a page elsewhere may point its own name here."""
    if request.client is None or not is_loopback(request.client.host):
        return False
    name = request.headers.get("host", "").strip()
    name = name[1:].partition("]")[0] if name.startswith("[") else name.partition(":")[0]
    return is_loopback(name)
