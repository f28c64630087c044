"""POST /v1/policies/backtest: what a policy would have done; GET a model's past as a file, for doing it elsewhere."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from threading import Lock
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Query, Request, Response

from policies.file.kinds import read_moment, read_span
from policies.file.parse import dump, parse
from policies.past.past import Assumed, Past
from service.backtest.backtesting import past_of, told, usual_training
from service.backtest.past_files import pack
from service.web.auth import Caller
from service.web.routes.bodies import check_type
from service.web.routes.desk import AtDesk, Desk, Reader, answer, in_thread
from service.web.routes.refusals import BadRequest, Occupied, UnknownModel

routes = APIRouter(tags=["policies"])
_MOST_BYTES = 2 * 1024 * 1024
_LONGEST = timedelta(days=400)
_TURN = Lock()
"""One backtest at a time: each takes seconds of a processor and hundreds of megabytes."""


class Asked(msgspec.Struct, forbid_unknown_fields=True):
    """The body: policy texts, and what is taken to be so; `since` is a span before now or a time."""

    policy: str
    against: str | None = None
    since: str = "30d"
    label_delay: str | None = None
    training: str | None = None


_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {"application/json": {"schema": msgspec.json.schema(Asked)["$defs"]["Asked"]}},
    }
}


@routes.post("/v1/policies/backtest", summary="What a policy would have done", openapi_extra=_BODY)
async def backtest_policy(request: Request, desk: AtDesk, caller: Reader) -> Response:
    """Over stored profiles, beside another policy, or the one in force where `against` is absent.

    One at a time: 503 with Retry-After while another runs. Nothing is changed.
    """
    check_type(request, ("application/json",))
    async with desk.bodies.take(request, _MOST_BYTES) as body:
        asked = _read(body)
    return answer(await in_thread(lambda: _backtest(desk, caller, asked)))


@routes.get("/v1/models/{model}/profiles", summary="A model's past as a file")
async def export_profiles(
    model: str, desk: AtDesk, caller: Reader, since: Annotated[str, Query(description="A span or a time.")] = "30d"
) -> Response:
    """Baselines, profiles, retrainings and the policy in force, for `tidegate policy backtest --profiles`."""
    packed = await in_thread(lambda: _export(desk, desk.check_model(model, caller), since))
    return Response(packed, media_type="application/octet-stream")


def _backtest(desk: Desk, caller: Caller, asked: Asked) -> dict[str, Any]:
    named = [("policy", parse(asked.policy, "policy"))]
    model = _visible(desk, caller, named[0][1].model)
    if asked.against is not None:
        named.append(("against", parse(asked.against, "against")))
    elif in_force := desk.house.policies.policy(model):
        named.append(("in force", in_force))
    delay, training = (_span(name, getattr(asked, name)) for name in ("label_delay", "training"))
    with _turn():
        past = _past(desk, model, asked.since)
        return told(past, named, Assumed(delay, usual_training(past) if training is None else training))


def _export(desk: Desk, model: str, since: str) -> bytes:
    policy = desk.house.policies.policy(model)
    with _turn():
        return pack(_past(desk, model, since), json.dumps(dump(policy)) if policy else "")


@contextmanager
def _turn() -> Iterator[None]:
    if not _TURN.acquire(blocking=False):
        raise Occupied("another backtest is running")
    try:
        yield
    finally:
        _TURN.release()


def _past(desk: Desk, model: str, since: str) -> Past:
    now = desk.house.clock()
    try:
        begins = now - read_span(since) if since[-1:].isalpha() and "T" not in since else read_moment(since)
    except ValueError:
        raise BadRequest(f"since: expected a span like 30d or a time like 2026-11-01, saw {since[:50]!r}") from None
    if not timedelta(0) < now - begins <= _LONGEST:
        raise BadRequest(f"since: expected a time in the last {_LONGEST.days} days, saw {since[:50]!r}")
    return past_of(desk.house, model, begins, now)


def _span(name: str, words: str | None) -> timedelta | None:
    try:
        return None if words is None else read_span(words)
    except ValueError:
        raise BadRequest(f"{name}: expected a span like 2d or 90m, saw {words!r:.60}") from None


def _visible(desk: Desk, caller: Caller, model: str) -> str:
    """The model of the policy. Raises UnknownModel where there is none, or none for this caller."""
    if not caller.may_see(model):
        raise UnknownModel(model, desk.models(caller), str(desk.house.settings.policies))
    return desk.check_model(model, caller)


def _read(body: bytes) -> Asked:
    try:
        return msgspec.json.decode(body, type=Asked)
    except msgspec.DecodeError as error:
        raise BadRequest(f"expected an object with `policy`, the text of a policy: {error}") from error
