"""Reference rows: the rows behind each baseline, kept for the reports that a person reads, and for later training."""

from pathlib import Path

import pyarrow as pa
from pyarrow import parquet

from monitors.baseline.baselines import Baseline, build
from policies.policy import Policy
from service.ledger import Ledger

MOST_ROWS = 200_000
"""Of a larger baseline the newest rows are kept."""


def keep_baseline(ledger: Ledger, data_dir: Path, baseline: Baseline, rows: pa.Table) -> None:
    """Store a baseline, and beside it its newest rows."""
    path = reference_file(data_dir, baseline.model, baseline.version)
    path.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(rows.slice(max(0, rows.num_rows - MOST_ROWS)), path)
    ledger.put_baseline(baseline)


def reference_file(data_dir: Path, model: str, version: str) -> Path:
    """Where the rows of a version's baseline are."""
    return data_dir / "references" / model / f"{version}.parquet"


def baseline_of(policy: Policy, version: str, rows: pa.Table, *, out_of_fold: bool = False) -> Baseline:
    """The baseline of a version under a policy: its segments, column kinds and slice.

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
    )
