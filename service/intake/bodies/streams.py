"""Bodies of columns as an Arrow IPC stream, with the same names as columnar JSON."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from service.errors import MalformedBody, TooManyRows, TooManyValues, UnpackedTooLarge
from service.intake.bodies import plain_streams
from service.intake.bodies.doubts import Doubts
from service.intake.bodies.headings import check_headings, nested
from service.intake.bodies.limits import Limits
from service.intake.bodies.names import GROUPS
from service.intake.bodies.rows import ERRORS
from service.intake.bodies.settle import Columns
from service.intake.bodies.values import RowProblem, outcome_text
from service.intake.columns import NUMBERS, TIME

_SHARED = (pa.float64(), pa.bool_())
_COMMON = (pa.float64(), pa.string(), pa.bool_(), pa.int64())
_DOUBLES = pa.list_(pa.float64())
_MICROSECONDS = {"s": 1_000_000, "ms": 1_000}
_DAY_MICROSECONDS = 86_400_000_000
# Year 2200, and as long before 1970: anything beyond is refused, and counts of microseconds stay within 64 bits.
_MOST_MICROSECONDS = 7_258_118_400_000_000


class Stream:
    """The columns of a stream. `allowed`: names of the kind of row besides groups, the id first.

    A group may be a struct column: `features` for all `features.<name>`.

    Raises:
        MalformedBody: it is not a plain stream, is damaged, or a column cannot be one.
        TooManyRows, TooManyValues, UnpackedTooLarge: it holds more than the limit.
    """

    def __init__(self, body: bytes, allowed: tuple[str, ...], limits: Limits) -> None:
        self._limits = limits
        schema, batches = plain_streams.read(body)
        try:
            leaves = list(_leaves(schema))
        except UnicodeDecodeError as error:
            raise MalformedBody("the name of a column of the Arrow stream is not UTF-8") from error
        check_headings(tuple(name for name, _ in leaves), allowed, limits)
        for name, kind in leaves:
            _check_type(name, kind)
        self.rows = sum(batch.num_rows for batch in batches)
        if self.rows > limits.rows:
            raise TooManyRows(limits.rows)
        if self.rows * len(leaves) > limits.values:
            raise TooManyValues(self.rows, len(leaves), limits.values)
        self.may_hold_nul = False
        self._doubted: list[pa.Array] = []
        self._odd_times: dict[int, str] = {}
        sent = dict(_flat(_one(schema, batches)))
        self._sent_outcome = sent.get("outcome")
        self._columns = {name: self._plain(name, column) for name, column in sent.items()}

    def columns(self) -> Columns | None:
        """All columns, None where there is no row."""
        return self._columns if self.rows else None

    def doubt(self, doubts: Doubts) -> None:
        """Doubt texts with NUL characters, times that no clock shows, and outcomes that are no objects."""
        for mask in self._doubted:
            doubts.add(mask)

    def row(self, place: int) -> dict[str, object]:
        """One row, as it would have been sent as JSON."""
        row = {name: column[place].as_py() for name, column in self._columns.items()}
        if row.get("timestamp") is not None and isinstance(row["timestamp"], datetime):
            row["timestamp"] = self._odd_times.get(place) or row["timestamp"].isoformat()
        if self._sent_outcome is not None:
            row["outcome"] = _object(self._sent_outcome[place].as_py())
        return nested(row.items())

    def _plain(self, name: str, column: pa.Array) -> pa.Array:
        """The column with one of the types that all forms of body share."""
        kind = column.type
        if kind in _SHARED:
            return column
        if pa.types.is_dictionary(kind):
            column = self._unfolded(column)
            kind = column.type
        if name == "outcome":
            return self._outcomes(column)
        if pa.types.is_large_string(kind):
            kind, column = pa.string(), pc.cast(column, pa.string())
        if pa.types.is_string(kind):
            held = column.buffers()[2]
            self.may_hold_nul |= held is not None and held.size > 0 and not np.frombuffer(held, np.uint8).min()
            return column
        if pa.types.is_floating(kind):
            return pc.cast(column, pa.float64())
        if _is_list(kind):
            return pc.cast(column, NUMBERS if kind.value_type == pa.float32() else _DOUBLES, safe=False)
        return self._times(column) if pa.types.is_temporal(kind) else column

    def _unfolded(self, column: pa.Array) -> pa.Array:
        """Values instead of places in a dictionary, whose long texts may stand for many more bytes."""
        inner = column.type.value_type
        if pa.types.is_string(inner) or pa.types.is_large_string(inner):
            sizes = pc.cast(pc.binary_length(column.dictionary), pa.int64())
            if (pc.sum(sizes.take(column.indices)).as_py() or 0) > self._limits.body_bytes:
                raise UnpackedTooLarge(self._limits.body_bytes)
        return pc.cast(column, inner)

    def _outcomes(self, column: pa.Array) -> pa.Array:
        """Objects as JSON text: of a struct column, or of one of such text."""
        texts: list[str | None] = []
        wrong = np.zeros(self.rows, dtype=bool)
        for place, value in enumerate(column.to_pylist()):
            found = _object(value)
            try:
                texts.append(outcome_text(found, self._limits) if isinstance(found, dict) else None)
                wrong[place] = not isinstance(found, dict | None)
            except RowProblem:
                texts.append(None)
                wrong[place] = True
        self._doubted.append(pa.array(wrong))
        return pa.array(texts, pa.string())

    def _times(self, column: pa.Array) -> pa.Array:
        """Microseconds in UTC, halves upwards."""
        kind = column.type
        if pa.types.is_date(kind):
            column = pc.cast(column, pa.date32())
            factor, count = _DAY_MICROSECONDS, pc.cast(column.view(pa.int32()), pa.int64())
        else:
            factor, count = _MICROSECONDS.get(kind.unit, 1), column.view(pa.int64())
        seen = pc.fill_null(count, 0).to_numpy()
        if pa.types.is_timestamp(kind) and kind.unit == "ns":
            seen = seen // 1_000 + (seen % 1_000 >= 500)
        most = _MOST_MICROSECONDS // factor
        odd = (seen > most) | (seen < -most)
        if odd.any():
            self._doubted.append(pa.array(odd))
            self._odd_times = {place: f"{seen[place]} {kind}" for place in np.flatnonzero(odd).tolist()}
        gaps = column.is_null().to_numpy(zero_copy_only=False) if column.null_count else None
        return pa.array(np.where(odd, 0, seen) * factor, pa.int64(), mask=gaps).view(TIME)


def _leaves(schema: pa.Schema) -> Iterator[tuple[str, pa.DataType]]:
    """Dotted names of all columns, and their types."""
    for field in schema:
        if field.name in GROUPS and pa.types.is_struct(field.type):
            for child in field.type:
                yield f"{field.name}.{child.name}", child.type
        else:
            yield field.name, field.type


def _one(schema: pa.Schema, batches: Sequence[pa.RecordBatch]) -> pa.RecordBatch:
    """All batches as one, validated: nothing may look into those that are not, flipped bytes crash the process."""
    try:
        for batch in batches:
            batch.validate(full=True)
        if len(batches) == 1:
            return batches[0]
        whole = pa.Table.from_batches(batches, schema).unify_dictionaries().combine_chunks()
        return whole.to_batches()[0] if whole.num_rows else pa.RecordBatch.from_pylist([], schema)
    except pa.ArrowException as error:
        raise MalformedBody(f"the Arrow stream is damaged: {str(error)[:200]}") from error


def _flat(batch: pa.RecordBatch) -> Iterator[tuple[str, pa.Array]]:
    for field, column in zip(batch.schema, batch.columns, strict=True):
        if field.name in GROUPS and pa.types.is_struct(field.type):
            # `flatten` gives gaps to the children of a row that has none of the group.
            yield from (
                (f"{field.name}.{child.name}", part) for child, part in zip(field.type, column.flatten(), strict=True)
            )
        else:
            yield field.name, column


def _check_type(name: str, kind: pa.DataType) -> None:
    if kind in _COMMON:
        return
    plain = kind.value_type if pa.types.is_dictionary(kind) else kind
    is_time = pa.types.is_timestamp(plain) or pa.types.is_date(plain)
    if _is_scalar(plain) or (_is_list(kind) and "." in name):
        return
    if (name == "timestamp" and is_time) or (name == "outcome" and pa.types.is_struct(kind)):
        return
    hint = "; send times as text" if is_time else ""
    raise MalformedBody(
        f"column {name[:80]!r} has the Arrow type {str(kind)[:80]}, which is not read here: text, integers, floats, "
        f"booleans, null, dictionaries of these, and for features lists of numbers are{hint}"
    )


def _is_scalar(kind: pa.DataType) -> bool:
    tests = (pa.types.is_string, pa.types.is_large_string, pa.types.is_boolean, pa.types.is_null, _is_number)
    return any(test(kind) for test in tests)


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind))


def _is_list(kind: pa.DataType) -> bool:
    tests = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)
    return any(test(kind) for test in tests) and (_is_number(kind.value_type) or pa.types.is_null(kind.value_type))


def _object(value: Any) -> Any:  # noqa: ANN401  whatever an Arrow column holds
    """An outcome as the object that it is, or as whatever else it is."""
    if not isinstance(value, str):
        return value
    try:
        return msgspec.json.decode(value)
    except ERRORS:
        return value
