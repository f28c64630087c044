"""Comparing models row by row: the same rows, served by one version or another."""

from collections.abc import Mapping
from datetime import timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from monitors.baseline.baselines import Baseline
from monitors.counting.segments import ALL, assign
from monitors.readings import FloatArray
from policies.file.policy import Policy
from policies.gate import Verdict, judge
from policies.limits import policy_for
from service.training.checkpoints import BoolArray


def masks_of(baseline: Baseline, rows: pa.Table) -> dict[str, BoolArray]:
    """For each segment of the champion's baseline that has rows, which rows are in it."""
    masks: dict[str, BoolArray] = {ALL: np.ones(rows.num_rows, dtype=bool)}
    for cut in baseline.layout.cuts:
        places = assign(rows, cut)
        masks |= {baseline.layout.segments[s]: places == s for s in np.unique(places).tolist()}
    return masks


def with_predictions(rows: pa.Table, predictions: pa.Table, version: str) -> pa.Table:
    """The rows as if `version` had served them."""
    new = {name: predictions.column(name) for name in ("prediction", "confidence") if name in predictions.column_names}
    new["model_version"] = pa.chunked_array([pa.array([version] * rows.num_rows, pa.string())])
    kept = [name for name in rows.column_names if name not in {*new, "confidence"} and not name.startswith("score_")]
    return pa.table({**{name: rows.column(name) for name in kept}, **new})


def outcomes(task: str, predictions: pa.ChunkedArray, rows: pa.Table) -> FloatArray:
    """Per row 1 for a right class and 0 for a wrong one, or the absolute error of a number."""
    truth = rows.column("label")
    if task == "regression":
        return np.asarray(np.abs(predictions.to_numpy() - truth.to_numpy()), dtype=np.float64)
    right = pc.fill_null(pc.equal(pc.cast(predictions, pa.string()), pc.cast(truth, pa.string())), False)
    return np.asarray(right.to_numpy(), dtype=np.float64)


def compare(
    policy: Policy,
    champion: FloatArray,
    challenger: FloatArray,
    masks: Mapping[str, BoolArray],
    failed_cases: int = 0,
    latency_p95: timedelta | None = None,
) -> Verdict:
    """The gate's verdict on the `outcomes` of both on the same rows, with a mask over the rows for each segment."""
    names = list(masks)
    return judge(
        policy.gate,
        champion,
        challenger,
        names,
        np.stack([masks[name] for name in names]),
        own={name: policy_for(policy, name).gate for name in names},
        kind=policy.task.kind,
        failed_cases=failed_cases,
        latency_p95=latency_p95,
    )
