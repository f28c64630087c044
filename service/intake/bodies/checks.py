"""What one row must be: the slow, exact check, which names the field and the problem."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Protocol

from service.intake.bodies import names, values
from service.intake.bodies.limits import Limits
from service.intake.bodies.values import RowProblem, Scalar

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
    "uncountable",  # found later, by the label join
)
MOST_ID_BYTES = Limits.id_bytes


class Check(Protocol):
    """Checks the rows of one body, one after the other."""

    def row(self, row: object) -> dict[str, Any]:
        """The row's columns, flat. Raises RowProblem."""
        ...


class PredictionCheck:
    """Checks predictions. Names that differ only in case, and lists beside single values, are judged over all rows."""

    def __init__(self, task: str, now: datetime, limits: Limits = Limits()) -> None:  # noqa: B008  a frozen value
        self._task = task
        self._now = now
        self._limits = limits
        self._spelling: dict[str, str] = {}
        self._lists: dict[str, bool] = {}

    def row(self, row: object) -> dict[str, Any]:
        """The row's columns, flat. Raises RowProblem."""
        fields = _object(row, "")
        flat: dict[str, Any] = {
            "prediction_id": values.identity(fields.get("prediction_id"), self._limits),
            "prediction": values.outcome_of_task(fields.get("prediction"), "prediction", self._task, self._limits),
            "timestamp": values.moment(fields.get("timestamp"), self._now),
            "model_version": values.version(fields.get("model_version")),
        }
        flat["confidence"], scores = self._scores(fields)
        named: dict[str, Scalar | list[float]] = {f"score_{name}": value for name, value in scores.items()}
        for group in ("features", "tags"):
            for name, value in _object(fields.get(group) or {}, group).items():
                self._check_name(group, name)
                is_list = group == "features" and isinstance(value, list)
                taken = (values.vector if is_list else values.scalar)(value, f"{group}.{name}", self._limits)
                named[names.GROUPS[group] + name] = taken
        self._check_columns(named)
        self._check_forms(named)
        flat.update(named)
        return flat

    def _scores(self, fields: Mapping[str, Any]) -> tuple[float | None, dict[str, float]]:
        """The confidence, and the scores as given."""
        scores: dict[str, float] = {}
        for name, value in _object(fields.get("scores") or {}, "scores").items():
            self._check_name("scores", name)
            if value is not None:
                scores[name] = values.number(value, f"scores.{name}", self._limits)
        if scores:
            # Scores that are no probabilities (logits, margins) say nothing about confidence.
            best = max(scores.values())
            return (best if 0 <= best <= 1 else None), scores
        confidence = fields.get("confidence")
        if confidence is None:
            return None, {}
        value = values.number(confidence, "confidence", self._limits)
        if not 0 <= value <= 1:
            raise RowProblem("confidence", f"{value:g} is not between 0 and 1", "number_range")
        return value, {}

    def _check_name(self, group: str, name: str) -> None:
        problem = names.problem_of(name, self._limits)
        if problem:
            raise RowProblem(f"{group}.{name[: self._limits.name_characters]}", problem, "name")

    def _check_columns(self, named: Mapping[str, object]) -> None:
        new = [name for name in named if self._spelling.get(name.lower()) != name]
        if not new:
            return
        spelling = dict(self._spelling)
        for name in new:
            other = spelling.setdefault(name.lower(), name)
            if other != name:
                problem = f"differs from {names.told(other)} only in upper and lower case"
                raise RowProblem(names.told(name), problem, "name")
        if sum(not low.startswith("score_") for low in spelling) > self._limits.columns:
            problem = f"more than {self._limits.columns} columns in one body (TIDEGATE_MAX_COLUMNS)"
            raise RowProblem("features", problem, "too_many_columns")
        self._spelling = spelling

    def _check_forms(self, named: Mapping[str, object]) -> None:
        """A column of one body holds lists or single values, as the first row that has one says."""
        forms = {name: isinstance(value, list) for name, value in named.items() if value is not None}
        for name, is_list in forms.items():
            if self._lists.get(name, is_list) != is_list:
                here, before = ("a list", "single values") if is_list else ("a single value", "lists")
                raise RowProblem(names.told(name), f"is {here}; other rows of this body have {before}", "wrong_type")
        self._lists.update(forms)


class LabelCheck:
    """Checks labels."""

    def __init__(self, task: str, now: datetime, limits: Limits = Limits()) -> None:  # noqa: B008  a frozen value
        self._task = task
        self._now = now
        self._limits = limits

    def row(self, row: object) -> dict[str, Any]:
        """The label's columns. Raises RowProblem."""
        fields = _object(row, "")
        outcome = fields.get("outcome")
        return {
            "prediction_id": values.identity(fields.get("prediction_id"), self._limits),
            "label": values.outcome_of_task(fields.get("label"), "label", self._task, self._limits),
            "timestamp": values.moment(fields.get("timestamp"), self._now),
            "outcome": None if outcome is None else values.outcome_text(_object(outcome, "outcome"), self._limits),
        }


def _object(value: object, field: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise RowProblem(field, f"must be an object, not {values.kind(value)}", "wrong_type")
    return value
