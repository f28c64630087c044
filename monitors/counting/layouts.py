"""Layouts: what each float of a profile counts, learned from the baseline's rows and frozen in it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from monitors.columns import column
from monitors.columns.column import EXTRA_CELLS, Column
from monitors.columns.expected_error import NAME as EXPECTED_ERROR
from monitors.columns.expected_error import ErrorTree, learn_expected_error
from monitors.columns.inference import infer
from monitors.columns.joint import Joint, learn_joint
from monitors.columns.kinds import source_of
from monitors.columns.values import text_of
from monitors.counting.labelled_cells import LabelledCells
from monitors.counting.segments import ALL, MOST_PER_CUT, Cut, find_cut, parents
from monitors.readings import FloatArray, IntArray

CLASSES = 200
"""Classes with counts of their own, the most frequent first; the rest share one."""


@dataclass(frozen=True, eq=False)
class Layout:
    """What each float of a profile counts; frozen in the baseline.

    A profile is a float64 array [S segments, width]: rows, then for each column its bins, missing, unseen, out of
    range, wrong type, sum and sum of squares. A labelled profile is [S, labelled_width], as `labelled_cells` says.
    `joint` gives the values of the column that is derived from all features, where there is one, and `errors` those of
    the error to expect of a regression's rows.
    """

    task: str
    columns: tuple[Column, ...]
    cuts: tuple[Cut, ...]
    classes: tuple[str, ...]
    joint: Joint | None = None
    errors: ErrorTree | None = None

    @cached_property
    def segments(self) -> tuple[str, ...]:
        return (ALL, *(name for cut in self.cuts for name in cut.segment_names()))

    @cached_property
    def parents(self) -> IntArray:
        return parents(self.cuts)

    @cached_property
    def offsets(self) -> tuple[int, ...]:
        return tuple(int(o) for o in 1 + np.cumsum([0, *(c.width for c in self.columns)]))

    @property
    def width(self) -> int:
        return self.offsets[-1]

    @cached_property
    def strata_column(self) -> int | None:
        """The column whose bins are the strata of labelled profiles: rows of one are expected to be right alike."""
        if self.task == "regression":
            return next((i for i, c in enumerate(self.columns) if c.derive == EXPECTED_ERROR), None)
        return next((i for i, c in enumerate(self.columns) if c.source == "confidence"), None)

    @cached_property
    def labelled_cells(self) -> LabelledCells:
        """What each float of a labelled profile counts."""
        strata = 0 if self.strata_column is None else self.columns[self.strata_column].bins
        return LabelledCells(self.task, strata + 1, len(self.classes) + 1)

    @property
    def labelled_width(self) -> int:
        return self.labelled_cells.width

    def column_bins(self, profile: FloatArray, column: int) -> FloatArray:
        """The bins of one column of profiles [..., width]."""
        start = self.offsets[column]
        return profile[..., start : start + self.columns[column].bins]

    def column_extra(self, profile: FloatArray, column: int) -> FloatArray:
        """missing, unseen, out of range, wrong type, sum, sum of squares of one column [..., 6]."""
        end = self.offsets[column + 1]
        return profile[..., end - EXTRA_CELLS : end]


def learn_layout(
    table: pa.Table,
    *,
    cuts: Sequence[Sequence[str]],
    columns: Mapping[str, str],
    target: str,
    task: str,
    most_segments: int = MOST_PER_CUT,
) -> Layout:
    """Bins, categories and segments as the rows show them; at most so many segments of one cut, and its tail."""
    found: list[Cut] = []
    first = 1
    for names in cuts:
        cut = find_cut(table, names, [source_of(table, name, target) for name in names], first, most_segments)
        found.append(cut)
        first = cut.other + 1
    counted = infer(table, columns, task)
    joint = learn_joint(counted, table, columns)
    errors = learn_expected_error(counted, table) if task == "regression" else None
    return Layout(
        task=task,
        columns=(*counted, *(derived[1] for derived in (joint, errors) if derived)),
        cuts=tuple(found),
        classes=_classes(table, task),
        joint=joint[0] if joint else None,
        errors=errors[0] if errors else None,
    )


def _classes(table: pa.Table, task: str) -> tuple[str, ...]:
    if task == "regression":
        return ()
    sources = [c for c in ("prediction", "label") if c in table.column_names]
    values = pa.chunked_array([chunk for c in sources for chunk in text_of(table, c).chunks], pa.string())
    counts = pc.value_counts(pc.drop_null(values)).to_pylist()
    largest = sorted(counts, key=lambda c: (-c["counts"], c["values"]))[:CLASSES]
    return tuple(c["values"] for c in largest)


def to_plain(layout: Layout) -> dict[str, Any]:
    """The layout as values that JSON can hold; read back with `from_plain`."""
    return {
        "task": layout.task,
        "columns": column.to_plain(layout.columns),
        "cuts": [{"names": c.names, "sources": c.sources, "values": c.values, "first": c.first} for c in layout.cuts],
        "classes": layout.classes,
        "joint": layout.joint.to_plain() if layout.joint else None,
        "errors": layout.errors.to_plain() if layout.errors else None,
    }


def from_plain(data: Mapping[str, Any]) -> Layout:
    """The layout that `to_plain` gave."""
    cuts = tuple(
        Cut(tuple(c["names"]), tuple(c["sources"]), tuple(tuple(v) for v in c["values"]), c["first"])
        for c in data["cuts"]
    )
    joint = Joint.from_plain(data["joint"]) if data.get("joint") else None
    errors = ErrorTree.from_plain(data["errors"]) if data.get("errors") else None
    return Layout(data["task"], column.from_plain(data["columns"]), cuts, tuple(data["classes"]), joint, errors)
