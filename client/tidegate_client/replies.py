"""What the service's answer means for the rows that were sent. Pure: the status, headers and body decide."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, NamedTuple

_PROBLEM = "application/problem+json"
_MOST_WAIT_SECONDS = 300.0


class Told(NamedTuple):
    """A rejected row as the service tells it; rows count from 0."""

    row: int
    field: str
    problem: str


@dataclass(frozen=True)
class Rejection:
    """One row that the service did not take. `kind` is predictions or labels; `row` counts from 0 in its batch."""

    kind: str
    prediction_id: str
    row: int
    field: str
    problem: str


@dataclass(frozen=True)
class Answer:
    """What the service says of a batch that it took.

    `rejected` holds the first 1,000 rows that it did not take, `rejected_rows` counts all of them. `durability` is when
    it counts rows as kept (`always`, `everysec`, `wait:N`), None where it does not say.
    """

    batch: str
    accepted: int
    rejected_rows: int
    rejected: tuple[Rejection, ...] = ()
    durability: str | None = None


@dataclass(frozen=True)
class Taken:
    """The batch is kept."""

    batch: str
    accepted: int
    rejected_rows: int
    told: tuple[Told, ...]
    durability: str | None


@dataclass(frozen=True)
class Final:
    """The batch will never be taken as it is."""

    why: str
    told: tuple[Told, ...] = ()


@dataclass(frozen=True)
class TooLarge:
    """The batch may be taken in smaller parts."""

    why: str


@dataclass(frozen=True)
class Uncompressed:
    """The batch may be taken without compression."""


@dataclass(frozen=True)
class Again:
    """The same batch may be taken later, after at least so many seconds.

    `passes`: it is a matter of time. Otherwise somebody has to mend something first, like the access key.
    """

    why: str
    after_seconds: float = 0.0
    passes: bool = True


Reply = Taken | Final | TooLarge | Uncompressed | Again


def read_reply(status: int, headers: Mapping[str, str], body: bytes, *, rows: int, compressed: bool = False) -> Reply:
    """The meaning of an answer to a batch of `rows` rows; header names are in lower case.

    Only what can be known to come from Tidegate ends a batch: what a proxy says in its place is tried again.

    >>> read_reply(429, {"retry-after": "5"}, b"", rows=1)
    Again(why='429 Too Many Requests', after_seconds=5.0, passes=True)
    """
    document = _object(body)
    is_problem = headers.get("content-type", "").partition(";")[0].strip() == _PROBLEM
    why = _why(status, headers, document if is_problem else {})
    match status:
        case 200 | 202:
            taken = _taken(document, rows)
            return taken or Again(f"{why}, but not the answer of a Tidegate: {body[:80]!r}", passes=False)
        case 400 | 422 if is_problem:
            return Final(why, _told(document))
        case 413:
            return TooLarge(why)
        case 415 if compressed:
            return Uncompressed()
        case 408 | 425 | 429 | 500 | 502 | 503 | 504:
            return Again(why, _wait(headers))
        case _:
            return Again(why, _wait(headers), passes=False)


def _taken(document: Mapping[str, Any], rows: int) -> Taken | None:
    told, accepted = _told(document), document.get("accepted")
    rejected = document.get("rejected_rows", len(told))
    if not isinstance(accepted, int) or not isinstance(rejected, int) or accepted + rejected != rows or accepted < 0:
        return None
    durability = document.get("durability")
    return Taken(str(document.get("batch", "")), accepted, rejected, told, durability and str(durability))


def _told(document: Mapping[str, Any]) -> tuple[Told, ...]:
    rejected = document.get("rejected")
    return tuple(
        Told(each["row"], str(each.get("field", "")), str(each.get("problem", "")))
        for each in (rejected if isinstance(rejected, list) else ())
        if isinstance(each, dict) and isinstance(each.get("row"), int) and each["row"] >= 0
    )


def _wait(headers: Mapping[str, str]) -> float:
    text = headers.get("retry-after", "")
    return min(float(text), _MOST_WAIT_SECONDS) if text.isdecimal() else 0.0


def _why(status: int, headers: Mapping[str, str], document: Mapping[str, Any]) -> str:
    try:
        said = f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        said = str(status)
    if "location" in headers:
        return f"{said}: give the address that leads to {headers['location'][:200]!r}"
    return f"{said}: {str(document['detail'])[:500]}" if "detail" in document else said


def _object(body: bytes) -> dict[str, Any]:
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}
