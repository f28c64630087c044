"""Readiness: what a challenger must do beside being right on the holdout: get the hard cases right, and in time."""

from datetime import timedelta
from pathlib import Path
from time import perf_counter

import numpy as np
import pyarrow as pa

from service.training.cases import BadCases, expected, features_of, is_right, read_cases
from service.training.models import Model

__all__ = ["BadCases", "failed_cases", "latency_p95"]

TIMED_ROWS = 200


def failed_cases(model: Model, file: Path) -> int:
    """How many of the cases of a file (a JSON object a line) the model gets wrong.

    Raises:
        BadCases: the file is not there, is empty, or has a line that is no case.
    """
    cases = read_cases(file)
    said = model.predict(features_of(cases)).column("prediction")
    wanted = pa.chunked_array([pa.array(expected(cases, model.task))])
    return is_right(model.task, said, wanted).count(False)


def latency_p95(model: Model, rows: pa.Table) -> timedelta:
    """The 95th percentile of the time of one prediction, measured row by row on up to `TIMED_ROWS` rows."""
    rows = rows.slice(0, TIMED_ROWS)
    seconds = []
    for at in range(rows.num_rows):
        begun = perf_counter()
        model.predict(rows.slice(at, 1))
        seconds.append(perf_counter() - begun)
    return timedelta(seconds=float(np.percentile(seconds, 95)))
