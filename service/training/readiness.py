"""Readiness: what a challenger must do beside being right on the holdout: get the hard cases right, and in time."""

from datetime import timedelta
from pathlib import Path
from time import perf_counter

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from service.errors import ServiceError
from service.training.models import Model

TIMED_ROWS = 200
Value = str | float | bool | None


class BadCases(ServiceError):
    """The file of cases that must pass cannot be used; nothing is released without it."""


class Case(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One case: features by bare name, and the prediction that they must lead to."""

    features: dict[str, Value]
    prediction: str | float


def failed_cases(model: Model, file: Path) -> int:
    """How many of the cases of a file (a JSON object a line) the model gets wrong.

    Raises:
        BadCases: the file is not there, is empty, or has a line that is no case.
    """
    try:
        lines = [line for line in file.read_bytes().splitlines() if line.strip()]
        cases = [msgspec.json.decode(line, type=Case) for line in lines]
    except (OSError, msgspec.DecodeError) as error:
        raise BadCases(f"gate.must_pass {file}: {error}; a line a case is needed: {_EXAMPLE}") from error
    if not cases:
        raise BadCases(f"gate.must_pass {file}: it holds no cases; a line a case is needed: {_EXAMPLE}")
    names = sorted({name for case in cases for name in case.features})
    columns = {f"feature_{name}": pa.array([_plain(case.features.get(name)) for case in cases]) for name in names}
    said = model.predict(pa.table(columns)).column("prediction")
    wanted = pa.array([case.prediction if model.task == "regression" else str(case.prediction) for case in cases])
    if model.task == "regression":
        return int((~np.isclose(said.to_numpy(), wanted.to_numpy(), rtol=0.05)).sum())
    return int(pc.sum(pc.not_equal(said, wanted)).as_py())


_EXAMPLE = '{"features": {"text": "where is my parcel?"}, "prediction": "shipping"}'


def latency_p95(model: Model, rows: pa.Table) -> timedelta:
    """The 95th percentile of the time of one prediction, measured row by row on up to `TIMED_ROWS` rows."""
    rows = rows.slice(0, TIMED_ROWS)
    seconds = []
    for at in range(rows.num_rows):
        begun = perf_counter()
        model.predict(rows.slice(at, 1))
        seconds.append(perf_counter() - begun)
    return timedelta(seconds=float(np.percentile(seconds, 95)))


def _plain(value: Value) -> Value:
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value
