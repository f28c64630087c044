"""BentoML's monitoring, as its default monitor writes it: data files, and schema files that say each column's role."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby
from typing import Any

import msgspec

from service.conventions.logs import Options, Row, Told, at_zone
from service.conventions.outcomes import outcome

_OWN = frozenset({"timestamp", "request_id", "trace_id"})
_NO_ID = frozenset({"", "0", "None"})


def rows(told: Iterable[Told], options: Options) -> Iterator[Row]:
    """The rows of all data files. A column that no schema knows is a feature, but for `options.prediction`."""
    lines = list(told)
    roles = {
        column["name"]: column.get("role", "feature")
        for each in lines
        if _is_schema(each.fields)
        for column in each.fields["columns"]
        if isinstance(column, dict) and isinstance(column.get("name"), str)
    }
    if options.prediction:
        roles[options.prediction] = "prediction"
    data = [each for each in lines if not _is_schema(each.fields)]
    # The rows of one request follow each other and share its id.
    for _, group in groupby(data, lambda each: (each.place.file, each.fields.get("request_id"))):
        several = list(group)
        yield from (_row(each, roles, options, at if len(several) > 1 else None) for at, each in enumerate(several))


def _row(told: Told, roles: Mapping[str, str], options: Options, place: int | None) -> Row:
    if told.problem:
        return Row(told.place, {}, told.problem)
    if "prediction" not in roles.values():
        return Row(told.place, {}, "no schema file says which column is the prediction: give --prediction NAME")
    named = {name: value for name, value in told.fields.items() if name not in _OWN}
    predicted = {name: value for name, value in named.items() if roles.get(name) == "prediction"}
    fields: dict[str, Any] = {
        "prediction_id": _identity(told, place),
        **outcome(predicted, (), "classification"),
        "features": {name: value for name, value in named.items() if roles.get(name, "feature") == "feature"},
    }
    if at := told.fields.get("timestamp"):
        fields["timestamp"] = at_zone(at, options.zone) if isinstance(at, str) else at
    return Row(told.place, fields)


def _identity(told: Told, place: int | None) -> str:
    """The request's id with the row's place in it; of a log without ids one that the same line always gets."""
    request = str(told.fields.get("request_id", ""))
    if request in _NO_ID:
        content = msgspec.json.encode(told.fields, order="deterministic")
        return f"bentoml-{hashlib.blake2b(content, digest_size=8).hexdigest()}-{told.place.line}"
    return request if place is None else f"{request}/{place}"


def _is_schema(fields: Mapping[str, Any]) -> bool:
    return isinstance(fields.get("columns"), list) and "meta_data" in fields
