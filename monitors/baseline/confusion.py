"""Confusion: how the baseline's labelled rows were predicted."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from monitors.columns.values import text_of
from monitors.counting.layouts import Layout
from monitors.readings import FloatArray


def learn_confusion(layout: Layout, table: pa.Table) -> FloatArray:
    """Labelled rows of a table by prediction and label [B, B], on the bins of the column `prediction`.

    The last row and column hold all classes without a bin. Empty [0, 0] for a regression or without labels.
    """
    if layout.task == "regression" or "label" not in table.column_names:
        return np.zeros((0, 0))
    column = next(c for c in layout.columns if c.name == "prediction")
    labelled = table.filter(pc.is_valid(table.column("label")))
    named = pa.array(column.categories, pa.string())
    predicted, actual = (
        pc.fill_null(pc.index_in(text_of(labelled, name), value_set=named), column.bins - 1).to_numpy()
        for name in ("prediction", "label")
    )
    pairs = np.bincount(predicted.astype(np.int64) * column.bins + actual, minlength=column.bins**2)
    return pairs.reshape(column.bins, column.bins).astype(np.float64)
