"""Bodies of columns as JSON: `{"columns": {"prediction_id": [..], "features.x": [..], ..}}`."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import pyarrow as pa

from service.errors import MalformedBody, TooManyRows, TooManyValues
from service.intake.bodies import gather
from service.intake.bodies.doubts import Doubts
from service.intake.bodies.gather import NumberText
from service.intake.bodies.headings import check_headings, nested
from service.intake.bodies.limits import Limits
from service.intake.bodies.rows import ERRORS, explain, reason_of
from service.intake.bodies.settle import Columns
from service.intake.bodies.values import RowProblem

_TEXTS = frozenset({"prediction_id", "model_version"})
# Text in quotes, or a word that Python and JavaScript write for a number, and JSON has not.
_NO_NUMBER = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"|-?\bInfinity\b|\bNaN\b', re.DOTALL)


@dataclass(frozen=True)
class _Unreadable:
    """A value that cannot be read, so that its row cannot be taken."""

    problem: str
    reason: str = "malformed"


_WORDS = {
    f"\0{word}": _Unreadable(f"{word} is not JSON: send null for a missing number")
    for word in ("NaN", "Infinity", "-Infinity")
}


class _Plain(msgspec.Struct, forbid_unknown_fields=True):
    columns: dict[str, list[Any]]


class _Raw(msgspec.Struct, forbid_unknown_fields=True):
    columns: dict[str, list[msgspec.Raw]]


class Columnar:
    """The columns of a body. `allowed`: names of the kind of row besides groups, the id first.

    Raises:
        MalformedBody: it is not JSON of this form, or a column cannot be one.
        TooManyRows, TooManyValues: it holds more than the limit.
    """

    def __init__(self, body: bytes, allowed: tuple[str, ...], task: str, limits: Limits) -> None:
        self._task = task
        self._limits = limits
        # Looking for one byte is 75 times as fast as looking for six.
        self.may_hold_nul = b"\\" in body and b"\\u0000" in body
        self._columns = _decoded(body)
        check_headings(tuple(self._columns), allowed, limits)
        self.rows = len(self._columns[allowed[0]])
        if self.rows > limits.rows:
            raise TooManyRows(limits.rows)
        if self.rows * len(self._columns) > limits.values:
            raise TooManyValues(self.rows, len(self._columns), limits.values)
        for name, column in self._columns.items():
            if len(column) != self.rows:
                seen = f"has {len(column)} values, {allowed[0]} has {self.rows}"
                raise MalformedBody(f"column {name[:80]!r} {seen}: each needs one a row")

    def columns(self) -> Columns | None:
        """All columns, None where one of them is not of one type."""
        if not self.rows:
            return None
        try:
            kinds, columns = zip(*(self._typed(name, column) for name, column in self._columns.items()), strict=True)
            made = gather.columns_of(kinds, columns, self._limits)
        except (pa.ArrowException, OverflowError, TypeError, RowProblem):
            return None
        return dict(zip(self._columns, made, strict=True))

    def doubt(self, doubts: Doubts) -> None:
        """Nothing that the columns do not show."""

    def row(self, place: int) -> dict[str, object]:
        """One row, as it would have been sent by itself. Raises RowProblem where a value cannot be read."""
        values = {name: column[place] for name, column in self._columns.items()}
        for name, value in values.items():
            if isinstance(value, _Unreadable):
                raise RowProblem(name, value.problem, value.reason)
        return nested(values.items())

    def _typed(self, name: str, column: Sequence[Any]) -> tuple[type, Sequence[Any]]:
        """The column with the one type of its values besides null. Raises TypeError where there are more."""
        if type(column[0]) is float and not self._is_text(name) and gather.are_doubles(column):
            return float, column
        kinds = set(map(type, column)) - {type(None)}
        if kinds in ({int, float}, {int}) and not self._is_text(name):
            return float, [None if value is None else float(value) for value in column]
        if len(kinds) > 1:
            raise TypeError(kinds)
        kind = kinds.pop() if kinds else type(None)
        is_class = kind is float and self._is_text(name) and name not in _TEXTS
        return NumberText if is_class else kind, column

    def _is_text(self, name: str) -> bool:
        return name in _TEXTS or (name in {"prediction", "label"} and self._task == "classification")


def _decoded(body: bytes) -> dict[str, list[Any]]:
    """Columns of plain values; what cannot be read of them is `_Unreadable`."""
    try:
        return msgspec.json.decode(body, type=_Plain).columns
    except ERRORS as error:
        marked = _NO_NUMBER.sub(_mark, body)
        try:
            found = msgspec.json.decode(marked, type=_Raw).columns
        except ERRORS as other:
            raise MalformedBody(
                'the body is not a JSON array of rows, nor {"columns": {"prediction_id": [..], ..}}: '
                + (explain(error, body) if marked == body else explain(other, marked))
            ) from other
        return {name: [_read(raw) for raw in column] for name, column in found.items()}


def _read(raw: msgspec.Raw) -> Any:  # noqa: ANN401  whatever JSON holds
    try:
        value = msgspec.json.decode(raw)
    except ERRORS as error:
        return _Unreadable(explain(error, bytes(raw)), reason_of(error))
    return _WORDS.get(value, value) if isinstance(value, str) else value


def _mark(found: re.Match[bytes]) -> bytes:
    word = found[0]
    return word if word.startswith(b'"') else b'"\\u0000' + word + b'"'
