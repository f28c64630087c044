"""Cases that must pass: edge cases and the long tail, with the answer that each must get."""

from collections.abc import Sequence
from pathlib import Path

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from service.errors import ServiceError
from service.intake.columns import NUMBERS

Value = str | float | bool | list[float] | None

CLOSE = 0.05
"""A number must come this close to the expected one, as a share of it."""
_EXAMPLE = '{"features": {"text": "where is my parcel?"}, "prediction": "shipping"}'


class BadCases(ServiceError):
    """The file of cases that must pass cannot be used; nothing is released without it."""


class Case(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One case: features by bare name, and the prediction that they must lead to. Name and segment are for people."""

    features: dict[str, Value]
    prediction: str | float
    name: str = ""
    segment: str = ""


def read_cases(file: Path) -> list[Case]:
    """The cases of a file, a JSON object a line; a case without a name is called by its line.

    Raises:
        BadCases: the file is not there, is empty, or has a line that is no case.
    """
    cases = []
    try:
        for number, line in enumerate(file.read_bytes().splitlines(), 1):
            if line.strip():
                case = msgspec.json.decode(line, type=Case)
                cases.append(msgspec.structs.replace(case, name=case.name or f"line {number}"))
    except (OSError, msgspec.DecodeError) as error:
        raise BadCases(f"gate.must_pass {file}: {error}; a line a case is needed: {_EXAMPLE}") from error
    if not cases:
        raise BadCases(f"gate.must_pass {file}: it holds no cases; a line a case is needed: {_EXAMPLE}")
    return cases


def features_of(cases: Sequence[Case], types: pa.Schema | None = None) -> pa.Table:
    """The cases as rows to be asked about: a column `feature_*` for each feature, null where a case lacks it.

    With `types` the columns are those that it has, of its types: what a model has learnt from.

    Raises:
        BadCases: a value cannot be of its column's type, or no feature of a case is known.
    """
    names = sorted({name for case in cases for name in case.features})
    if types is None:
        return pa.table({f"feature_{name}": pa.array([_plain(c.features.get(name)) for c in cases]) for name in names})
    known = {name: types.field(f"feature_{name}").type for name in names if f"feature_{name}" in types.names}
    for case in cases:
        if not known.keys() & case.features.keys():
            named = ", ".join(sorted(case.features)) or "none"
            raise BadCases(f"gate.must_pass, {case.name}: the rows have none of the features that it names ({named})")
    return pa.table(
        {f"feature_{name}": pa.array([_fitting(c, name, kind) for c in cases], kind) for name, kind in known.items()}
    )


def expected(cases: Sequence[Case], task: str) -> list[str] | list[float]:
    """What each case must lead to, as the task says it. Raises BadCases: no number for a regression."""
    if task != "regression":
        return [str(case.prediction) for case in cases]
    for case in cases:
        if isinstance(case.prediction, str):
            raise BadCases(f"gate.must_pass, {case.name}: a regression leads to a number, not to {case.prediction!r}")
    return [float(case.prediction) for case in cases]


def is_right(task: str, said: pa.ChunkedArray, wanted: pa.ChunkedArray) -> list[bool]:
    """For each case whether what was said will do: the class itself, or a number within `CLOSE`."""
    if task == "regression":
        off, room = pc.abs(pc.subtract(said, wanted)), pc.multiply(pc.abs(wanted), CLOSE)
        close = pc.less_equal(off, pc.add(room, 1e-8))
        return [bool(each) for each in pc.fill_null(close, False).to_pylist()]
    same = pc.equal(pc.cast(said, pa.string()), pc.cast(wanted, pa.string()))
    return [bool(each) for each in pc.fill_null(same, False).to_pylist()]


def _fitting(case: Case, name: str, kind: pa.DataType) -> object:
    value = _plain(case.features.get(name))
    try:
        if pa.types.is_string(kind) and isinstance(value, int | float):
            value = msgspec.json.encode(value).decode()
        made = pa.array([value])
        return pc.cast(made, NUMBERS if pa.types.is_list(kind) else kind)[0].as_py()
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowTypeError) as error:
        raise BadCases(
            f"gate.must_pass, {case.name}: the rows have {name} as {kind}, and {str(value)[:80]!r} is none"
        ) from error


def _plain(value: Value) -> Value:
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value
