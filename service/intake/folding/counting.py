"""What rows of one model add to the profiles of their baselines, and what is unusual about them."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from monitors.baseline.baselines import Baseline
from monitors.columns.values import short
from monitors.counting.profiles import fold
from monitors.readings import FloatArray
from service.intake import columns
from service.intake.folding.schema import UNMEASURED, Fact, Schema

BaselineOf = Callable[[str, str], Baseline | None]


@dataclass(frozen=True, eq=False)
class Counted:
    """Rows of one version under the same columns: what they add by slice, and facts about them.

    Without a baseline nothing is added. `since` and `until` are the times of the first and the last row, unix seconds.
    """

    baseline: Baseline | None
    rows: int
    counts: Mapping[int, FloatArray]
    facts: Sequence[Fact]
    since: float
    until: float


def count(model: str, tables: Sequence[pa.Table], baseline_of: BaselineOf, schema: Schema) -> Iterator[Counted]:
    """Count the rows; those of equal columns together, so that no value changes its type because of its neighbours."""
    for table in columns.group_by_schema(tables):
        for version, rows in columns.split(table, "model_version").items():
            span = pc.min_max(rows.column("timestamp")).as_py()
            since, until = span["min"].timestamp(), span["max"].timestamp()
            baseline = baseline_of(model, version)
            if baseline is None:
                facts = [Fact(UNMEASURED, short(version), rows.num_rows)]
                yield Counted(None, rows.num_rows, {}, facts, since, until)
            else:
                counts = fold(baseline.layout, rows, baseline.slice_seconds)
                facts = schema.compare(baseline, rows, counts)
                yield Counted(baseline, rows.num_rows, counts, facts, since, until)
