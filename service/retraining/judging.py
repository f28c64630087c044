"""Judging: champion against challenger on rows that neither has learnt from."""

from datetime import timedelta

import pyarrow as pa
import pyarrow.compute as pc

from monitors.baseline.baselines import Baseline
from policies.file.policy import Policy
from policies.gate import Verdict
from service.house import House
from service.ledger.records import Retraining
from service.training.comparing import compare, masks_of, outcomes, with_predictions
from service.training.models import Model
from service.training.readiness import failed_cases, latency_p95
from service.training.registry import Registry


def judge_challenger(
    house: House,
    registry: Registry,
    policy: Policy,
    retraining: Retraining,
    baseline: Baseline,
    challenger: Model,
    unseen: pa.Table,
) -> Verdict:
    """The verdict on the unseen rows, which carry the challenger's predictions: the champion as it served them, or as
    it would have.
    """
    kind = policy.task.kind
    champion = champion_predictions(house, registry, retraining, unseen)
    served = with_predictions(unseen, pa.table({"prediction": champion}), retraining.champion)
    answers = outcomes(kind, champion, unseen), outcomes(kind, unseen.column("prediction"), unseen)
    return compare(
        policy,
        *answers,
        masks_of(baseline, served),
        cases_failed(house, policy, challenger),
        latency_p95(challenger, unseen) if policy.gate.latency_p95 else None,
    )


def cases_failed(house: House, policy: Policy, model: Model) -> int:
    """How many of the cases that must pass come out wrong; 0 where the policy names none."""
    cases = policy.gate.must_pass
    return failed_cases(model, house.settings.policies / cases) if cases else 0


def champion_predictions(
    house: House, registry: Registry, retraining: Retraining, holdout: pa.Table
) -> pa.ChunkedArray:
    """What the champion said of each row: as served where it was, and as asked now where it was not."""
    ends = pc.min_max(holdout.column("timestamp")).as_py()
    served = house.archive.predictions(
        retraining.model,
        ends["min"],
        ends["max"] + timedelta(seconds=1),
        version=retraining.champion,
        columns=["prediction_id", "prediction"],
    )
    at = pc.index_in(holdout.column("prediction_id"), value_set=served.column("prediction_id").combine_chunks())
    found = served.column("prediction").take(at)
    if not found.null_count:
        return found
    model = registry.load(retraining.model, retraining.champion)
    return pc.coalesce(found, model.predict(holdout).column("prediction"))
