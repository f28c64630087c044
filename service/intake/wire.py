"""Request bodies to checked Arrow tables: a fast path for good bodies, a slow one that finds the culprits.

Columns of predictions: `prediction_id`, `timestamp`, `model_version` (null where the sender did not say), `prediction`,
`confidence`, then `score_<class>`, `feature_<name>`, `tag_<name>`. Of labels: `prediction_id`, `label`, `timestamp`,
`outcome` (JSON text or null).
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

import msgspec
import pyarrow as pa

from service.errors import MalformedBody, Rejection, TooManyRows
from service.intake import checks, shapes
from service.intake.columns import NUMBERS, TIME

Form = Literal["json", "ndjson"]
Task = Literal["classification", "regression"]

_FIRST = ("prediction_id", "timestamp", "model_version", "prediction", "confidence")
_FIXED = {"prediction_id": pa.string(), "timestamp": TIME, "model_version": pa.string(), "outcome": pa.string()}
_BYTE = re.compile(r"\(byte (\d+)\)")


@dataclass(frozen=True)
class Batch:
    """The rows that can be taken, and why the others cannot."""

    table: pa.Table
    rejected: tuple[Rejection, ...] = ()


def predictions(body: bytes, form: Form, task: Task, now: datetime, *, most_rows: int = 50_000) -> Batch:
    """The predictions of a body. `now` stands in for missing timestamps and bounds the given ones.

    A classification's `prediction` becomes text (integers and booleans as JSON writes them), a regression's a double.
    A feature or tag that is text in some rows and a number in others becomes text in all. A feature may be a list of
    numbers.

    Raises:
        MalformedBody: the body is not a JSON array or lines of JSON.
        TooManyRows: it holds more than `most_rows`.
    """
    raws = _rows(body, form, most_rows)
    table = shapes.predictions(body, form, raws, task, now)
    if table is not None:
        return Batch(table)
    check = checks.PredictionCheck(task, now)
    accepted, rejected = _sift(raws, check.row)
    return Batch(_predictions_table(accepted, task), rejected)


def labels(body: bytes, form: Form, task: Task, now: datetime, *, most_rows: int = 50_000) -> Batch:
    """The labels of a body, under the same rules; `label` has the type of the task's predictions."""
    raws = _rows(body, form, most_rows)
    table = shapes.labels(body, form, raws, task, now)
    if table is not None:
        return Batch(table)
    accepted, rejected = _sift(raws, checks.LabelCheck(task, now).row)
    value = pa.string() if task == "classification" else pa.float64()
    schema = pa.schema(
        [("prediction_id", pa.string()), ("label", value), ("timestamp", TIME), ("outcome", pa.string())]
    )
    return Batch(pa.Table.from_pylist(accepted, schema), rejected)


def _rows(body: bytes, form: Form, most_rows: int) -> Sequence[bytes | msgspec.Raw]:
    raws: Sequence[bytes | msgspec.Raw]
    if form == "ndjson":
        raws = [line for line in body.split(b"\n") if line and not line.isspace()]
    else:
        try:
            raws = msgspec.json.decode(body, type=list[msgspec.Raw])
        except (msgspec.DecodeError, RecursionError) as error:
            raise MalformedBody(f"the body is not a JSON array of rows: {explain(error, body)}") from error
    if len(raws) > most_rows:
        raise TooManyRows(len(raws), most_rows)
    return raws


def explain(error: Exception, text: bytes) -> str:
    """What is wrong with a JSON text, in words for the sender."""
    if isinstance(error, RecursionError):
        return "it is nested too deep"
    if isinstance(error, UnicodeDecodeError):
        return "it is not UTF-8"
    found = _BYTE.search(str(error))
    if found:
        at = int(found[1])
        for word in (b"-Infinity", b"Infinity", b"NaN"):
            # The parser points at the sign's successor.
            if text[max(0, at - 1) :].startswith(word) or text[at:].startswith(word):
                return f"{word.decode()} at byte {at} is not JSON: send null for a missing number"
    return str(error)


def _sift(
    raws: Sequence[bytes | msgspec.Raw], check: Callable[[Any], dict[str, Any]]
) -> tuple[list[dict[str, Any]], tuple[Rejection, ...]]:
    accepted, rejected = [], []
    for index, raw in enumerate(raws):
        try:
            accepted.append(check(msgspec.json.decode(raw)))
        except checks.RowProblem as problem:
            rejected.append(Rejection(index, problem.field, problem.problem, problem.reason))
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
            reason = "number_range" if "out of range" in str(error) else "malformed"
            rejected.append(Rejection(index, "", explain(error, bytes(raw)), reason))
    return accepted, tuple(rejected)


def _predictions_table(rows: list[dict[str, Any]], task: Task) -> pa.Table:
    names = dict.fromkeys(_FIRST)
    for row in rows:
        names.update(dict.fromkeys(row))
    scores = [name for name in names if name.startswith("score_")]
    for name in scores if len(scores) > checks.MOST_CLASSES else ():
        del names[name]
    order = ("score_", "feature_", "tag_")
    rest = [name for start in order for name in names if name not in _FIRST and name.startswith(start)]
    columns = {name: [row.get(name) for row in rows] for name in [*_FIRST, *rest]}
    types = {**_FIXED, "prediction": pa.string() if task == "classification" else pa.float64()}
    return pa.table({name: _array(values, types.get(name)) for name, values in columns.items()})


def _array(values: list[Any], kind: pa.DataType | None) -> pa.Array:
    """A column of the given type, else of the one type its values share, else of text."""
    if kind is None:
        seen = {type(value) for value in values if value is not None}
        if seen <= {int, float}:
            return pa.array([None if value is None else float(value) for value in values], pa.float64())
        if seen in ({bool}, {list}):
            return pa.array(values, pa.bool_() if seen == {bool} else NUMBERS)
        values = [value if value is None or isinstance(value, str) else checks.json_text(value) for value in values]
        kind = pa.string()
    return pa.array(values, kind)
