"""Silences and freezes that people order beside the policy file; and all that people did to a model."""

import msgspec
from fastapi import APIRouter, Request, Response

from policies.file.kinds import read_moment
from policies.file.policy import Silence
from service.orders.orders import FREEZE, SILENCE, Order, Orders, find_order, new_id
from service.orders.view import freezes_of, silences_of
from service.web.routes.desk import AtDesk, Desk, Limit, Operator, Reader, answer, in_thread
from service.web.routes.refusals import BadRequest, NotPossible
from service.web.routes.wishes import TERM, Lasting, Said, Wish, documented, end_of, read_wish, record, signed

routes = APIRouter(tags=["orders"])
MOST_STANDING = 1000
_MOST_CHARACTERS = 500


class SilenceWish(Lasting, frozen=True, forbid_unknown_fields=True):
    """What to silence: names or patterns; an absent one matches everything."""

    segment: str | None = None
    column: str | None = None


class FreezeWish(Lasting, frozen=True, forbid_unknown_fields=True):
    """When the freeze begins; now where nothing is said."""

    begin: str | None = msgspec.field(name="from", default=None)


_SILENCE_DOCUMENTED = documented(
    segment="A segment, or a pattern like intent=*.", column="A column, or a pattern like debug_*.", **TERM
)
_FREEZE_DOCUMENTED = documented(**{"from": "When it begins; now where absent."}, **TERM)


@routes.get("/v1/models/{model}/silences", summary="Silences of a model")
def list_silences(model: str, desk: AtDesk, caller: Reader, limit: Limit = 100) -> Response:
    """Those of the policy file and those that people ordered, those that count now first, then those over."""
    desk.check_model(model, caller)
    return answer({"silences": silences_of(desk.house, model)[:limit]})


@routes.post(
    "/v1/models/{model}/silences", status_code=201, summary="Silence a part", openapi_extra=_SILENCE_DOCUMENTED
)
async def silence(model: str, request: Request, desk: AtDesk, caller: Operator) -> Response:
    """From now on the part may neither trigger nor fault, until the silence expires or is ended."""
    wish = await read_wish(request, desk, caller, SilenceWish)
    return await in_thread(lambda: _silence(desk, desk.check_model(model, caller), wish))


@routes.delete("/v1/models/{model}/silences/{order_id}", summary="End a silence early")
def unsilence(model: str, order_id: str, desk: AtDesk, caller: Operator, who: Said, why: Said) -> Response:
    """What it hid counts again from the next evaluation on. It stays in the list, with who ended it and why."""
    return _end(desk, desk.check_model(model, caller), SILENCE, order_id, signed(Wish(who, why), caller))


@routes.get("/v1/models/{model}/freezes", summary="Freezes of a model")
def list_freezes(model: str, desk: AtDesk, caller: Reader, limit: Limit = 100) -> Response:
    """Periods of the policy file and those that people ordered, the ones that count now first; then those over."""
    desk.check_model(model, caller)
    return answer({"freezes": freezes_of(desk.house, model)[:limit]})


@routes.post("/v1/models/{model}/freezes", status_code=201, summary="Retrain nothing", openapi_extra=_FREEZE_DOCUMENTED)
async def freeze(model: str, request: Request, desk: AtDesk, caller: Operator) -> Response:
    """Evaluations go on and nothing is retrained, not even on a person's wish. What runs already is not stopped."""
    wish = await read_wish(request, desk, caller, FreezeWish)
    return await in_thread(lambda: _freeze(desk, desk.check_model(model, caller), wish))


@routes.delete("/v1/models/{model}/freezes/{order_id}", summary="End a freeze early")
def unfreeze(model: str, order_id: str, desk: AtDesk, caller: Operator, who: Said, why: Said) -> Response:
    """Retrainings may be decided again from the next evaluation on. It stays in the list, with who ended it and why."""
    return _end(desk, desk.check_model(model, caller), FREEZE, order_id, signed(Wish(who, why), caller))


@routes.get("/v1/models/{model}/acts", summary="What people did, newest first")
def list_acts(model: str, desk: AtDesk, caller: Reader, limit: Limit = 100) -> Response:
    """Every wish, answer, order, cancellation and rollback, with who, when and why, as the ledger keeps it."""
    desk.check_model(model, caller)
    return answer({"acts": desk.house.ledger.acts(model, limit)})


def _silence(desk: Desk, model: str, wish: SilenceWish) -> Response:
    now = desk.house.clock()
    until = end_of(wish, now)
    for field, text in (("segment", wish.segment), ("column", wish.column)):
        if text is not None and not 0 < len(text) <= _MOST_CHARACTERS:
            raise BadRequest(f"`{field}` must be a name or a pattern of 1 to {_MOST_CHARACTERS} characters")
    for _, problem in Silence(until, wish.why, wish.who, wish.segment, wish.column).problems():
        raise BadRequest(problem.replace("`retrain.freeze`", f"POST /v1/models/{model}/freezes"))
    given = _give(
        desk,
        model,
        Order(new_id(SILENCE), SILENCE, wish.who, wish.why, now, now, until, wish.segment, wish.column),
        wish,
    )
    return answer({**msgspec.to_builtins(given), "model": model, "covers": _covered(desk, model, given)}, 201)


def _freeze(desk: Desk, model: str, wish: FreezeWish) -> Response:
    now = desk.house.clock()
    try:
        since = now if wish.begin is None else read_moment(wish.begin)
    except ValueError as error:
        raise BadRequest(
            f"`from` {(wish.begin or '')[:40]!r} cannot be read: allowed is 2026-12-01T08:00:00Z"
        ) from error
    until = end_of(wish, since)
    if until <= now:
        raise BadRequest(f"the freeze would be over already: it ends at {until.isoformat()}")
    given = _give(desk, model, Order(new_id(FREEZE), FREEZE, wish.who, wish.why, now, since, until), wish)
    return answer({**msgspec.to_builtins(given), "model": model}, 201)


def _give(desk: Desk, model: str, order: Order, wish: Wish) -> Order:
    orders, now = Orders(desk.house.store, model), desk.house.clock()
    if len(orders.standing(now)) >= MOST_STANDING:
        raise NotPossible(f"{model} has {MOST_STANDING} silences and freezes already: end some, or use a pattern")
    details = {"id": order.id, "segment": order.segment, "column": order.column, "until": order.until}
    record(desk, model, order.kind, wish, **details, since=order.since if order.since != order.at else None)
    return orders.give(order)


def _end(desk: Desk, model: str, kind: str, order_id: str, wish: Wish) -> Response:
    house = desk.house
    order, now = find_order(house.store, model, kind, order_id), house.clock()
    if not order.is_over(now):
        record(desk, model, f"un{kind}", wish, id=order.id, until=order.until)
    ended = Orders(house.store, model).end(order, wish.who, wish.why, now)
    return answer({**msgspec.to_builtins(ended), "model": model})


def _covered(desk: Desk, model: str, order: Order) -> dict[str, int] | None:
    """How many segments and columns of the champion's baseline the names match: a misspelt one matches none."""
    ledger, silence = desk.house.ledger, order.as_silence()
    baseline = ledger.baseline(model, ledger.champion(model))
    if baseline is None:
        return None
    segments, columns = baseline.layout.segments, baseline.layout.columns
    return {
        "segments": sum(silence.covers(name) for name in segments),
        "columns": sum(silence.concerns(column.name) for column in columns),
    }
