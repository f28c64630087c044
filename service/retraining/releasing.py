"""Releasing: the model's files and its baseline first, then the champion pointer, then the watch."""

from datetime import datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from policies.file.policy import Policy
from service.house import House
from service.ledger.records import Release, Retraining, Watch
from service.training.references import baseline_of, keep_baseline
from service.training.registry import Registry

BASELINE_ROWS = 500
CALM_BASELINE_ROWS = 2_000
"""Without a known change, the newest of the rows that taught the model stand for the present."""


def release(
    house: House, registry: Registry, policy: Policy, retraining: Retraining, model: Path, rows: pa.Table
) -> None:
    """Make the model in a folder the champion. `rows` carry its honest predictions, for its baseline."""
    name, version = retraining.model, retraining.version
    registry.adopt(model, name=name, version=version)
    baseline = baseline_of(policy, version, rows, out_of_fold=True, most_segments=house.settings.max_segments)
    keep_baseline(house.ledger, house.files, baseline, rows)
    now, reason = house.clock(), ", ".join(retraining.reasons)
    house.ledger.move_champion(Release(name, version, retraining.champion, now, "release", reason, retraining.id))
    house.ledger.save_watch(name, Watch(version, retraining.champion, now + policy.watch.duration))


def when_rows_changed(retraining: Retraining) -> datetime | None:
    """A fresh twin that wins says that newer rows teach better; rows as they are now may be much like those before."""
    return None if set(retraining.reasons) <= {"twin_better", "manual"} else retraining.change_started


def describe_now(rows: pa.Table, change_started: datetime | None) -> pa.Table:
    """The rows that a baseline is made of: those of the world as it is now, at least `BASELINE_ROWS` of them.

    A baseline that reached back over a change would take the change for the usual wobble, and see no further one.
    """
    rows = rows.sort_by([("timestamp", "ascending"), ("prediction_id", "ascending")])
    fewest = BASELINE_ROWS if change_started else CALM_BASELINE_ROWS
    after = (
        pc.sum(pc.greater_equal(rows.column("timestamp"), pa.scalar(change_started))).as_py() if change_started else 0
    )
    return rows.slice(max(0, rows.num_rows - max(after or 0, fewest)))
