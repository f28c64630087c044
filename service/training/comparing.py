"""Comparing models row by row: the same rows, served by one version or another."""

from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from monitors.baseline.baselines import Baseline
from monitors.columns.losses import class_losses
from monitors.counting.segments import ALL, assign
from monitors.readings import FloatArray
from policies.file.policy import Policy
from policies.gate import Pairs, Readiness, Side, Verdict, judge
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


def pairs_of(task: str, rows: pa.Table, champion: pa.Table, challenger: pa.Table) -> Pairs:
    """What both said of rows with a `label`: tables with prediction, and where they give them confidence and score_*.

    Scores count where both give them; else the probabilities of both follow from the confidence, so that neither is
    favoured.
    """
    if task == "regression":
        before, after = (Side(_numbers(said.column("prediction"))) for said in (champion, challenger))
        return Pairs(task, _numbers(rows.column("label")), before, after)
    said = [pc.cast(table.column("prediction"), pa.string()) for table in (champion, challenger)]
    truth = pc.cast(rows.column("label"), pa.string())
    classes = sorted({*pc.unique(truth).to_pylist(), *(name for each in said for name in pc.unique(each).to_pylist())})
    scored = [any(name.startswith("score_") for name in table.column_names) for table in (champion, challenger)]
    before, after = (
        _side(table, each, truth, classes, by_scores=all(scored))
        for table, each in zip((champion, challenger), said, strict=True)
    )
    return Pairs(task, _places(truth, classes), before, after, tuple(classes))


def _side(
    table: pa.Table, said: pa.ChunkedArray, truth: pa.ChunkedArray, classes: list[str], *, by_scores: bool
) -> Side:
    places = _places(said, classes)
    if "confidence" not in table.column_names or table.column("confidence").null_count == len(said):
        return Side(places)
    scores = [name for name in table.column_names if by_scores and name.startswith("score_")]
    given = {"confidence": table.column("confidence"), **{name: table.column(name) for name in scores}}
    return Side(places, *class_losses(pa.table({"prediction": said, "label": truth, **given}), classes))


def _places(values: pa.ChunkedArray, classes: list[str]) -> FloatArray:
    found = pc.index_in(values, value_set=pa.array(classes, pa.string()))
    return np.asarray(found.to_numpy(), dtype=np.float64)


def _numbers(values: pa.ChunkedArray) -> FloatArray:
    return np.asarray(pc.cast(values, pa.float64()).to_numpy(), dtype=np.float64)


def compare(
    policy: Policy,
    champion: FloatArray,
    challenger: FloatArray,
    masks: Mapping[str, BoolArray],
    pairs: Pairs | None = None,
    readiness: Readiness | None = None,
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
        success_metric=policy.task.success_metric,
        pairs=pairs,
        readiness=readiness,
    )
