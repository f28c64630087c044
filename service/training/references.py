"""Reference rows: the rows behind each baseline, kept for the reports that a person reads, and for later training."""

from pathlib import Path

import pyarrow as pa
from pyarrow import parquet

from monitors.baseline.baselines import Baseline, build
from monitors.counting.segments import MOST_PER_CUT
from policies.file.policy import Policy
from service.ledger.ledger import Ledger
from service.storage.files import Files

MOST_ROWS = 200_000
"""Of a larger baseline the newest rows are kept."""


def keep_baseline(ledger: Ledger, files: Files | Path, baseline: Baseline, rows: pa.Table) -> None:
    """Store a baseline, and beside it its newest rows. Raises ArchiveAway."""
    newest = rows.slice(max(0, rows.num_rows - MOST_ROWS))
    path = _path(baseline.model, baseline.version)
    Files.of(files).write(path, lambda file: parquet.write_table(newest, file))
    ledger.put_baseline(baseline)


def read_reference(files: Files, model: str, version: str) -> pa.Table | None:
    """The rows behind a version's baseline, None where none were kept. Raises ArchiveAway."""
    try:
        with files.open(_path(model, version)) as file:
            return parquet.read_table(file)
    except FileNotFoundError:
        return None


def _path(model: str, version: str) -> str:
    return f"references/{model}/{version}.parquet"


def baseline_of(
    policy: Policy, version: str, rows: pa.Table, *, out_of_fold: bool = False, most_segments: int = MOST_PER_CUT
) -> Baseline:
    """The baseline of a version under a policy: its segments (at most so many of one cut), column kinds and slice.

    Raises:
        EmptyBaseline, BadColumn: see `monitors.baseline.baselines.build`.
    """
    return build(
        rows,
        model=policy.model,
        version=version,
        cuts=policy.segments,
        columns=policy.column_kinds(),
        target=policy.task.target,
        task=policy.task.kind,
        slice_seconds=int(policy.window.slice.total_seconds()),
        season=policy.window.season,
        out_of_fold=out_of_fold,
        most_segments=most_segments,
    )
