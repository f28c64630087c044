"""Small bodies of many senders, taken together: one parse, one table and one script for all that are alike.

Each keeps its own key and gets its own answer. What is not plainly alike, or not plainly good, is taken alone, in the
way of every other body: so nobody's rows change because of whose rows came at the same moment.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import groupby
from typing import Any

import msgspec

from service.errors import BadBody, ServiceError
from service.intake.bodies.wire import Batch, Form
from service.intake.log.ingest import Ingest, hash_body
from service.intake.log.posts import Part, Post, SeenBefore, post_of

MOST_BYTES = 16 * 1024
"""Of a small body."""

Parse = Callable[[str, str, bytes, Form, datetime], Batch]
"""(kind, model, body, form, now) -> batch"""
Answer = dict[str, Any] | ServiceError

_ROWS: dict[str, Callable[[bytes], list[dict[str, Any]]]] = {
    "json": msgspec.json.Decoder(list[dict[str, Any]]).decode,
    "ndjson": msgspec.json.Decoder(dict[str, Any]).decode_lines,
}
# What may stand beside what in a column of scores, features or tags.
_FORMS = {int: "number", float: "number", str: "text", bool: "boolean", list: "list", dict: "object", type(None): ""}
_NESTED = ("scores", "features", "tags")


@dataclass(frozen=True)
class Small:
    """A body as it came; `kind` as in an entry of the log, `form` json or ndjson."""

    kind: str
    model: str
    form: Form
    body: bytes
    key: str | None


@dataclass(frozen=True)
class _Member:
    """One body of a group: its place among all, its rows as the inside of a JSON array, and how many they are."""

    place: int
    inside: bytes
    rows: int
    post: Post


@dataclass
class _Group:
    """Bodies of one kind and model whose rows have the same names. `forms`: what was seen in each, "" only nulls."""

    kind: str
    model: str
    forms: tuple[str, ...]
    members: list[_Member]


def accept_all(ingest: Ingest, parse: Parse, bodies: Sequence[Small], now: datetime) -> list[Answer]:
    """The answer to each body, or the error that it meets."""
    answers = _accept_together(ingest, parse, bodies, now) if len(bodies) > 1 else {}
    return [
        answers[place] if place in answers else _accept_alone(ingest, parse, body, now)
        for place, body in enumerate(bodies)
    ]


def _accept_alone(ingest: Ingest, parse: Parse, body: Small, now: datetime) -> Answer:
    try:
        batch = parse(body.kind, body.model, body.body, body.form, now)
        return ingest.accept(body.kind, body.model, batch, body.key, hash_body(body.body), now)
    except ServiceError as error:
        return error


def _accept_together(ingest: Ingest, parse: Parse, bodies: Sequence[Small], now: datetime) -> dict[int, Answer]:
    """Answers by place, of those that could be taken together."""
    taken = [part for group in _alike(bodies) for part in _parts(ingest, parse, group, now)]
    answers: dict[int, Answer] = {}
    try:
        outcomes = ingest.accept_all([part for part, _ in taken], now) if taken else []
    except ServiceError as error:
        outcomes = [error] * len(taken)
    for (_, members), outcome in zip(taken, outcomes, strict=True):
        if isinstance(outcome, SeenBefore):
            continue
        if isinstance(outcome, ServiceError):
            answers |= dict.fromkeys((member.place for member in members), outcome)
            continue
        answers |= {member.place: ingest.told(member.post.scope, outcome or member.post.answer) for member in members}
    return answers


def _parts(ingest: Ingest, parse: Parse, group: _Group, now: datetime) -> list[tuple[Part, list[_Member]]]:
    """A part for each partition, of the bodies all of whose rows are good."""
    members = sorted(group.members, key=lambda member: ingest.log.partition_of(member.post))
    if not members:
        return []
    try:
        body = b"[" + b",".join(member.inside for member in members) + b"]"
        batch = parse(group.kind, group.model, body, "json", now)
    except BadBody:
        return []
    if batch.rejected:
        owners = [member.place for member in members for _ in range(member.rows)]
        culprits = {owners[rejection.row] for rejection in batch.rejected}
        rest = [member for member in members if member.place not in culprits]
        return _parts(ingest, parse, replace(group, members=rest), now)
    parts: list[tuple[Part, list[_Member]]] = []
    begin = 0
    for _, neighbours in groupby(members, key=lambda member: ingest.log.partition_of(member.post)):
        same = list(neighbours)
        rows = sum(member.rows for member in same)
        table = batch.table.slice(begin, rows)
        parts.append((Part(group.kind, group.model, table, [member.post for member in same]), same))
        begin += rows
    return parts


def _alike(bodies: Sequence[Small]) -> Iterable[_Group]:
    groups: dict[tuple[str, ...], list[_Group]] = defaultdict(list)
    scopes: set[str] = set()
    for place, body in enumerate(bodies):
        looked = _look(body)
        if looked is None:
            continue
        names, forms, rows, inside = looked
        post = post_of(body.kind, body.model, body.key, hash_body(body.body) if body.key else "", b"%d" % rows)
        if post.scope in scopes:
            continue  # the same key twice at one moment: the second, alone, will meet the trace of the first
        scopes.add(post.scope)
        alike = groups[body.kind, body.model, *names]
        member = _Member(place, inside, rows, post)
        for group in alike:
            together = _unite(group.forms, forms)
            if together is not None:
                group.forms = together
                group.members.append(member)
                break
        else:
            alike.append(_Group(body.kind, body.model, forms, [member]))
    return [group for alike in groups.values() for group in alike]


def _look(body: Small) -> tuple[tuple[str, ...], tuple[str, ...], int, bytes] | None:
    """Names, forms, number of rows, and the rows without the brackets; None where it is not plainly rows of one form.

    It has been read as JSON as a whole, so what is inside may be put beside what is inside another.
    """
    try:
        rows = _ROWS[body.form](body.body)
    except (KeyError, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    seen = {_shape(row) for row in rows}
    if len(seen) != 1:
        return None
    text = body.body.strip()
    inside = text[1:-1] if body.form == "json" else b",".join(line for line in text.split(b"\n") if line.strip())
    return *seen.pop(), len(rows), inside


def _shape(row: dict[str, Any]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    names = [*row]
    forms = [type(value).__name__ for value in row.values()]
    for group in _NESTED:
        nested = row.get(group)
        if type(nested) is dict:
            names += (group, *nested)
            forms += ("", *map(_FORMS.__getitem__, map(type, nested.values())))
    return tuple(names), tuple(forms)


def _unite(some: tuple[str, ...], others: tuple[str, ...]) -> tuple[str, ...] | None:
    """The forms of both, None where they differ in more than nulls."""
    if some == others:
        return some
    if any(one != other and one and other for one, other in zip(some, others, strict=True)):
        return None
    return tuple(one or other for one, other in zip(some, others, strict=True))
