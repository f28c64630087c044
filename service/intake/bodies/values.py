"""Single values of a row: what each may be, exactly, and in words where it is not."""

import math
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from service.intake.bodies.limits import Limits
from service.storage.keys import is_safe_name

LARGEST_IN_LIST = 3.4e38
"""Lists are kept as 32-bit floats."""
# Before 1970 lies a wrong unit; a day ahead of the clock, a wrong clock that would leave real slices behind.
EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)
MOST_AHEAD = timedelta(days=1)
# Integers in JSON are taken as signed or unsigned 64-bit ones.
_LEAST_INTEGER, _MOST_INTEGER = -(2**63), 2**64 - 1
_KINDS = {dict: "an object", list: "a list", str: "text", bool: "true or false", type(None): "null"}

Scalar = str | int | float | bool | None


class RowProblem(Exception):
    """One row cannot be taken."""

    def __init__(self, field: str, problem: str, reason: str) -> None:
        super().__init__(f"{field}: {problem}")
        self.field = field
        self.problem = problem
        self.reason = reason


def identity(value: object, limits: Limits) -> str:
    """A prediction's id; an integer is taken as its text."""
    if value is None:
        raise RowProblem("prediction_id", "is missing", "missing")
    text = _text_of_integer(value)
    if not isinstance(text, str):
        raise RowProblem("prediction_id", f"must be text, not {kind(value)}", "wrong_type")
    if not text:
        raise RowProblem("prediction_id", "is empty", "missing")
    return check_text(text, "prediction_id", limits.id_bytes, "TIDEGATE_MAX_ID_BYTES")


def version(value: object) -> str | None:
    """The version of the model, None where the row does not say it."""
    if value is None:
        return None
    text = _text_of_integer(value)
    if not isinstance(text, str):
        raise RowProblem("model_version", f"must be text, not {kind(value)}", "wrong_type")
    if not is_safe_name(text):
        problem = "must be 1 to 128 letters, digits and . _ -, beginning with a letter or digit"
        raise RowProblem("model_version", problem, "name")
    return text


def _text_of_integer(value: object) -> object:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def outcome_of_task(value: object, field: str, task: str, limits: Limits) -> str | float:
    """A prediction or label: text for a classification, a number for a regression."""
    taken = scalar(value, field, limits)
    if taken is None:
        raise RowProblem(field, "is missing", "missing")
    if task == "classification":
        return taken if isinstance(taken, str) else json_text(taken)
    if isinstance(taken, str | bool):
        raise RowProblem(field, f"must be a number for a regression, not {kind(taken)}", "wrong_type")
    return float(taken)


def moment(value: object, now: datetime) -> datetime:
    """A timestamp in UTC, `now` where there is none; one without a zone is UTC."""
    if value is None:
        return now
    if not isinstance(value, str):
        raise RowProblem("timestamp", f"must be text like 2026-11-22T10:00:00Z, not {kind(value)}", "timestamp")
    try:
        parsed = msgspec.convert(value, datetime)
    except msgspec.ValidationError:
        problem = f"{value[:40]!r} is not a time like 2026-11-22T10:00:00Z (RFC 3339)"
        raise RowProblem("timestamp", problem, "timestamp") from None
    if parsed.tzinfo is None:
        parsed = parsed.replace(tzinfo=UTC)
    if parsed < EARLIEST:
        raise RowProblem("timestamp", f"{value[:40]} lies before 1970", "timestamp")
    if parsed > now + MOST_AHEAD:
        raise RowProblem("timestamp", f"{value[:40]} lies more than a day after now ({now:%FT%TZ})", "timestamp")
    return parsed.astimezone(UTC)


def scalar(value: Any, field: str, limits: Limits) -> Scalar:  # noqa: ANN401  whatever a body holds
    """A number, truth value, text or nothing, within its limits."""
    seen = type(value)
    if seen is float:
        if not math.isfinite(value):
            raise RowProblem(field, f"is {value}: send null for a missing number", "number_range")
    elif seen is str:
        return check_text(value, field, limits.text_bytes, "TIDEGATE_MAX_TEXT_BYTES")
    elif seen is int and not _LEAST_INTEGER <= value <= _MOST_INTEGER:
        raise RowProblem(field, "is an integer beyond 64 bits: send it as text", "number_range")
    elif seen is dict or seen is list:
        raise RowProblem(field, f"must be a single value, not {kind(value)}", "nested")
    taken: Scalar = value
    return taken


def number(value: Any, field: str, limits: Limits) -> float:  # noqa: ANN401  whatever a body holds
    """A number and nothing else."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise RowProblem(field, f"must be a number, not {kind(value)}", "wrong_type")
    scalar(value, field, limits)
    return float(value)


def vector(value: list[Any], field: str, limits: Limits) -> list[float]:
    """A list of numbers, within its limits."""
    if not value:
        raise RowProblem(field, "is a list without numbers", "missing")
    if len(value) > limits.list_numbers:
        problem = f"is a list of {len(value)} numbers; {limits.list_numbers} are allowed (TIDEGATE_MAX_LIST_NUMBERS)"
        raise RowProblem(field, problem, "too_long")
    for place, item in enumerate(value):
        if isinstance(item, bool) or not isinstance(item, int | float):
            raise RowProblem(field, f"must hold only numbers; its item {place} is {kind(item)}", "nested")
        if not abs(item) <= LARGEST_IN_LIST:
            raise RowProblem(field, f"its item {place} is beyond {LARGEST_IN_LIST:g}", "number_range")
    return [float(item) for item in value]


def outcome_text(value: dict[str, Any], limits: Limits) -> str:
    """An outcome as JSON text."""
    if is_deeper(value, limits.depth):
        problem = f"holds objects or lists more than {limits.depth} deep (TIDEGATE_MAX_DEPTH)"
        raise RowProblem("outcome", problem, "nested")
    text = msgspec.json.encode(value).decode()
    return check_text(text, "outcome", limits.text_bytes, "TIDEGATE_MAX_TEXT_BYTES")


def is_deeper(value: object, most: int) -> bool:
    """Whether objects and lists lie more than `most` deep within one another.

    >>> is_deeper({"a": [1]}, 2), is_deeper({"a": [[]]}, 2)
    (False, True)
    """
    level: list[Any] = [value]
    for _ in range(most + 1):
        level = [each for each in level if isinstance(each, dict | list)]
        if not level:
            return False
        level = [child for each in level for child in (each.values() if isinstance(each, dict) else each)]
    return True


def check_text(value: str, field: str, most_bytes: int, setting: str) -> str:
    """The text itself. Raises RowProblem where it is too long or holds a NUL character."""
    if "\0" in value:
        raise RowProblem(field, "holds a NUL character", "text")
    if 4 * len(value) > most_bytes and (size := len(value.encode())) > most_bytes:
        raise RowProblem(field, f"is {size} bytes long; {most_bytes} are allowed ({setting})", "too_long")
    return value


def json_text(value: float | bool) -> str:  # noqa: FBT001  a value of a row
    """A number or truth value as JSON writes it."""
    return msgspec.json.encode(value).decode()


def kind(value: object) -> str:
    """What a value is, in the sender's words."""
    return _KINDS.get(type(value), "a number")
