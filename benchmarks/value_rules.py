"""The usual rules for retraining, and the plain loop that they run in: no gate, the newest rows teach."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from service.training.comparing import outcomes
from service.training.models import Model
from service.training.trainers import refit, train

TAUGHT = 2_000
"""Labelled rows that a usual rule trains on."""
STEP = 20
"""Rows between two looks, as in a replay of thin traffic."""
WINDOW = 500
"""Rows whose inputs are held against those of the model's training."""
PSI = 0.1
"""Evidently's own threshold of its PSI."""


@dataclass(frozen=True, eq=False)
class Task:
    """One stream for a rule: rows in time order, which of them get a label, and how many rows late."""

    rows: pa.Table
    kinds: Mapping[str, str]
    start: int
    labelled: NDArray[np.bool_]
    delay: int


class Rule(Protocol):
    """Says when to retrain."""

    def begin(self, taught: pa.Table) -> None:
        """A new model serves that learned from these rows."""

    def asks(self, begin: int, end: int, errors: NDArray[np.float64], window: pa.Table) -> bool:
        """Whether to retrain now that rows `begin` to `end` were served and these errors (0 or 1) became known."""


class Never:
    def begin(self, taught: pa.Table) -> None: ...

    def asks(self, begin: int, end: int, errors: NDArray[np.float64], window: pa.Table) -> bool:
        del begin, end, errors, window
        return False


@dataclass
class Periodic(Never):
    """Every `period` rows, the first time after `offset` of them."""

    period: float
    offset: float

    def asks(self, begin: int, end: int, errors: NDArray[np.float64], window: pa.Table) -> bool:
        del errors, window
        before, now = ((row - self.offset) // self.period for row in (begin, end))
        return before < now


class Detector(Never):
    """A drift detector of river, fed with the errors as their labels come; a new one for each model."""

    def __init__(self, make: Callable[[], Any]) -> None:
        self._make, self._detector = make, make()

    def begin(self, taught: pa.Table) -> None:
        del taught
        self._detector = self._make()

    def asks(self, begin: int, end: int, errors: NDArray[np.float64], window: pa.Table) -> bool:
        del begin, end, window
        found = False
        for error in errors.tolist():
            self._detector.update(error)
            found = found or self._detector.drift_detected
        return found


class EvidentlyPsi(Never):
    """Any input column whose PSI against the training rows, as Evidently computes it, is above Evidently's threshold.

    Of a text its length stands for it: PSI is for numbers and categories. Looked at once every window.
    """

    def begin(self, taught: pa.Table) -> None:
        self._reference, self._since = _frame(taught), 0

    def asks(self, begin: int, end: int, errors: NDArray[np.float64], window: pa.Table) -> bool:
        from evidently.legacy.calculations.stattests import psi_stat_test  # noqa: PLC0415  it takes seconds to import
        from evidently.legacy.core import ColumnType  # noqa: PLC0415  same

        del errors
        self._since += end - begin
        if self._since < WINDOW:
            return False
        self._since, now = 0, _frame(window)
        for name, values in self._reference.items():
            kind = ColumnType.Numerical if values.dtype.kind in "iuf" else ColumnType.Categorical
            if psi_stat_test.func(values.dropna(), now[name].dropna(), kind, PSI)[0] > PSI:
                return True
        return False


def run(task: Task, rule: Rule) -> tuple[float, list[int]]:
    """Accuracy on all rows from the first served one on, and after which rows it was retrained."""
    rows, count = task.rows, task.rows.num_rows
    taught = rows.slice(0, task.start)
    right = _right(_teach(taught, task.kinds), rows)
    rule.begin(_inputs(taught, task.kinds))
    known, at = task.start, []
    for begin, end in pairwise([*range(task.start, count, STEP), count]):
        until = max(known, end - task.delay)
        arrived = np.flatnonzero(task.labelled[known:until]) + known
        known = until
        window = _inputs(rows.slice(max(0, end - WINDOW), min(WINDOW, end)), task.kinds)
        if rule.asks(begin - task.start, end - task.start, 1 - right[arrived], window) and end < count:
            newest = np.flatnonzero(task.labelled[:known])[-TAUGHT:]
            taught = rows.take(pa.array(newest))
            right[end:] = _right(_teach(taught, task.kinds), rows.slice(end))
            rule.begin(_inputs(taught, task.kinds))
            at.append(end)
    return float(right[task.start :].mean()), at


def _teach(rows: pa.Table, kinds: Mapping[str, str]) -> Model:
    """As the built-in trainer teaches: the newest fifth says where to end, then all rows teach."""
    cut = round(rows.num_rows * 0.8)
    best = train(rows.slice(0, cut), rows.slice(cut), task="classification", columns=kinds)
    return refit(rows, task="classification", columns=kinds, step=best.step)


def _right(model: Model, rows: pa.Table) -> NDArray[np.float64]:
    return outcomes("classification", model.predict(rows).column("prediction"), rows)


def _inputs(rows: pa.Table, kinds: Mapping[str, str]) -> pa.Table:
    unused = {f"feature_{name}" for name, kind in kinds.items() if kind in ("tag", "ignore")}
    return rows.select([c for c in rows.column_names if c.startswith("feature_") and c not in unused])


def _frame(inputs: pa.Table) -> Any:  # noqa: ANN401  a data frame of pandas, which ships no types
    frame = inputs.to_pandas()
    for name, kind in zip(inputs.column_names, inputs.schema.types, strict=True):
        if pa.types.is_string(kind) and frame[name].nunique() > WINDOW / 2:
            frame[name] = frame[name].str.len()
    return frame
