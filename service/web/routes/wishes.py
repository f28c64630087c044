"""What people say when they operate: who, why, and for how long; all of it stays in the ledger."""

from datetime import datetime, timedelta
from typing import Annotated, Any, TypeVar

import msgspec
from fastapi import Query, Request

from policies.file.kinds import read_moment, read_span
from service.ledger.records import Act
from service.web.auth import Caller
from service.web.routes.bodies import JSON, SMALL_BYTES, check_type, decode
from service.web.routes.desk import Desk
from service.web.routes.refusals import BadRequest

MOST_CHARACTERS = 1000

Said = Annotated[str, Query(description="Who ends it, or why; both stay in the ledger.")]


class Wish(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who wants it, and why."""

    who: str
    why: str


class Lasting(Wish, frozen=True, forbid_unknown_fields=True):
    """The same for a while: `for` a span like 2d, or `until` a date or time."""

    span: str | None = msgspec.field(name="for", default=None)
    until: str | None = None


AnyWish = TypeVar("AnyWish", bound=Wish)
_TEXT = {"type": "string"}


def documented(*required: str, **optional: str) -> dict[str, Any]:
    """The body of a wish for the API's documentation: who, why, what else is required, optional fields described."""
    properties = dict.fromkeys(("who", "why", *required), _TEXT)
    properties |= {name: {**_TEXT, "description": told} for name, told in optional.items()}
    schema = {"type": "object", "required": ["who", "why", *required], "properties": properties}
    return {"requestBody": {"required": True, "content": {JSON: {"schema": schema}}}}


TERM = {"for": "How long, like 12h or 2d.", "until": "A date or time in UTC; one of the two."}
WISH_DOCUMENTED = documented()
LASTING_DOCUMENTED = documented(**TERM)


async def read_wish(request: Request, desk: Desk, caller: Caller, form: type[AnyWish]) -> AnyWish:
    """The body's wish; who shows a key is named with it.

    Raises:
        WrongType, BodyTooLarge, BodyTooSlow, BadRequest: the body cannot be used.
    """
    check_type(request, [JSON])
    async with desk.bodies.take(request, SMALL_BYTES) as body:
        wish = decode(body, form)
    return signed(wish, caller)


def signed(wish: AnyWish, caller: Caller) -> AnyWish:
    """The wish with the name of the access key. Raises BadRequest where it says nothing, or too much."""
    for field, text in (("who", wish.who), ("why", wish.why)):
        if not text.strip() or len(text) > MOST_CHARACTERS:
            raise BadRequest(f"`{field}` must be a text of 1 to {MOST_CHARACTERS} characters: it stays in the ledger")
    return msgspec.structs.replace(wish, who=f"{wish.who} (access key {caller.name})") if caller.name else wish


def end_of(wish: Lasting, start: datetime, usual: timedelta | None = None) -> datetime:
    """When it is over: `for` counts from `start`; `usual` stands where neither is said.

    Raises:
        BadRequest: both are said, neither where one is needed, or one that cannot be read or lies before `start`.
    """
    if wish.span is not None and wish.until is not None:
        raise BadRequest("say how long as `for` or as `until`, not both")
    if wish.span is None and wish.until is None and usual is None:
        raise BadRequest("say how long: `for`, a duration like 2d, or `until`, a date like 2026-12-01")
    try:
        if wish.until is not None:
            end = read_moment(wish.until)
        else:
            end = start + (usual if wish.span is None and usual is not None else read_span(wish.span or ""))
    except (ValueError, OverflowError) as error:
        seen = f"`until` {wish.until[:40]!r}" if wish.until is not None else f"`for` {(wish.span or '')[:40]!r}"
        raise BadRequest(f"{seen} cannot be read: allowed are `for` 2d, `until` 2026-12-01T08:00:00Z") from error
    if end <= start:
        raise BadRequest(f"it would be over at {end.isoformat()}, before it begins at {start.isoformat()}")
    return end


def record(desk: Desk, model: str, verb: str, wish: Wish, **details: object) -> None:
    """Write into the ledger that somebody does this now."""
    told = {name: value for name, value in details.items() if value is not None}
    desk.house.ledger.record_act(Act(model, verb, wish.who, wish.why, desk.house.clock(), told))
