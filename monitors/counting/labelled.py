"""Labelled profiles: the counts of predictions whose label has come, per segment. Vectors that add."""

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from monitors.columns.derived import Derived
from monitors.columns.losses import class_losses, exact, hits, number_errors
from monitors.columns.values import text_of
from monitors.counting.groups import Entry, count
from monitors.counting.labelled_cells import CONFIDENCE_GROUPS
from monitors.counting.layouts import Layout
from monitors.readings import FloatArray, IntArray


def fold_labelled(layout: Layout, table: pa.Table, slice_seconds: int) -> dict[int, FloatArray]:
    """Counts of predictions with their `label`: start of the prediction's slice → profile [S, labelled_width]."""
    if not table.num_rows:
        return {}
    entries = _error_entries if layout.task == "regression" else _class_entries
    return count(layout, table, slice_seconds, layout.labelled_width, list(entries(layout, table)))


def strata_of(layout: Layout, table: pa.Table) -> IntArray:
    """The stratum of each row: its confidence bin, or its leaf of `expected_error`; the last for rows without."""
    place, last = layout.strata_column, layout.labelled_cells.strata - 1
    if place is None:
        return np.full(table.num_rows, last, dtype=np.int64)
    column = layout.columns[place]
    if layout.errors:
        read: dict[str, Derived] = {}
        others = {c.name: c.cells(table, read) for c in layout.columns if c.name in layout.errors.columns}
        return layout.errors.cells(column, others).bins
    cells = column.cells(table)
    return np.where(cells.counted, cells.bins, last).astype(np.int64)


def _class_entries(layout: Layout, table: pa.Table) -> Iterator[Entry]:
    plan, hit, stratum = layout.labelled_cells, hits(table), strata_of(layout, table)
    scored = stratum < plan.strata - 1
    confidence, log_loss, brier = (np.where(scored, values, 0.0) for values in class_losses(table, layout.classes))
    totals = {
        "log_loss": log_loss, "log_loss_squared": exact(log_loss**2), "brier": brier, "brier_squared": exact(brier**2)
    }  # fmt: skip
    yield Entry(plan.start("rows"))
    yield Entry(plan.start("correct"), where=hit)
    yield Entry(plan.start("scored"), where=scored)
    yield from (Entry(plan.start(name), weight=values) for name, values in totals.items())
    yield Entry(plan.start("strata_rows") + stratum)
    yield Entry(plan.start("strata_correct") + stratum, where=hit)
    for name, values in (("confidence", confidence), ("log_loss", log_loss), ("brier", brier)):
        yield Entry(plan.start(f"strata_{name}") + stratum, weight=values)
    predicted, actual = (_class_places(layout, text_of(table, name)) for name in ("prediction", "label"))
    yield Entry(plan.start("predicted") + predicted)
    yield Entry(plan.start("actual") + actual)
    yield Entry(plan.start("hit") + actual, where=hit)
    group = np.where(scored, stratum * CONFIDENCE_GROUPS // max(plan.strata - 1, 1), CONFIDENCE_GROUPS)
    crossed = np.minimum(predicted, plan.crossed - 1) * (CONFIDENCE_GROUPS + 1) + group
    yield Entry(plan.start("crossed_rows") + crossed)
    yield Entry(plan.start("crossed_correct") + crossed, where=hit)


def _class_places(layout: Layout, values: pa.ChunkedArray) -> IntArray:
    found = pc.index_in(values, value_set=pa.array(layout.classes, pa.string()))
    return np.asarray(pc.fill_null(found, len(layout.classes)).to_numpy(zero_copy_only=False), dtype=np.int64)


def _error_entries(layout: Layout, table: pa.Table) -> Iterator[Entry]:
    plan, stratum = layout.labelled_cells, strata_of(layout, table)
    error, actual, usable = number_errors(table)
    sums = {"absolute": np.abs(error), "squared": error**2, "actual": actual, "actual_squared": actual**2}
    yield Entry(plan.start("rows"), where=usable)
    yield from (Entry(plan.start(name), weight=values) for name, values in sums.items())
    yield Entry(plan.start("strata_rows") + stratum, where=usable)
    for name in ("absolute", "squared"):
        yield Entry(plan.start(f"strata_{name}") + stratum, weight=sums[name])
