"""Layouts: what each float of a profile counts, learned from the baseline's rows and frozen in it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from monitors.columns import CONFIDENCE_BINS, EXTRA_CELLS, Column, infer, source_of
from monitors.readings import FloatArray, IntArray
from monitors.segments import ALL, Cut, find_cut, parents, text_of

CLASSES = 200
"""Classes with counts of their own; the rest share one."""


@dataclass(frozen=True, eq=False)
class Layout:
    """What each float of a profile counts; frozen in the baseline.

    A profile is a float64 array [S segments, width]: rows, then for each column its bins, missing, unseen, out of
    range, wrong type, sum and sum of squares. A labelled profile is [S, labelled_width]; classification: rows, correct,
    rows by confidence bin, correct by confidence bin, then predicted, actual and hit by class; regression: rows,
    absolute error, squared error, sum and sum of squares of the label.
    """

    task: str
    columns: tuple[Column, ...]
    cuts: tuple[Cut, ...]
    classes: tuple[str, ...]

    @cached_property
    def segments(self) -> tuple[str, ...]:
        return (ALL, *(name for cut in self.cuts for name in cut.segment_names()))

    @cached_property
    def parents(self) -> IntArray:
        return parents(self.cuts, self.segments)

    @cached_property
    def offsets(self) -> tuple[int, ...]:
        return tuple(int(o) for o in 1 + np.cumsum([0, *(c.width for c in self.columns)]))

    @property
    def width(self) -> int:
        return self.offsets[-1]

    @property
    def confidence_cells(self) -> int:
        """Confidence bins of a labelled profile: those of the column `confidence`, and one for rows without."""
        return 1 + next((c.bins for c in self.columns if c.name == "confidence"), CONFIDENCE_BINS)

    @property
    def labelled_width(self) -> int:
        if self.task == "regression":
            return 5
        return 2 + 2 * self.confidence_cells + 3 * (len(self.classes) + 1)

    def column_bins(self, profile: FloatArray, column: int) -> FloatArray:
        """The bins of one column of profiles [..., width]."""
        start = self.offsets[column]
        return profile[..., start : start + self.columns[column].bins]

    def column_extra(self, profile: FloatArray, column: int) -> FloatArray:
        """missing, unseen, out of range, wrong type, sum, sum of squares of one column [..., 6]."""
        end = self.offsets[column + 1]
        return profile[..., end - EXTRA_CELLS : end]


def learn_layout(
    table: pa.Table, *, cuts: Sequence[Sequence[str]], columns: Mapping[str, str], target: str, task: str
) -> Layout:
    """Bins, categories and segments as the rows show them."""
    found: list[Cut] = []
    first = 1
    for names in cuts:
        cut = find_cut(table, names, [source_of(table, name, target) for name in names], first)
        found.append(cut)
        first = cut.other + 1
    return Layout(
        task=task, columns=tuple(infer(table, columns, task)), cuts=tuple(found), classes=_classes(table, task)
    )


def _classes(table: pa.Table, task: str) -> tuple[str, ...]:
    if task == "regression":
        return ()
    sources = [c for c in ("prediction", "label") if c in table.column_names]
    values = pa.chunked_array([chunk for c in sources for chunk in text_of(table, c).chunks], pa.string())
    counts = pc.value_counts(pc.drop_null(values)).to_pylist()
    largest = sorted(counts, key=lambda c: (-c["counts"], c["values"]))[:CLASSES]
    return tuple(sorted(c["values"] for c in largest))


def to_plain(layout: Layout) -> dict[str, Any]:
    """The layout as values that JSON can hold; read back with `from_plain`."""
    columns = [{**vars(c), "known": sorted(c.known), "words": sorted(c.words)} for c in layout.columns]
    keep = ("name", "source", "kind", "derive", "edges", "categories", "known", "low", "high", "words")
    return {
        "task": layout.task,
        "columns": [{k: c[k] for k in keep} for c in columns],
        "cuts": [{"names": c.names, "sources": c.sources, "values": c.values, "first": c.first} for c in layout.cuts],
        "classes": layout.classes,
    }


def from_plain(data: Mapping[str, Any]) -> Layout:
    """The layout that `to_plain` gave."""
    columns = tuple(
        Column(
            **{
                **c,
                "edges": tuple(c["edges"]),
                "categories": tuple(c["categories"]),
                "known": frozenset(c["known"]),
                "words": frozenset(c["words"]),
            }
        )
        for c in data["columns"]
    )
    cuts = tuple(
        Cut(tuple(c["names"]), tuple(c["sources"]), tuple(tuple(v) for v in c["values"]), c["first"])
        for c in data["cuts"]
    )
    return Layout(data["task"], columns, cuts, tuple(data["classes"]))
