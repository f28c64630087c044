"""What a baseline says about the columns of its rows, so that others can be compared with it."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from monitors.baseline.baselines import Baseline
from monitors.columns.column import EXTRA_CELLS, Column
from monitors.columns.expected_error import NAME as EXPECTED_ERROR
from monitors.columns.joint import NAME as JOINT
from monitors.columns.topics import Topics
from monitors.counting.segments import MISSING
from monitors.readings import FloatArray, IntArray

_TRUTHS = frozenset({"true", "false"})
_WRONG_TYPE = 3  # of the extra cells: missing, unseen, out of range, wrong type


@dataclass(frozen=True, eq=False)
class Expected:
    """What a baseline says about columns: of each of the `sources` [C] the cells in which its rows are missing and of
    the wrong type, and how often the baseline's were. `forms` of texts and categories, `tags` that cut with how often
    they had no value; `known` is all of them.
    """

    sources: tuple[str, ...]
    missing: IntArray
    wrong: IntArray
    lacked: FloatArray
    misread: FloatArray
    forms: Mapping[str, frozenset[str]]
    tags: Mapping[str, float]
    known: frozenset[str]

    @classmethod
    def of(cls, baseline: Baseline) -> "Expected":
        layout = baseline.layout
        firsts: dict[str, int] = {}
        for index, column in enumerate(layout.columns):
            if column.derive not in (JOINT, EXPECTED_ERROR):
                firsts.setdefault(column.source, index)
        missing = np.asarray([layout.offsets[index + 1] - EXTRA_CELLS for index in firsts.values()], dtype=np.int64)
        wrong = missing + _WRONG_TYPE
        lacked, misread = baseline.counts[0, missing], baseline.counts[0, wrong]
        rows = float(baseline.rows[0])
        tags = {source: _lacking(baseline, source) for cut in layout.cuts for source in cut.sources}
        return cls(
            sources=tuple(firsts),
            missing=missing,
            wrong=wrong,
            lacked=lacked / rows,
            misread=misread / np.maximum(rows - lacked, 1),
            forms={s: forms for s, i in firsts.items() if (forms := _forms(layout.columns[i]))},
            tags={source: share for source, share in tags.items() if source not in firsts},
            known=frozenset(firsts) | frozenset(tags),
        )


def _lacking(baseline: Baseline, source: str) -> float:
    """At most this share of the baseline's rows had no value of a column that cuts."""
    cut = next(cut for cut in baseline.layout.cuts if source in cut.sources)
    at = cut.sources.index(source)
    lacking = [cut.first + i for i, value in enumerate(cut.values) if value[at] == MISSING]
    return float(baseline.rows[[*lacking, cut.other]].sum() / baseline.rows[0])


def _forms(column: Column) -> frozenset[str]:
    """The forms in which values of a text or category can be read as the baseline's; empty where any may."""
    if isinstance(column.learnt, Topics):
        return frozenset({"text"})
    if column.kind != "category" or column.derive or not column.known:
        return frozenset()
    forms = {"text"}
    if column.known & _TRUTHS:
        forms.add("boolean")
    if any(map(_is_number, column.known)):
        forms.add("number")
    return frozenset(forms)


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False
