"""The first model: trained on labelled rows, with a baseline of honest predictions, and made the champion."""

from datetime import datetime

import pyarrow as pa

from policies.file.policy import Policy
from service.house import House
from service.ledger.records import Release
from service.training.comparing import with_predictions
from service.training.curate import digest_ids
from service.training.references import baseline_of, keep_baseline
from service.training.registry import Registry
from service.training.trainers import OnCheckpoint, out_of_fold, refit, train

VALIDATION_SHARE = 0.2


def train_first(
    house: House,
    registry: Registry,
    policy: Policy,
    rows: pa.Table,
    now: datetime,
    on_checkpoint: OnCheckpoint | None = None,
) -> str:
    """Version "1" of a model in service, from a batch with labels; gives the version.

    The newest fifth of the rows chooses the checkpoint, then all rows teach. The baseline holds out-of-fold
    predictions: on rows that a model has learnt from, it makes too few errors and is too sure.

    Raises:
        TrainingError: the rows cannot teach a model.
    """
    version, columns, task = "1", policy.column_kinds(), policy.task.kind
    cut = round(rows.num_rows * (1 - VALIDATION_SHARE))
    chosen = train(
        rows.slice(0, cut),
        rows.slice(cut),
        task=task,
        columns=columns,
        segments=_by_target(policy, rows.slice(cut)),
        on_checkpoint=on_checkpoint,
    )
    model = refit(rows, task=task, columns=columns, step=chosen.step)
    registry.save(model, name=policy.model, version=version, created=now, rows_digest=digest_ids(rows))
    honest = out_of_fold(rows, task=task, columns=columns, step=chosen.step)
    served = with_predictions(rows, honest, version)
    most = house.settings.max_segments
    baseline = baseline_of(policy, version, served, out_of_fold=True, most_segments=most)
    keep_baseline(house.ledger, house.files, baseline, served)
    house.ledger.move_champion(Release(policy.model, version, "", now, "first", f"trained on {rows.num_rows} rows"))
    return version


def _by_target(policy: Policy, rows: pa.Table) -> list[str] | None:
    """Checkpoints of a classifier are scored per label: before it serves, its own predictions cut nothing."""
    if policy.task.kind != "classification":
        return None
    return [f"{policy.task.target}={label}" for label in rows.column("label").to_pylist()]
