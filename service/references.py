"""Reference rows: a bounded sample of the rows behind each baseline, kept for reports that a person reads."""

from pathlib import Path

import numpy as np
import pyarrow as pa
from pyarrow import parquet

from monitors.baselines import Baseline, build
from policies.policy import Policy
from service.ledger import Ledger

SAMPLE_ROWS = 2_000


def keep_baseline(ledger: Ledger, data_dir: Path, baseline: Baseline, rows: pa.Table) -> None:
    """Store a baseline, and beside it a sample of its rows."""
    path = reference_file(data_dir, baseline.model, baseline.version)
    path.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(sample(rows), path)
    ledger.put_baseline(baseline)


def reference_file(data_dir: Path, model: str, version: str) -> Path:
    """Where the sample of a version's baseline rows is."""
    return data_dir / "references" / model / f"{version}.parquet"


def sample(rows: pa.Table, most: int = SAMPLE_ROWS) -> pa.Table:
    """At most `most` rows, chosen by a fixed seed, in their order."""
    if rows.num_rows <= most:
        return rows
    chosen = np.random.default_rng(0).choice(rows.num_rows, most, replace=False)
    return rows.take(pa.array(np.sort(chosen)))


def baseline_of(policy: Policy, version: str, rows: pa.Table) -> Baseline:
    """The baseline of a version under a policy: its segments, column kinds and slice.

    Raises:
        EmptyBaseline, BadColumn: see `monitors.baselines.build`.
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
    )
