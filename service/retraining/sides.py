"""Sides: what two versions made of labelled rows, segment by segment, in the order of time."""

from collections.abc import Sequence
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa

from monitors.baseline.baselines import Baseline
from monitors.counting.slices import slice_starts
from policies.apart import Sides
from policies.file.policy import Policy
from service.house import House
from service.training.comparing import masks_of, outcomes

MOST_ROWS = 50_000
"""Of more labelled rows the newest slices are read: a long watch of much traffic would not fit into memory."""


def labelled_rows(
    house: House, policy: Policy, version: str, since: datetime, until: datetime, columns: Sequence[str] | None = None
) -> pa.Table:
    """The labelled rows that a version served in a span of time, oldest first, but for those of a broken feed.

    At most `MOST_ROWS` and one slice, the newest; all columns, or those named and the label. Raises ArchiveAway.
    """
    span = _newest_span(house, policy, version, since, until)
    rows = house.archive.labelled(policy.model, *span, version=version, columns=columns)
    broken = house.ledger.faulty_slices(policy.model)
    if not broken or not rows.num_rows:
        return rows
    starts = slice_starts(rows.column("timestamp"), int(policy.window.slice.total_seconds()))
    return rows.filter(pa.array(~np.isin(starts, list(broken))))


def segment_columns(baseline: Baseline) -> list[str]:
    """What has to be read of a row to know its segments and what its prediction came to."""
    sources = {source for cut in baseline.layout.cuts for source in cut.sources}
    return ["timestamp", "prediction", *sorted(sources - {"timestamp", "prediction"})]


def same_rows(
    policy: Policy, baseline: Baseline, rows: pa.Table, before: pa.ChunkedArray, now: pa.ChunkedArray
) -> Sides:
    """What two versions made of the same rows."""
    kind = policy.task.kind
    first, second = outcomes(kind, before, rows), outcomes(kind, now, rows)
    return {name: (first[mask], second[mask]) for name, mask in masks_of(baseline, rows).items()}


def other_rows(policy: Policy, baseline: Baseline, before: pa.Table, now: pa.Table) -> Sides:
    """What two versions made of rows of their own."""
    kind, sides = policy.task.kind, []
    for rows in (before, now):
        made = outcomes(kind, rows.column("prediction"), rows) if rows.num_rows else np.zeros(0)
        masks = masks_of(baseline, rows) if rows.num_rows else {}
        sides.append({name: made[mask] for name, mask in masks.items()})
    nothing = np.zeros(0)
    names = [*sides[1], *(name for name in sides[0] if name not in sides[1])]
    return {name: (sides[0].get(name, nothing), sides[1].get(name, nothing)) for name in names}


def _newest_span(
    house: House, policy: Policy, version: str, since: datetime, until: datetime
) -> tuple[datetime, datetime]:
    baseline = house.ledger.baseline(policy.model, version)
    if baseline is None:
        return since, until
    labelled, wanted = house.cells.load_labelled(baseline, int(since.timestamp()) - baseline.slice_seconds), MOST_ROWS
    for start in sorted((start for start in labelled if start < until.timestamp()), reverse=True):
        wanted -= int(labelled[start][0, 0])
        if wanted <= 0:
            return max(since, datetime.fromtimestamp(start, UTC)), until
    return since, until
