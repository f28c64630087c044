"""What /metrics shows, read from stored state; the only things of this process are leadership and evaluation times."""

import math
from collections import Counter
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from service.conventions.pairs import OUTCOMES
from service.failures.view import categories_of, shares_of, states_of
from service.house import House
from service.intake import counts
from service.intake.counts import Intake
from service.intake.folding import noted
from service.intake.folding.noted import Noted
from service.intake.joining.hours import Fares
from service.ledger.records import Evaluation, Retraining
from service.notices.outbox import Outbox
from service.orders.approvals import WAITING, awaiting
from service.orders.view import ACTIVE, silences_of
from service.outcome_view import outcomes_of
from service.policy_files import PolicyState
from service.readings_view import schema_view
from service.registries.registering import standing_of
from service.retraining.aftermath import between_regressions
from service.shadows.ledger import ShadowLedger
from service.shadows.view import ACTIONS
from service.training_view import training_of
from service.web.routes.models import is_used
from service.web.routes.signals import signals_of
from service.web.snapshot import (
    NO_EVALUATIONS,
    RETRAINING_BOUNDS,
    SEGMENT_STATES,
    ColumnDrift,
    Durations,
    ModelSnapshot,
    Performance,
    SegmentSnapshot,
    Snapshot,
    TrainingSnapshot,
    TrialSnapshot,
)

# Durations are counted over all retrainings ever: a histogram that lost old ones would run backwards.
_ALL = 1_000_000


def snapshot(house: House, *, is_leader: bool = False, evaluations: Durations = NO_EVALUATIONS) -> Snapshot:
    """Everything stored, now. Raises StoreError where the store is away."""
    intake = counts.read(house.store, house.log, house.clock())
    models = sorted({*house.policies.states(), *house.ledger.models()})
    noticed = noted.read(house.store, house.log.partitions, models)
    return Snapshot(
        models=tuple(_model(house, model, intake, noticed[model]) for model in models),
        backlog_rows=intake.backlog,
        aside_batches=intake.aside,
        kserve_events=dict.fromkeys(OUTCOMES, 0) | intake.kserve,
        evaluations=evaluations,
        is_leader=is_leader,
    )


def budget_left(house: House, model: str, retrainings: list[Retraining], now: datetime) -> int | None:
    """How many retrainings the policy's budget still allows now; None where it sets no budget."""
    policy = house.policies.policy(model)
    budget = policy.retrain.budget if policy else None
    if budget is None:
        return None
    spent = sum(now - each.opened_at < budget.per for each in retrainings)
    return max(0, budget.count - spent)


def _model(house: House, model: str, intake: Intake, noticed: list[Noted]) -> ModelSnapshot:
    ledger, now = house.ledger, house.clock()
    evaluation, retrainings, releases = (
        ledger.evaluation(model),
        ledger.retrainings(model, _ALL),
        ledger.releases(model),
    )
    counted, policy = ledger.counts(model), house.policies.states().get(model)
    fares, outcomes, waits = intake.fares.get(model, Fares()), outcomes_of(house, model), awaiting(house, evaluation)
    failures = categories_of(house, model)[1]
    return ModelSnapshot(
        model=model,
        version=ledger.champion(model),
        predictions=intake.predictions[model],
        labels=_of(model, intake.labels),
        labels_unmatched=fares.unmatched,
        label_delay_seconds=fares.delay_seconds,
        rejected=_of(model, intake.rejected),
        ingest_lag_seconds=intake.lag_seconds.get(model, 0.0),
        last_prediction_seconds=intake.last_prediction.get(model),
        segments=tuple(_segment(evaluation, each, outcomes) for each in evaluation.segments if is_used(each)),
        evidence_threshold_ln=evaluation.evidence_threshold_ln,
        decisions=_under("decisions", counted),
        hold_reasons=_under("hold_reasons", counted),
        retrainings=_under("retrainings", counted),
        retraining_running=any(not each.is_finished for each in retrainings),
        training=_training(retrainings),
        retraining_durations=_durations(retrainings),
        budget_remaining=budget_left(house, model, retrainings, now),
        verdicts=_under("verdicts", counted),
        releases=sum(each.kind != "rollback" for each in releases),
        rollbacks=sum(each.kind == "rollback" for each in releases),
        post_release_regressions=counted.get("post_release_regressions", 0),
        between_regressions_seconds=between_regressions(ledger, model, now),
        trial=_trial(retrainings),
        aftermath=next((a.answer for v, a in ledger.aftermaths(model).items() if v == ledger.champion(model)), ""),
        policy_reload_ok=house.policies.is_current(model) if policy else None,
        unmeasured=intake.unmeasured[model],
        schema=_schema_rows(policy, noticed),
        triggers=_under("triggers", counted),
        signals=len(signals_of(house).firing(model)),
        silences=sum(each.state == ACTIVE for each in silences_of(house, model)),
        awaiting_approval=waits is not None and waits.state == WAITING,
        shadow_decisions=_shadow_decisions(house, model),
        notices=_notices(counted),
        notices_waiting=Outbox(house.store).waiting(model),
        mlflow_in_step=_mlflow_in_step(house, model),
        failures=states_of(failures),
        failure_shares=shares_of(failures),
    )


def _mlflow_in_step(house: House, model: str) -> bool | None:
    known = standing_of(house.store, model) if house.settings.mlflow else None
    return None if known is None else known.in_step


def _training(retrainings: list[Retraining]) -> TrainingSnapshot | None:
    shown = training_of(retrainings)
    if shown is None:
        return None
    return TrainingSnapshot(shown.progress, len(shown.checkpoints), shown.losses, shown.scores)


def _trial(retrainings: list[Retraining]) -> TrialSnapshot | None:
    newest = retrainings[0] if retrainings else None
    if newest is None or newest.state != "trying" or newest.trial is None:
        return None
    trial = newest.trial
    return TrialSnapshot(newest.version, trial.mode, trial.share, trial.rows, trial.labels)


def _notices(counted: Mapping[str, int]) -> dict[tuple[str, str], int]:
    parts = ((name.split(":"), n) for name, n in counted.items() if name.startswith("notices:"))
    return {(kind, end): n for (_, kind, end), n in parts}


def _shadow_decisions(house: House, model: str) -> dict[tuple[str, str], int]:
    """Of the shadows whose file is there, so that those of old experiments leave."""
    names = sorted(house.policies.shadows(model))[: house.settings.max_shadows]
    counted = ShadowLedger(house.store).counts(model) if names else {}
    return {(name, action): counted.get((name, action), 0) for name in names for action in ACTIONS}


def _schema_rows(policy: PolicyState | None, noticed: list[Noted]) -> Counter[str]:
    rows = Counter[str]()
    for each in schema_view(policy.policy if policy else None, noticed):
        rows[each["kind"]] += each["rows"]
    return rows


def _segment(
    evaluation: Evaluation, read: Mapping[str, Any], outcomes: Mapping[str, Mapping[str, Any]]
) -> SegmentSnapshot:
    return SegmentSnapshot(
        name=read["segment"],
        state=read["state"] if read["state"] in SEGMENT_STATES else "blind",
        rows=read["rows"],
        drift=tuple(
            ColumnDrift(
                each["column"],
                each["statistic"],
                _number(each["size"]),
                _number(each["threshold"]),
                _number(each["evidence_ln"]),
            )
            for each in read["columns"]
        ),
        performance=tuple(
            Performance(read["performance"]["metric"], basis, _number(read["performance"][field]))
            for basis, field in (("labels", "value"), ("estimate", "estimate"))
        ),
        faults=open_fault_kinds(evaluation, read),
        outcome=outcomes.get(read["segment"], {}).get("mean"),
    )


def open_fault_kinds(evaluation: Evaluation, read: Mapping[str, Any]) -> frozenset[str]:
    """The kinds of fault that are open in a segment. Its readings hold suspicions too; the evaluation knows which."""
    return frozenset(
        each["kind"]
        for each in read["faults"]
        if f"{read['segment']}: {each['column']} {each['kind']}" in evaluation.faults
    )


def _durations(retrainings: list[Retraining]) -> Durations:
    ended = [(each.finished_at - each.opened_at).total_seconds() for each in retrainings if each.finished_at]
    return Durations.of(RETRAINING_BOUNDS, ended)


def _of(model: str, counted: Mapping[tuple[str, str], int]) -> dict[str, int]:
    return {name: count for (owner, name), count in counted.items() if owner == model}


def _under(group: str, counted: Mapping[str, int]) -> dict[str, int]:
    return {name.partition(":")[2]: n for name, n in counted.items() if name.startswith(f"{group}:")}


def _number(value: float | None) -> float:
    return math.nan if value is None else value
