"""Rows: what the caller gives, kept as it was at that moment, and later written as JSON."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping
from datetime import date, datetime, timezone
from decimal import Decimal
from enum import Enum
from pathlib import PurePath
from typing import Any, Required, TypedDict
from uuid import UUID

from tidegate_client.errors import BadRow

Row = dict[str, Any]
_MAPPINGS = frozenset({"features", "scores", "tags", "outcome"})
Values = Mapping[str, Any]


class Prediction(TypedDict, total=False):
    """A prediction for `Client.post`. `timestamp` is now where it is left out, and UTC where it has no zone."""

    prediction_id: Required[str | int]
    prediction: Required[object]
    timestamp: datetime | str
    model_version: str
    features: Values
    scores: Mapping[str, float]
    confidence: float
    tags: Values


class Label(TypedDict, total=False):
    """A label for `Client.post_labels`. `outcome` is what the user experienced, kept with the label."""

    prediction_id: Required[str | int]
    label: Required[object]
    timestamp: datetime | str
    outcome: Values


def new_row(field: str, prediction_id: str | int, value: object, more: Mapping[str, object]) -> Row:
    """A row of now, with what is not None of `more`; `field` is `prediction` or `label`.

    Mappings are copied, the values in them are not.

    >>> sorted(new_row("label", "p-1", "fit", {"outcome": None, "timestamp": None}))
    ['label', 'prediction_id', 'timestamp']

    Raises:
        BadRow: the id or the value is missing, or what should be a mapping is none.
    """
    if prediction_id is None or prediction_id == "":
        raise BadRow(f"a {field} was logged without prediction_id: its label could never find it")
    if value is None:
        raise BadRow(f"None was logged as the {field} of {prediction_id!r}")
    row: Row = {"prediction_id": prediction_id, field: value, "timestamp": time.time()}
    for name, given in more.items():
        if given is not None:
            row[name] = _copied(name, given) if name in _MAPPINGS else given
    return row


def _copied(name: str, given: Any) -> Row:  # noqa: ANN401  whatever a caller takes for a mapping
    try:
        return dict(given)
    except (TypeError, ValueError) as error:
        raise BadRow(f"{name} must be a mapping of names to values, not {type(given).__name__}") from error


def encode(row: Mapping[str, Any]) -> bytes:
    """The row as one line of JSON. A number that is none (NaN, infinity) is sent as null, which counts as missing.

    >>> encode({"prediction_id": "p-1", "prediction": "fit", "timestamp": 0.0, "features": {"x": float("nan")}})
    b'{"prediction_id":"p-1","prediction":"fit","timestamp":"1970-01-01T00:00:00+00:00","features":{"x":null}}'

    Raises:
        BadRow: a value has a type that JSON cannot hold.
    """
    timestamp = row.get("timestamp")
    if isinstance(timestamp, float):
        row = {**row, "timestamp": datetime.fromtimestamp(timestamp, timezone.utc).isoformat()}  # noqa: UP017  short
    try:
        try:
            text = _ENCODER.encode(row)
        except (ValueError, TypeError):
            text = _ENCODER.encode(_plain(row))
    except (ValueError, TypeError, RecursionError, OverflowError) as error:
        raise BadRow(f"row {str(row.get('prediction_id'))[:80]!r} cannot be sent: {error}") from error
    # Half a surrogate pair is no text: one strange character must not cost the row.
    return text.encode("utf-8", "replace")


def _convert(value: object) -> object:
    """A value that JSON does not know, as one that it does."""
    for kinds, convert in _CONVERTERS:
        if isinstance(value, kinds):
            return convert(value)
    # Scalars and arrays of numpy, torch and their like.
    if (to_list := getattr(value, "tolist", None)) is not None:
        found: object = to_list()
        return found
    if type(value).__name__ == "NAType":
        return None
    raise TypeError(f"{type(value).__name__} is no number, text, truth value, mapping or list")


# The NaT of pandas is a time, and not equal to itself.
_CONVERTERS: tuple[tuple[type | tuple[type, ...], Callable[[Any], object]], ...] = (
    (date, lambda value: value.isoformat() if value == value else None),  # noqa: PLR0124
    (Enum, lambda value: value.value),
    (Decimal, float),
    ((UUID, PurePath), str),
    (Mapping, dict),
    ((set, frozenset), sorted),
)


def _plain(value: Any) -> Any:  # noqa: ANN401  whatever a caller logs
    """The value as JSON can hold it, looked at piece by piece."""
    match value:
        case None | str() | bool() | int():
            return value
        case float():
            return value if math.isfinite(value) else None
        case Mapping():
            return {str(name): _plain(each) for name, each in value.items()}
        case list() | tuple():
            return [_plain(each) for each in value]
        case _:
            return _plain(_convert(value))


_ENCODER = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=_convert)
