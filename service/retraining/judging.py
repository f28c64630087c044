"""Judging: champion against challenger on rows that neither has learnt from."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from monitors.baseline.baselines import Baseline
from policies.errors import HoldoutUnusable
from policies.file.policy import Policy
from policies.gate import FailureCount, Verdict
from service.failures.carrying import errors_by_category
from service.house import House
from service.ledger.records import Retraining
from service.retraining.asking import HOLDOUT, Asked, rows_to_ask
from service.retraining.proving import Answered, readiness_of
from service.training.comparing import compare, masks_of, outcomes, pairs_of, with_predictions
from service.training.models import Model
from service.training.readiness import failed_cases
from service.training.registry import Registry
from service.training.training_errors import NotJudged, TrainingError

__all__ = ["Asked", "cases_failed", "judge_challenger", "rows_to_ask", "why_refused"]


def judge_challenger(
    house: House,
    registry: Registry,
    policy: Policy,
    retraining: Retraining,
    baseline: Baseline,
    asked: Asked,
    predictions: pa.Table,
    *,
    model: Model | None,
    size_bytes: int | None,
) -> Verdict:
    """The verdict on a challenger by its answers: `predictions` for `asked.unseen`.

    `predictions` have prediction_id and prediction, may have confidence and score_*, in any order: one for each row
    that was asked about, as `check_predictions` makes sure. `model` and `size_bytes` are None of a model that is not
    here: its latency and size are not measured. The champion answers as it served the rows, or as it would have.

    Raises:
        NotJudged: the rows do not suffice to compare the two.
    """
    kind = policy.task.kind
    at = pc.index_in(
        asked.known.column("prediction_id"), value_set=predictions.column("prediction_id").combine_chunks()
    )
    answered = Answered(asked.known, predictions.take(at))
    holdout = answered.of(HOLDOUT)
    said = champion_answers(registry, retraining, holdout.rows)
    is_known = pc.is_valid(said.column("prediction"))
    unmeasured = _unmeasured(model, holdout.rows.num_rows - (pc.sum(is_known).as_py() or 0))
    holdout, said = holdout.filter(is_known), said.filter(is_known)
    readiness = readiness_of(house, policy, retraining, answered, model, size_bytes, unmeasured)
    served = with_predictions(holdout.rows, said, retraining.champion)
    if retraining.failures:
        readiness = replace(readiness, failures=_failures(retraining, baseline, served, said, holdout.answers))
    before, after = (outcomes(kind, side.column("prediction"), holdout.rows) for side in (said, holdout.answers))
    pairs = pairs_of(kind, holdout.rows, said, holdout.answers)
    try:
        return compare(policy, before, after, masks_of(baseline, served), pairs, readiness)
    except HoldoutUnusable as error:
        raise NotJudged(str(error)) from error


def why_refused(verdict: Mapping[str, Any]) -> str:
    """The reasons that refuse, of a verdict as a retraining's record holds it, in words."""
    codes = verdict.get("refused_by")  # a verdict of before there were warnings has none
    met = [reason for reason in verdict["reasons"] if reason["met"]]
    return "; ".join(str(reason["text"]) for reason in met if codes is None or reason["code"] in codes)


def cases_failed(house: House, policy: Policy, model: Model) -> int:
    """How many of the cases that must pass come out wrong; 0 where the policy names none."""
    cases = policy.gate.must_pass
    return failed_cases(model, house.settings.policies / cases) if cases else 0


def champion_answers(registry: Registry, retraining: Retraining, rows: pa.Table) -> pa.Table:
    """`prediction` and `confidence` of the champion for each row: as served where it was, and as asked now where it was
    not; null where it cannot be asked. Scores too, where it served all of them.
    """
    was = pc.fill_null(pc.equal(rows.column("model_version"), retraining.champion), False)
    if pc.all(was).as_py():
        scores = [name for name in rows.column_names if name.startswith("score_")]
        return rows.select(["prediction", "confidence", *scores])
    names = ("prediction", "confidence")
    served = {name: pc.if_else(was, rows.column(name), pa.scalar(None, rows.column(name).type)) for name in names}
    try:
        asked = registry.load(retraining.model, retraining.champion).predict(rows)
    except TrainingError:
        return pa.table(served)
    return pa.table({name: pc.coalesce(served[name], asked.column(name)) for name in names})


def _failures(
    retraining: Retraining, baseline: Baseline, rows: pa.Table, champion: pa.Table, challenger: pa.Table
) -> tuple[FailureCount, ...]:
    found = errors_by_category(retraining, baseline, rows, champion, challenger)
    return tuple(FailureCount(each["name"], each["champion"], each["challenger"]) for each in found)


def _unmeasured(model: Model | None, unserved: int) -> dict[str, str]:
    found = {}
    if model is None:
        why = "the model stays where it was trained, and nobody here can ask it"
        found = {"latency_p95": why, "max_size": why}
    if unserved:
        found["holdout"] = (
            f"{unserved} rows of the holdout are left out: the champion never served them and is not here"
        )
    return found
