"""The fast path: a body whose rows all look like its first ones is decoded into typed structs, then checked by column.

Measured on 20 numeric features: decoding into typed structs is 2.3 times as fast as into dictionaries. Whatever does
not fit (another type, another name, a value near a limit) gives None, and the slow path finds out what it is.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from operator import attrgetter
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from service.intake import checks
from service.intake.columns import NUMBERS, TIME
from service.storage.keys import is_safe_name

_PEEK = 20
_NUL = b"\\u0000"
_KINDS: dict[type, tuple[Any, pa.DataType]] = {
    float: (float | None, pa.float64()),
    int: (float | None, pa.float64()),
    str: (str | None, pa.string()),
    bool: (bool | None, pa.bool_()),
    list: (list[float] | None, NUMBERS),
}
_OUTCOMES = frozenset({float, int, str, bool})
# Above this, a double does not tell whether an integer beyond 64 bits was written.
_LARGE = 2.0**63

Names = tuple[tuple[str, type], ...]


@dataclass(frozen=True)
class _Shape:
    """Types of id and prediction; names and types of scores, features and tags."""

    identity: type
    prediction: type
    scores: Names
    features: Names
    tags: Names


def predictions(body: bytes, form: str, raws: Sequence[Any], task: str, now: datetime) -> pa.Table | None:
    """The whole body as a table, or None where the slow path must look at it."""
    try:
        shape = None if not raws or _NUL in body else _shape(raws[:_PEEK], task)
        rows = None if shape is None else _decoder(form, shape)(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return None if shape is None or rows is None else _predictions_table(rows, shape, now)


def _predictions_table(rows: Sequence[Any], shape: _Shape, now: datetime) -> pa.Table | None:
    if shape.prediction is int and not all(-_LARGE <= row.prediction < _LARGE for row in rows):
        return None
    columns = {
        "prediction_id": _text(rows, "prediction_id", shape.identity),
        "timestamp": _times(rows, now),
        "model_version": pa.array(map(attrgetter("model_version"), rows), pa.string()),
        "prediction": _value(rows, "prediction", shape.prediction),
        "confidence": pa.array(map(attrgetter("confidence"), rows), pa.float64()),
    }
    groups = (
        ("scores", "score_", shape.scores),
        ("features", "feature_", shape.features),
        ("tags", "tag_", shape.tags),
    )
    for group, start, names in groups:
        columns.update(_group(rows, group, start, names))
    if shape.scores:
        best = pc.max_element_wise(*(columns[f"score_{name}"] for name, _ in shape.scores))
        if best.null_count:
            return None
        columns["confidence"] = pc.if_else(pc.and_(pc.greater_equal(best, 0.0), pc.less_equal(best, 1.0)), best, None)
    return pa.table(columns) if _is_sound(columns, now) else None


def labels(body: bytes, form: str, raws: Sequence[Any], task: str, now: datetime) -> pa.Table | None:
    """The same for labels."""
    try:
        first = {} if not raws or _NUL in body else msgspec.json.decode(raws[0], type=dict[str, Any])
        kinds = _outcome_kinds(first, "label", task)
        rows = None if kinds is None else _label_decoder(form, *kinds)(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    if kinds is None or rows is None or (kinds[1] is int and not all(-_LARGE <= row.label < _LARGE for row in rows)):
        return None
    columns = {
        "prediction_id": _text(rows, "prediction_id", kinds[0]),
        "label": _value(rows, "label", kinds[1]),
        "timestamp": _times(rows, now),
        "outcome": pa.nulls(len(rows), pa.string()),
    }
    return pa.table(columns) if _is_sound(columns, now) else None


def _shape(raws: Sequence[Any], task: str) -> _Shape | None:
    """What the first rows look like, None where that is nothing for the fast path."""
    rows = [msgspec.json.decode(raw, type=dict[str, Any]) for raw in raws]
    kinds = _outcome_kinds(rows[0], "prediction", task)
    scores, features, tags = (_names(rows, group) for group in ("scores", "features", "tags"))
    if kinds is None or scores is None or features is None or tags is None:
        return None
    if any(kind is list for _, kind in (*scores, *tags)):
        return None
    if len(scores) > checks.MOST_CLASSES or len(features) + len(tags) > checks.MOST_COLUMNS:
        return None
    return _Shape(*kinds, scores, features, tags)


def _outcome_kinds(row: dict[str, Any], field: str, task: str) -> tuple[type, type] | None:
    """Types of the row's id and of its prediction or label, None where they do not fit the task."""
    identity: type = type(row.get("prediction_id"))
    outcome: type = type(row.get(field))
    if task == "regression" and outcome is int:
        outcome = float
    if identity not in {str, int} or outcome not in _OUTCOMES or (task == "regression") != (outcome is float):
        return None
    return identity, outcome


def _names(rows: Sequence[dict[str, Any]], group: str) -> Names | None:
    seen: dict[str, type] = {}
    for row in rows:
        named = row.get(group) or {}
        if not isinstance(named, dict):
            return None
        for name, value in named.items():
            if value is not None or name not in seen:
                kind = type(value)
                seen[name] = kind if seen.get(name, type(None)) in {type(None), kind} else _wider(seen[name], kind)
    if not all(kind in _KINDS and checks.is_column_name(name) for name, kind in seen.items()):
        return None
    return tuple(seen.items()) if len({name.lower() for name in seen}) == len(seen) else None


def _wider(one: type, other: type) -> type:
    return float if {one, other} == {int, float} else object


@lru_cache(maxsize=64)
def _decoder(form: str, shape: _Shape) -> Callable[[bytes], list[Any]]:
    row = msgspec.defstruct(
        "Row",
        [
            ("prediction_id", shape.identity),
            ("prediction", shape.prediction),
            ("timestamp", datetime | None, None),
            ("model_version", str | None, None),
            ("confidence", float | None, None),
            ("scores", _struct("Scores", shape.scores), None),
            ("features", _struct("Features", shape.features), None),
            ("tags", _struct("Tags", shape.tags), None),
        ],
        gc=False,
    )
    return _decode_with(form, row)


@lru_cache(maxsize=8)
def _label_decoder(form: str, identity: type, label: type) -> Callable[[bytes], list[Any]]:
    # An outcome is an object, which only the slow path writes down.
    fields: list[tuple[str, Any, Any]] = [
        ("prediction_id", identity, msgspec.NODEFAULT),
        ("label", label, msgspec.NODEFAULT),
        ("timestamp", datetime | None, None),
        ("outcome", None, None),
    ]
    return _decode_with(form, msgspec.defstruct("Label", fields, gc=False))


def _decode_with(form: str, row: type) -> Callable[[bytes], list[Any]]:
    if form == "ndjson":
        return msgspec.json.Decoder(row).decode_lines
    rows: Any = list[row]  # type: ignore[valid-type]  # the type is made at run time
    return msgspec.json.Decoder(rows).decode


def _struct(title: str, names: Names) -> Any:  # noqa: ANN401  a type made at run time
    fields = [(f"c{index}", _KINDS[kind][0], None) for index, (_, kind) in enumerate(names)]
    rename = {f"c{index}": name for index, (name, _) in enumerate(names)}
    struct: Any = msgspec.defstruct(title, fields, rename=rename, forbid_unknown_fields=True, gc=False)
    return struct | None


def _group(rows: Sequence[Any], group: str, start: str, names: Names) -> dict[str, pa.Array]:
    values = list(map(attrgetter(group), rows))
    if None in values:
        empty = next((value for value in values if value is not None), None)
        if empty is None:
            return {}
        blank = type(empty)()
        values = [blank if value is None else value for value in values]
    return {
        start + name: pa.array(list(map(attrgetter(f"c{index}"), values)), _KINDS[kind][1])
        for index, (name, kind) in enumerate(names)
    }


def _text(rows: Sequence[Any], field: str, kind: type) -> pa.Array:
    values = map(attrgetter(field), rows)
    texts: dict[type, Callable[[Any], str]] = {int: str, bool: checks.json_text, float: checks.json_text}
    return pa.array(values if kind is str else map(texts[kind], values), pa.string())


def _value(rows: Sequence[Any], field: str, kind: type) -> pa.Array:
    return pa.array(map(attrgetter(field), rows), pa.float64()) if kind is float else _text(rows, field, kind)


def _times(rows: Sequence[Any], now: datetime) -> pa.Array:
    values = [row.timestamp or now for row in rows]
    return pa.array([value if value.tzinfo else value.replace(tzinfo=UTC) for value in values], TIME)


def _is_sound(columns: dict[str, pa.Array], now: datetime) -> bool:
    """Whether every value keeps its limits, seen by whole columns."""
    if not all(_is_within_limits(name, column) for name, column in columns.items()):
        return False
    times = pc.min_max(columns["timestamp"]).as_py()
    if times["min"] < checks.EARLIEST or times["max"] > now + checks.MOST_AHEAD:
        return False
    if pc.min(pc.binary_length(columns["prediction_id"])).as_py() == 0:
        return False
    if "confidence" in columns:
        span = pc.min_max(columns["confidence"]).as_py()
        if span["max"] is not None and not (span["min"] >= 0 and span["max"] <= 1):
            return False
    versions = pc.unique(columns["model_version"]).to_pylist() if "model_version" in columns else []
    return all(version is None or is_safe_name(version) for version in versions)


def _is_within_limits(name: str, column: pa.Array) -> bool:
    if pa.types.is_string(column.type):
        most = checks.MOST_ID_BYTES if name == "prediction_id" else checks.MOST_TEXT_BYTES
        return (pc.max(pc.binary_length(column)).as_py() or 0) <= most
    if pa.types.is_list(column.type):
        lengths = pc.min_max(pc.list_value_length(column)).as_py()
        has_length = lengths["min"] is None or 0 < lengths["min"] <= lengths["max"] <= checks.MOST_NUMBERS
        return has_length and _farthest(pc.list_flatten(column)) <= checks.LARGEST_IN_LIST
    return not pa.types.is_floating(column.type) or _farthest(column) < _LARGE


def _farthest(column: pa.Array) -> float:
    """The largest absolute value, 0 where there is none."""
    span = pc.min_max(column).as_py()
    return 0.0 if span["max"] is None else float(max(-span["min"], span["max"]))
