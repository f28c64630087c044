"""Usable rows: those with a label, its last one, outside slices with broken input, in time order."""

from collections.abc import Set as AbstractSet
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from monitors.readings import IntArray
from service.training.checkpoints import BoolArray
from service.training.curating.alike import codes_of

Gone = dict[str, pa.ChunkedArray]
"""The ids of rows that were left out, by the reason."""


def usable_rows(labelled: pa.Table, fault_slices: AbstractSet[int], slice_seconds: int) -> tuple[pa.Table, Gone]:
    """The rows that may be used, in time order, and the others."""
    gone: Gone = {}
    rows = _keep(labelled, _has_label(labelled), "without_label", gone)
    rows = _keep(rows, _is_last(rows), "relabelled", gone)
    slices = microseconds(rows) // 1_000_000 // slice_seconds * slice_seconds
    sound = ~np.isin(slices, np.fromiter(fault_slices, np.int64, len(fault_slices)))
    rows = _keep(rows, sound, "in_faulty_slice", gone)
    return rows.sort_by([("timestamp", "ascending"), ("prediction_id", "ascending")]), gone


def microseconds(rows: pa.Table, column: str = "timestamp") -> IntArray:
    """Each row's moment as microseconds since 1970; 0 where there is none."""
    moments = pc.cast(pc.cast(rows.column(column), pa.timestamp("us", tz="UTC")), pa.int64())
    return np.asarray(pc.fill_null(moments, 0).to_numpy(), dtype=np.int64)


def micros_of(moment: datetime) -> int:
    """The same of one moment."""
    return int(np.datetime64(moment.astimezone(UTC).replace(tzinfo=None), "us").astype(np.int64))


def _keep(rows: pa.Table, kept: BoolArray, reason: str, gone: Gone) -> pa.Table:
    gone[reason] = rows.column("prediction_id").filter(pa.array(~kept))
    return rows if kept.all() else rows.filter(pa.array(kept))


def _has_label(rows: pa.Table) -> BoolArray:
    labels = rows.column("label")
    if pa.types.is_floating(labels.type):
        return np.asarray(np.isfinite(labels.to_numpy()), dtype=bool)
    filled = pc.fill_null(pc.cast(labels, pa.string()), "")
    return np.asarray(pc.not_equal(filled, "").to_numpy(), dtype=bool)


def _is_last(rows: pa.Table) -> BoolArray:
    """Whether each row has the label of its prediction that arrived last."""
    ids = codes_of(rows, ["prediction_id"])
    arrived = microseconds(rows, "labelled_at") if "labelled_at" in rows.column_names else np.zeros(len(ids))
    order = np.lexsort((arrived, ids))
    last = np.ones(len(ids), dtype=bool)
    last[order[:-1]] = ids[order][1:] != ids[order][:-1]
    return last
