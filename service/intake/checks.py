"""What one row must be: the slow, exact check, which names the field and the problem."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from service.storage.keys import is_safe_name

# Labels of `tidegate_rejected_rows_total`.
REASONS = (
    "missing",
    "wrong_type",
    "nested",
    "number_range",
    "timestamp",
    "text",
    "too_long",
    "name",
    "too_many_columns",
    "malformed",
)
MOST_COLUMNS = 2000
MOST_CLASSES = 64
MOST_NAME_CHARACTERS = 128
MOST_ID_BYTES = 512
MOST_TEXT_BYTES = 64 * 1024
MOST_NUMBERS = 4096
"""Numbers in a list: an embedding."""
LARGEST_IN_LIST = 3.4e38
"""Lists are kept as 32-bit floats."""
# Before 1970 lies a wrong unit; a day ahead of the clock, a wrong clock that would leave real slices behind.
EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)
MOST_AHEAD = timedelta(days=1)
# Integers in JSON are taken as signed or unsigned 64-bit ones.
_LEAST_INTEGER, _MOST_INTEGER = -(2**63), 2**64 - 1

Scalar = str | int | float | bool | None


class RowProblem(Exception):
    """One row cannot be taken."""

    def __init__(self, field: str, problem: str, reason: str) -> None:
        super().__init__(f"{field}: {problem}")
        self.field = field
        self.problem = problem
        self.reason = reason


class PredictionCheck:
    """Checks the rows of one body, one after the other; names that differ only in case are judged over all rows."""

    def __init__(self, task: str, now: datetime) -> None:
        self._task = task
        self._now = now
        self._spelling: dict[str, str] = {}
        self._lists: dict[str, bool] = {}

    def row(self, row: object) -> dict[str, Any]:
        """The row's columns, flat. Raises RowProblem."""
        fields = _object(row, "")
        flat: dict[str, Any] = {
            "prediction_id": identity(fields),
            "prediction": outcome_of_task(fields, "prediction", self._task),
            "timestamp": moment(fields, self._now),
            "model_version": _version(fields),
        }
        flat["confidence"], scores = _scores(fields)
        named: dict[str, Scalar | list[float]] = {f"score_{name}": value for name, value in scores.items()}
        for group, start in (("features", "feature_"), ("tags", "tag_")):
            for name, value in _object(fields.get(group) or {}, group).items():
                check_column_name(group, name)
                is_list = group == "features" and isinstance(value, list)
                named[start + name] = (vector if is_list else scalar)(value, f"{group}.{name}")
        self._check_columns(named)
        self._check_forms(named)
        flat.update(named)
        return flat

    def _check_columns(self, named: Mapping[str, object]) -> None:
        for name in named:
            # Parquet readers of SQL engines take `Text` and `text` for one column.
            if self._spelling.get(name.lower(), name) != name:
                other = self._spelling[name.lower()]
                raise RowProblem(_field(name), f"differs from {_field(other)} only in upper and lower case", "name")
        new = [name for name in named if name.lower() not in self._spelling]
        seen: dict[str, str] = {}
        for name in new:
            if seen.setdefault(name.lower(), name) != name:
                other = _field(seen[name.lower()])
                raise RowProblem(_field(name), f"differs from {other} only in upper and lower case", "name")
        if len(self._spelling) + len(new) > MOST_COLUMNS + MOST_CLASSES:
            raise RowProblem("features", f"more than {MOST_COLUMNS} columns in one body", "too_many_columns")
        self._spelling.update(seen)

    def _check_forms(self, named: Mapping[str, object]) -> None:
        """A column of one body holds lists or single values, as the first row that has one says."""
        forms = {name: isinstance(value, list) for name, value in named.items() if value is not None}
        for name, is_list in forms.items():
            if self._lists.get(name, is_list) != is_list:
                here, before = ("a list", "single values") if is_list else ("a single value", "lists")
                raise RowProblem(_field(name), f"is {here}; other rows of this body have {before}", "wrong_type")
        self._lists.update(forms)


class LabelCheck:
    """Checks the labels of one body."""

    def __init__(self, task: str, now: datetime) -> None:
        self._task = task
        self._now = now

    def row(self, row: object) -> dict[str, Any]:
        """The label's columns. Raises RowProblem."""
        fields = _object(row, "")
        outcome = fields.get("outcome")
        if outcome is not None:
            text = msgspec.json.encode(_object(outcome, "outcome")).decode()
            check_text(text, "outcome", MOST_TEXT_BYTES)
        return {
            "prediction_id": identity(fields),
            "label": outcome_of_task(fields, "label", self._task),
            "timestamp": moment(fields, self._now),
            "outcome": None if outcome is None else text,
        }


def identity(fields: Mapping[str, Any]) -> str:
    """The prediction's id; an integer is taken as its text."""
    value = fields.get("prediction_id")
    if value is None:
        raise RowProblem("prediction_id", "is missing", "missing")
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str):
        raise RowProblem("prediction_id", f"must be text, not {_kind(value)}", "wrong_type")
    if not value:
        raise RowProblem("prediction_id", "is empty", "missing")
    return check_text(value, "prediction_id", MOST_ID_BYTES)


def outcome_of_task(fields: Mapping[str, Any], field: str, task: str) -> str | float:
    """A prediction or label: text for a classification, a number for a regression."""
    value = scalar(fields.get(field), field)
    if value is None:
        raise RowProblem(field, "is missing", "missing")
    if task == "classification":
        return value if isinstance(value, str) else json_text(value)
    if isinstance(value, str | bool):
        raise RowProblem(field, f"must be a number for a regression, not {_kind(value)}", "wrong_type")
    return float(value)


def moment(fields: Mapping[str, Any], now: datetime) -> datetime:
    """The row's timestamp in UTC, `now` where it has none; one without a zone is UTC."""
    value = fields.get("timestamp")
    if value is None:
        return now
    if not isinstance(value, str):
        raise RowProblem("timestamp", f"must be text like 2026-11-22T10:00:00Z, not {_kind(value)}", "timestamp")
    try:
        parsed = msgspec.convert(value, datetime)
    except msgspec.ValidationError:
        raise RowProblem(
            "timestamp", f"{value[:40]!r} is not a time like 2026-11-22T10:00:00Z (RFC 3339)", "timestamp"
        ) from None
    if parsed.tzinfo is None:
        parsed = parsed.replace(tzinfo=UTC)
    if parsed < EARLIEST:
        raise RowProblem("timestamp", f"{value[:40]} lies before 1970", "timestamp")
    if parsed > now + MOST_AHEAD:
        raise RowProblem("timestamp", f"{value[:40]} lies more than a day after now ({now:%FT%TZ})", "timestamp")
    return parsed.astimezone(UTC)


def scalar(value: Any, field: str) -> Scalar:  # noqa: ANN401  whatever JSON holds
    """A number, truth value, text or nothing, within its limits."""
    if isinstance(value, dict | list):
        raise RowProblem(field, f"must be a single value, not {_kind(value)}", "nested")
    if isinstance(value, str):
        return check_text(value, field, MOST_TEXT_BYTES)
    if isinstance(value, int) and not _LEAST_INTEGER <= value <= _MOST_INTEGER:
        raise RowProblem(field, "is an integer beyond 64 bits: send it as text", "number_range")
    checked: Scalar = value  # JSON knows nothing else
    return checked


def vector(value: list[Any], field: str) -> list[float]:
    """A list of numbers, within its limits."""
    if not 0 < len(value) <= MOST_NUMBERS:
        reason = "too_long" if value else "missing"
        raise RowProblem(field, f"is a list of {len(value)} numbers; 1 to {MOST_NUMBERS} are allowed", reason)
    for place, number in enumerate(value):
        if isinstance(number, bool) or not isinstance(number, int | float):
            raise RowProblem(field, f"must hold only numbers; its item {place} is {_kind(number)}", "nested")
        if abs(number) > LARGEST_IN_LIST:
            raise RowProblem(field, f"its item {place} is beyond {LARGEST_IN_LIST:g}", "number_range")
    return [float(number) for number in value]


def check_text(value: str, field: str, most_bytes: int) -> str:
    """The text itself. Raises RowProblem where it is too long or holds a NUL character."""
    if "\0" in value:
        raise RowProblem(field, "holds a NUL character", "text")
    size = len(value.encode())
    if size > most_bytes:
        raise RowProblem(field, f"is {size} bytes long; {most_bytes} are allowed", "too_long")
    return value


def check_column_name(group: str, name: str) -> None:
    """Raises RowProblem where a feature, tag or class name cannot be a column."""
    if not is_column_name(name):
        problem = f"its name must be 1 to {MOST_NAME_CHARACTERS} printable characters"
        raise RowProblem(f"{group}.{name[:MOST_NAME_CHARACTERS]}", problem, "name")


def is_column_name(name: str) -> bool:
    """Whether a feature, tag or class name can be a column."""
    return 0 < len(name) <= MOST_NAME_CHARACTERS and name.isprintable()


def json_text(value: float | bool) -> str:  # noqa: FBT001  a value of a row
    """A number or truth value as JSON writes it."""
    return msgspec.json.encode(value).decode()


def _object(value: object, field: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise RowProblem(field, f"must be an object, not {_kind(value)}", "wrong_type")
    return value


def _version(fields: Mapping[str, Any]) -> str | None:
    value = fields.get("model_version")
    if value is None:
        return None
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str):
        raise RowProblem("model_version", f"must be text, not {_kind(value)}", "wrong_type")
    if not is_safe_name(value):
        problem = "must be 1 to 128 letters, digits and . _ -, beginning with a letter or digit"
        raise RowProblem("model_version", problem, "name")
    return value


def _scores(fields: Mapping[str, Any]) -> tuple[float | None, dict[str, float]]:
    """The confidence, and the scores as given."""
    scores: dict[str, float] = {}
    for name, value in _object(fields.get("scores") or {}, "scores").items():
        check_column_name("scores", name)
        if value is None:
            continue
        scores[name] = _number(value, f"scores.{name}")
    if scores:
        # Scores that are no probabilities (logits, margins) say nothing about confidence.
        best = max(scores.values())
        return (best if 0 <= best <= 1 else None), scores if len(scores) <= MOST_CLASSES else {}
    confidence = fields.get("confidence")
    if confidence is None:
        return None, {}
    value = _number(confidence, "confidence")
    if not 0 <= value <= 1:
        raise RowProblem("confidence", f"{value:g} is not between 0 and 1", "number_range")
    return value, {}


def _number(value: Any, field: str) -> float:  # noqa: ANN401  whatever JSON holds
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise RowProblem(field, f"must be a number, not {_kind(value)}", "wrong_type")
    scalar(value, field)
    return float(value)


def _field(column: str) -> str:
    start, _, name = column.partition("_")
    return f"{start}s.{name}"


def _kind(value: object) -> str:
    names = {dict: "an object", list: "a list", str: "text", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number")
