"""Gathering: the labelled rows of a model, and what of them a retraining may use."""

from datetime import UTC, datetime

import pyarrow as pa

from policies.file.policy import Policy
from service.house import House
from service.ledger.records import Retraining
from service.training.curate import Curated, curate
from service.training.references import read_reference

_EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)
_LATEST = datetime(9000, 1, 1, tzinfo=UTC)


def gather(house: House, policy: Policy, retraining: Retraining) -> Curated:
    """The rows of a retraining, curated. Raises NotEnoughRows, TrainingData, ArchiveAway."""
    return curate(
        labelled_rows(house, retraining.model),
        change_started=retraining.change_started,
        fault_slices=house.ledger.faulty_slices(retraining.model),
        slice_seconds=int(policy.window.slice.total_seconds()),
        rules=policy.retrain.curate,
        task=policy.task.kind,
        columns=policy.column_kinds(),
        cuts=policy.segments,
        target=policy.task.target,
    )


def labelled_rows(house: House, model: str) -> pa.Table:
    """All labelled rows: those of the archive, and the first version's baseline rows, which came from a file."""
    tables = [house.archive.labelled(model, _EARLIEST, _LATEST)]
    for release in house.ledger.releases(model):
        first = read_reference(house.files, model, release.version) if release.kind == "first" else None
        if first is not None:
            tables.insert(0, first)
    usable = [table for table in tables if "label" in table.column_names]
    return pa.concat_tables(usable, promote_options="permissive")
