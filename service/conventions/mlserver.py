"""MLServer's requests and responses: bodies of the Open Inference Protocol, a line each, put together by their id.

A line is a body as a runtime logs it, a message of a Kafka topic as `kcat -J` shows it, or both bodies of an exchange
as `request` and `response`.
"""

from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec

from service.conventions.exchanges import Exchange, as_rows
from service.conventions.logs import Options, Place, Row, Told
from service.conventions.unusable import Unusable

Body = Mapping[str, Any]


def rows(told: Iterable[Told], options: Options) -> Iterator[Row]:
    """The rows of all exchanges, at the line that completed each; halves that stay alone have a problem at the end."""
    waiting: dict[tuple[str, str], tuple[Place, Body, str | None]] = {}
    for each in told:
        try:
            halves = list(_halves(each))
        except Unusable as problem:
            yield Row(each.place, {}, str(problem))
            continue
        for side, identity, body, at in halves:
            other = waiting.pop(("response" if side == "request" else "request", identity), None)
            if other is None:
                waiting[side, identity] = (each.place, body, at)
                continue
            pair = (body, other[1]) if side == "request" else (other[1], body)
            asked_at = at if side == "request" else other[2]
            yield from _exchange(each.place, identity, pair, asked_at, options)
    for (side, identity), (place, _, _) in waiting.items():
        missing = "response" if side == "request" else "request"
        yield Row(place, {}, f"id {identity[:80]!r}: a {side} without its {missing}")


def _exchange(place: Place, identity: str, pair: tuple[Body, Body], at: str | None, options: Options) -> Iterator[Row]:
    exchange = Exchange(identity, msgspec.json.encode(pair[0]), msgspec.json.encode(pair[1]), at)
    try:
        yield from (Row(place, fields) for fields in as_rows(exchange, options.columns, "classification"))
    except Unusable as problem:
        yield Row(place, {}, str(problem))


def _halves(told: Told) -> Iterator[tuple[str, str, Body, str | None]]:
    """(request or response, id, body, when), once or twice. Raises Unusable."""
    if told.problem:
        raise Unusable("unreadable", told.problem)
    fields, key, at = told.fields, None, None
    if "payload" in fields:
        key, at = fields.get("key"), _moment(fields.get("ts"))
        fields = _body(fields["payload"])
    if "request" in fields and "response" in fields:
        asked, answered = _body(fields["request"]), _body(fields["response"])
        identity = _identity(answered.get("id") or asked.get("id") or key)
        yield "request", identity, asked, at
        yield "response", identity, answered, at
        return
    # A request may list the outputs that it wants.
    side = "request" if "inputs" in fields else "response" if "outputs" in fields else ""
    if not side:
        raise Unusable("unreadable", "the line has neither inputs nor outputs of the Open Inference Protocol")
    # The key of a Kafka message goes above the id of its body, as in MLServer.
    yield side, _identity(key or fields.get("id")), fields, at


def _identity(told: object) -> str:
    if not isinstance(told, str) or not told:
        raise Unusable("unreadable", "id: is missing, so that a request and its response cannot be put together")
    return told


def _body(told: object) -> dict[str, Any]:
    try:
        found = msgspec.json.decode(told) if isinstance(told, str) else told
    except (msgspec.DecodeError, RecursionError) as error:
        raise Unusable("unreadable", f"a body is no JSON: {error}") from error
    if not isinstance(found, dict):
        raise Unusable("unreadable", "a body is no JSON object")
    return found


def _moment(milliseconds: object) -> str | None:
    if not isinstance(milliseconds, int) or not 0 < milliseconds < 1 << 43:
        return None
    return datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat()
