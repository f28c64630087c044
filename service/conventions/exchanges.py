"""One exchange with a model server, a request and its response, as rows that a sender could have posted."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from service.conventions import infer_v2, predict_v1
from service.conventions.tensors import read_message
from service.conventions.unusable import Unusable


@dataclass(frozen=True)
class Exchange:
    """The bodies of a request and its response. `at` is when it was asked (RFC 3339), None where nobody says."""

    id: str
    request: bytes = field(repr=False)
    response: bytes = field(repr=False)
    at: str | None = None
    tags: dict[str, Any] = field(default_factory=dict)


def as_rows(exchange: Exchange, names: Sequence[str], task: str) -> list[dict[str, Any]]:
    """Rows as a sender posts them. The exchange's id is the prediction's; of several, `/` and their place follow it.

    `names` are those of the features, in the order of a request that does not name them.

    Raises:
        Unusable: a body cannot be read, or the two do not fit each other.
    """
    (request, asked), (response, answered) = read_message(exchange.request), read_message(exchange.response)
    if not isinstance(request, dict) or not isinstance(response, dict):
        raise Unusable("unreadable", "the request and the response must be JSON objects")
    if "predictions" in response:
        found = predict_v1.rows(request, response, names, task)
    elif "outputs" in response:
        found = infer_v2.rows(request, response, names, task, (asked, answered))
    else:
        raise Unusable("tensors", "the response has neither `predictions` (v1) nor `outputs` (v2)")
    shared: dict[str, Any] = {"timestamp": exchange.at} if exchange.at else {}
    if exchange.tags:
        shared["tags"] = exchange.tags
    ids = [exchange.id] if len(found) == 1 else [f"{exchange.id}/{place}" for place in range(len(found))]
    return [{"prediction_id": identity, **row, **shared} for identity, row in zip(ids, found, strict=True)]


def as_lines(rows: Sequence[dict[str, Any]]) -> bytes:
    """The rows as lines of JSON: the body that a sender would have posted. Raises Unusable where they are too deep."""
    try:
        return msgspec.json.Encoder().encode_lines(rows)
    except RecursionError as error:
        raise Unusable("unreadable", "a value is nested too deep") from error
