"""Request bodies to checked Arrow tables: a fast path for good rows, a slow one that says what others lack.

Columns of predictions: `prediction_id`, `timestamp`, `model_version` (null where the sender did not say), `prediction`,
`confidence`, then `score_<class>`, `feature_<name>`, `tag_<name>`, each group sorted by name. Of labels:
`prediction_id`, `label`, `timestamp`, `outcome` (JSON text or null).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from service.errors import Rejection, TooManyValues
from service.intake.bodies import checks, gather, settle, shapes, values
from service.intake.bodies.columnar import Columnar
from service.intake.bodies.doubts import Doubts, Rules
from service.intake.bodies.limits import Limits
from service.intake.bodies.rows import ERRORS, Rows, explain, reason_of
from service.intake.bodies.streams import Stream
from service.intake.columns import NUMBERS, TIME

Form = Literal["json", "ndjson", "arrow"]
Task = Literal["classification", "regression"]

_FIXED = {"prediction_id": str, "timestamp": datetime, "model_version": str, "outcome": str}
_TYPES = {str: pa.string(), bool: pa.bool_(), list: NUMBERS, datetime: TIME}
_OWN = ("prediction_id", "timestamp", "model_version", "prediction", "confidence")
# Below this, looking at a row or two one by one is quicker than learning what they look like.
_SMALL_BYTES = 2048
# A shape learnt from the first rows meets rows that have more; then it is learnt again from those too.
_TRIES, _MORE_SAMPLES = 3, 20
_DEFAULT = Limits()


@dataclass(frozen=True)
class Batch:
    """The rows that can be taken, and why the others cannot."""

    table: pa.Table
    rejected: tuple[Rejection, ...] = ()


@dataclass(frozen=True)
class _Kind:
    """What tells predictions from labels."""

    value: str
    shape: Callable[[Sequence[Mapping[str, Any]], str, Limits], shapes.Shape | None]
    settle: Callable[[settle.Columns, int, Rules, Doubts], dict[str, pa.Array]]
    check: Callable[[str, datetime, Limits], checks.Check]
    first: tuple[str, ...]


_PREDICTIONS = _Kind("prediction", shapes.of_predictions, settle.predictions, checks.PredictionCheck, _OWN)
_LABELS = _Kind(
    "label",
    shapes.of_labels,
    settle.labels,
    checks.LabelCheck,
    ("prediction_id", "label", "timestamp", "outcome"),
)


def predictions(body: bytes, form: Form, task: Task, now: datetime, limits: Limits = _DEFAULT) -> Batch:
    """The predictions of a body. `now` stands in for missing timestamps and bounds the given ones.

    `json` is an array of rows, or an object of columns; `ndjson` a row a line; `arrow` an IPC stream. The same rows
    give the same batch in each.

    A classification's `prediction` becomes text (integers and booleans as JSON writes them), a regression's a double.
    A feature or tag that is text in some rows and a number in others becomes text in all. A feature may be a list of
    numbers.

    Raises:
        MalformedBody: the body is not what its form says, or a column cannot be one.
        TooManyRows, TooManyValues, UnpackedTooLarge: it holds more than `limits` allows.
    """
    return _Reading(_PREDICTIONS, task, now, limits).read(body, form)


def labels(body: bytes, form: Form, task: Task, now: datetime, limits: Limits = _DEFAULT) -> Batch:
    """The labels of a body, under the same rules; `label` has the type of the task's predictions."""
    return _Reading(_LABELS, task, now, limits).read(body, form)


Source = Rows | Columnar | Stream


@dataclass(frozen=True)
class _Reading:
    """One body being read."""

    kind: _Kind
    task: Task
    now: datetime
    limits: Limits

    def read(self, body: bytes, form: Form) -> Batch:
        if form == "arrow":
            return self._of_columns(Stream(body, self.kind.first, self.limits))
        if form == "json" and body.lstrip()[:1] == b"{":
            return self._of_columns(Columnar(body, self.kind.first, self.task, self.limits))
        rows = Rows(body, form, self.limits)
        batch = None if len(body) < _SMALL_BYTES else self._of_rows(rows)
        return batch or self._one_by_one(rows, len(rows.raws))

    def _of_columns(self, source: Columnar | Stream) -> Batch:
        sent = source.columns()
        batch = None
        if sent is not None:
            doubts = Doubts(source.rows)
            source.doubt(doubts)
            batch, _, _ = self._settled(source, sent, doubts, np.arange(source.rows), [])
        return batch or self._one_by_one(source, source.rows)

    def _of_rows(self, rows: Rows) -> Batch | None:
        """The batch by columns; None where the rows have too little in common."""
        places, tried = rows.samples(), None
        for _ in range(_TRIES):
            shape = self._shape(rows, places)
            if shape is None and tried is None:
                # A row that cannot be taken may be among the first, and unlike all others.
                places = [place for place in places if not isinstance(self._judge(rows, place), Rejection)]
                shape = self._shape(rows, places)
            if shape is None or shape == tried:
                return None
            try:
                sent, count, others = rows.columns(shape)
            except (OverflowError, values.RowProblem):
                return None
            if len(others) == count:
                return None
            here = np.arange(count) if not len(others) else np.delete(np.arange(count), others)
            batch, good, bad = self._settled(rows, sent, Doubts(len(here)), here, others.tolist())
            learnt = sorted({*places, *good[:_MORE_SAMPLES]} - bad)
            if batch is not None and learnt == places:
                return batch
            places, tried = learnt, shape
        return None

    def _shape(self, rows: Rows, places: Sequence[int]) -> shapes.Shape | None:
        return self.kind.shape([rows.sample(place) for place in places], self.task, self.limits)

    def _settled(
        self, source: Source, sent: settle.Columns, doubts: Doubts, places: NDArray[np.intp], others: list[int]
    ) -> tuple[Batch | None, list[int], set[int]]:
        """The batch of columns whose rows are at `places`, with `others` besides; and of the rows in doubt those that
        are good (then there is no batch: the columns were wrong about them), and those that are bad.
        """
        with np.errstate(over="ignore", invalid="ignore"):
            kept = self.kind.settle(sent, doubts.rows, self._rules(source), doubts)
        if doubts.mask is None and not others:
            return Batch(self._table(kept)), [], set()
        doubtful = [] if doubts.mask is None else places[doubts.mask].tolist()
        good, rejected = [], []
        for place in sorted([*others, *doubtful]):
            found = self._judge(source, place)
            if isinstance(found, Rejection):
                rejected.append(found)
            else:
                good.append(place)
        bad = {each.row for each in rejected}
        if good:
            return None, good, bad
        table = pa.table(kept) if doubts.mask is None else pa.table(kept).filter(pa.array(~doubts.mask))
        columns = {name: _one(table.column(name)) for name in table.column_names}
        return Batch(self._table(columns), tuple(rejected)), good, bad

    def _rules(self, source: Source) -> Rules:
        is_json = not isinstance(source, Stream)
        return Rules(self.task, self.now, self.limits, is_json=is_json, may_hold_nul=source.may_hold_nul)

    def _one_by_one(self, source: Source, rows: int) -> Batch:
        """Every row through the exact check."""
        check = self.kind.check(self.task, self.now, self.limits)
        found = [self._judge(source, place, check) for place in range(rows)]
        accepted = [each for each in found if not isinstance(each, Rejection)]
        names = dict.fromkeys(self.kind.first)
        for row in accepted:
            names.update(dict.fromkeys(row))
        if len(accepted) * len(names) > self.limits.values:
            raise TooManyValues(len(accepted), len(names), self.limits.values)
        columns = [[row.get(name) for row in accepted] for name in names]
        fixed = {**_FIXED, self.kind.value: str if self.task == "classification" else float}
        kinds = [fixed.get(name) or _kind_of(column) for name, column in zip(names, columns, strict=True)]
        made = {name: _array(kind, column) for name, kind, column in zip(names, kinds, columns, strict=True)}
        numbers = [name for name, kind in zip(names, kinds, strict=True) if kind is float]
        made.update(zip(numbers, gather.numbers([made[name] for name in numbers]), strict=True))
        return Batch(self._table(made), tuple(each for each in found if isinstance(each, Rejection)))

    def _judge(self, source: Source, place: int, check: checks.Check | None = None) -> dict[str, Any] | Rejection:
        """The row as the exact check takes it: among those it has seen, or by itself."""
        try:
            return (check or self.kind.check(self.task, self.now, self.limits)).row(source.row(place))
        except values.RowProblem as problem:
            return Rejection(place, problem.field, problem.problem, problem.reason)
        except ERRORS as error:
            raw = source.raws[place] if isinstance(source, Rows) else b""
            return Rejection(place, "", explain(error, raw), reason_of(error))

    def _table(self, columns: Mapping[str, pa.Array]) -> pa.Table:
        """The columns in their order. A score that no row has is no column; of too many classes none is kept."""
        rows = len(columns["prediction_id"])
        names = sorted(columns)
        scores = [name for name in names if name.startswith("score_") and columns[name].null_count < rows]
        kept = list(self.kind.first) + (scores if len(scores) <= self.limits.classes else [])
        if rows:
            kept += [name for name in names if name.startswith(("feature_", "tag_"))]
        if rows * len(kept) > self.limits.values:
            raise TooManyValues(rows, len(kept), self.limits.values)
        return pa.table({name: _typed(name, columns[name]) for name in kept})


def _one(column: pa.ChunkedArray) -> pa.Array:
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()


def _typed(name: str, column: pa.Array) -> pa.Array:
    """A column without any value is one of numbers."""
    if column.null_count == len(column) and name.startswith(("feature_", "tag_")) and len(column):
        return pa.nulls(len(column), pa.float64())
    return column


def _kind_of(column: Sequence[Any]) -> type:
    """The one kind that a column's values share, text where there is none."""
    seen = {type(value) for value in column} - {type(None)}
    if seen <= {int, float}:
        return float
    return seen.pop() if seen in ({bool}, {list}) else str


def _array(kind: type, column: list[Any]) -> Any:  # noqa: ANN401  an Arrow array, or floats for one
    if kind is float:
        return [None if value is None else float(value) for value in column]
    if kind is str:
        column = [value if value is None or isinstance(value, str) else values.json_text(value) for value in column]
    return pa.array(column, _TYPES[kind])
