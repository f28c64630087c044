"""What the policy's `task.outcome` says of the predictions of the last days, by segment: for people and metrics."""

from collections.abc import Mapping
from typing import Any

from service.house import House
from service.intake.joining import outcomes
from service.intake.joining.outcomes import DAY

OUTCOME_DAYS = 7


def outcomes_of(house: House, model: str) -> Mapping[str, dict[str, Any]]:
    """For each segment of the champion with an outcome: `field`, `days`, `rows`, `mean` (None without rows), `other`.

    Days are those of the predictions, in UTC, today among them. Empty where the policy names no outcome.
    """
    policy, version = house.policies.policy(model), house.ledger.champion(model)
    field = (policy.task.outcome if policy else None) or ""
    baseline = house.ledger.baseline(model, version) if version and field else None
    if baseline is None:
        return {}
    since = (int(house.clock().timestamp()) // DAY - OUTCOME_DAYS + 1) * DAY
    found = outcomes.read(house.store, baseline, field, since)
    return {
        segment: {"field": field, "days": OUTCOME_DAYS, "rows": each.rows, "mean": each.mean, "other": each.other}
        for segment, each in found.items()
    }
