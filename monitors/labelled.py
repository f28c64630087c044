"""Labelled profiles: the counts of predictions whose label has come, per segment. Vectors that add."""

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from monitors.columns import numbers
from monitors.counting import Entry, count
from monitors.layouts import Layout
from monitors.readings import FloatArray, IntArray
from monitors.segments import text_of


def fold_labelled(layout: Layout, table: pa.Table, slice_seconds: int) -> dict[int, FloatArray]:
    """Counts of predictions with their `label`: start of the prediction's slice → profile [S, labelled_width]."""
    if not table.num_rows:
        return {}
    entries = _error_entries if layout.task == "regression" else _class_entries
    return count(layout, table, slice_seconds, layout.labelled_width, list(entries(layout, table)))


def confidence_bins(layout: Layout, table: pa.Table) -> IntArray:
    """Confidence bin of each row; the last bin holds rows without a confidence."""
    column = next((c for c in layout.columns if c.name == "confidence"), None)
    if column is None:
        return np.full(table.num_rows, layout.confidence_cells - 1, dtype=np.int64)
    cells = column.cells(table)
    return np.where(cells.counted, cells.bins, layout.confidence_cells - 1).astype(np.int64)


def _class_entries(layout: Layout, table: pa.Table) -> Iterator[Entry]:
    predicted, actual = text_of(table, "prediction"), text_of(table, "label")
    hit = np.asarray(pc.fill_null(pc.equal(predicted, actual), False).to_numpy(zero_copy_only=False), dtype=bool)
    confidence, bins = confidence_bins(layout, table), layout.confidence_cells
    classes = len(layout.classes) + 1
    first = 2 + 2 * bins
    yield Entry(0)
    yield Entry(1, where=hit)
    yield Entry(2 + confidence)
    yield Entry(2 + bins + confidence, where=hit)
    yield Entry(first + _class_places(layout, predicted))
    yield Entry(first + classes + _class_places(layout, actual))
    yield Entry(first + 2 * classes + _class_places(layout, actual), where=hit)


def _class_places(layout: Layout, values: pa.ChunkedArray) -> IntArray:
    found = pc.index_in(values, value_set=pa.array(layout.classes, pa.string()))
    return np.asarray(pc.fill_null(found, len(layout.classes)).to_numpy(zero_copy_only=False), dtype=np.int64)


def _error_entries(layout: Layout, table: pa.Table) -> Iterator[Entry]:
    del layout
    predicted = numbers(table, "prediction", "")[0].astype(np.float64)
    actual = numbers(table, "label", "")[0].astype(np.float64)
    usable = np.isfinite(predicted) & np.isfinite(actual)
    error, actual = np.where(usable, predicted - actual, 0.0), np.where(usable, actual, 0.0)
    yield Entry(0, where=usable)
    for cell, weight in enumerate((np.abs(error), error * error, actual, actual * actual), start=1):
        yield Entry(cell, weight=weight)
