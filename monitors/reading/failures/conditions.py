"""Conditions: every single demand on a row that a category may be described by, from the rows and the baseline.

How sure the model was is none of them: errors are where it is unsure by design, and "it was unsure" would take all of
them and say nothing. Nor are clusters and topics, whose names hold for one version only.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from monitors.columns.column import Column
from monitors.columns.inference import KNOWN_VALUES
from monitors.columns.joint import NAME as JOINT
from monitors.columns.topics import VOCABULARY, Topics
from monitors.counting.layouts import CLASSES
from monitors.counting.segments import MISSING, MOST_PER_CUT
from monitors.reading.failures import rules
from monitors.reading.failures.rules import Condition
from monitors.reading.failures.sight import BoolArray, LabelledRows

VALUES = 20
"""Of a category the values with the most rows are tried, and as many new ones."""
WORDS = 100
"""Of the words of a text those that stand out most among the errors are tried; all of them count as tried."""
KEPT = 200
"""New words or values that one condition holds, the commonest."""
MOST = 400
"""Conditions that are tried in pairs, for what pairs cost grows with the square; those of further columns alone ..."""
MOST_ALONE = 1_000
"""... up to so many, columns after these not at all: 4 bytes a row and condition are 110 MB, of 20,000 rows."""
_CUTS = (0, 2, 4, 6, 8)
"""Of the ten bins of a number the edges at which it is cut: about at 10, 30, 50, 70 and 90 % of the baseline."""


@dataclass(frozen=True)
class Axis:
    """Conditions of one column, of which two need not be tried together unless it `is_ordered`.

    `tried` is how many conditions they were picked from. Words are `single`: they are not tried in pairs.
    """

    name: str
    conditions: tuple[Condition, ...]
    is_ordered: bool = False
    single: bool = False
    tried: int = 0


def axes_of(rows: LabelledRows, fewest: int) -> list[Axis]:
    """The axes of a batch: columns of the baseline, tags that cut segments, the prediction, and a class's label.

    A condition that fewer than `fewest` errors meet is on none of them.
    """
    kept, paired, alone = list[Axis](), 0, 0
    for axis in (*_classes(rows), *_columns(rows), *_cuts(rows)):
        met = _kept(axis, rows, fewest)
        size = len(met.conditions)
        if met.single or paired + size > MOST:
            met, alone = replace(met, single=True), alone + size
        else:
            paired += size
        if alone > MOST_ALONE:
            break
        kept.append(met)
    return kept


def never_learnt(rows: LabelledRows) -> list[str]:
    """Labels that the baseline's rows never had, those with the most rows first; none where it cannot be known."""
    layout = rows.baseline.layout
    if rows.is_regression or not rows.baseline.has_labels or len(layout.classes) >= CLASSES:
        return []
    return [value for value in _values(rows, "label") if value not in layout.classes]


def _columns(rows: LabelledRows) -> Iterator[Axis]:
    seen: set[str] = set()
    for column in rows.baseline.layout.columns:
        if column.name == JOINT:
            yield _unusual(column)
        if not column.source.startswith("feature_") or column.source == "feature_":
            continue
        if column.source not in seen:
            seen.add(column.source)
            yield _absent(column)
            if isinstance(column.learnt, Topics):
                yield from _worded(column, column.learnt, rows)
        if column.kind == "number" and column.derive in {"", "hour", "length"}:
            yield _ordered(column)
        elif column.kind == "category" and not column.derive:
            yield _valued(
                _bare(column), column.source, rows, column.known if len(column.known) < KNOWN_VALUES else None
            )


def _cuts(rows: LabelledRows) -> Iterator[Axis]:
    """Tags, which are no columns of the layout."""
    cuts = [cut for cut in rows.baseline.layout.cuts if len(cut.names) == 1 and cut.sources[0].startswith("tag_")]
    for cut in cuts:
        known = frozenset(value for (value,) in cut.values)
        yield _valued(cut.names[0], cut.sources[0], rows, known if len(known) < MOST_PER_CUT else None)


def _classes(rows: LabelledRows) -> Iterator[Axis]:
    """What was predicted, by the name that the policy's segments have for it; and of classes what was right."""
    layout = rows.baseline.layout
    if rows.is_regression:
        yield from (_ordered(column) for column in layout.columns if column.source == "prediction")
        return
    named = (name for cut in layout.cuts for name, source in zip(cut.names, cut.sources, strict=True)
             if source == "prediction")  # fmt: skip
    yield _valued(next(named, "prediction"), "prediction", rows)
    yield _valued("label", "label", rows)


def _valued(name: str, source: str, rows: LabelledRows, known: frozenset[str] | None = None) -> Axis:
    """The values of a column; where all that the baseline had are `known`, the new ones together too."""
    values = _values(rows, source)
    new = [value for value in values if value not in known] if known is not None else []
    single = [*[value for value in values if value not in new][:VALUES], *new[:VALUES]]
    conditions = [Condition(name, source, rules.IS, (value,)) for value in single]
    if len(new) > 1:
        conditions.append(Condition(name, source, rules.NEW_VALUES, tuple(new[:KEPT])))
    return Axis(source, tuple(conditions), tried=len(values))


def _values(rows: LabelledRows, source: str) -> list[str]:
    """The values of a column, those with the most rows first."""
    codes, words = rows.codes(source)
    counts = np.bincount(codes, minlength=len(words))
    return [words[i] for i in sorted(range(len(words)), key=lambda i: (-counts[i], words[i])) if words[i] != MISSING]


def _ordered(column: Column) -> Axis:
    """Cut at few places, in two digits: so that the next version's edges give the same ones."""
    edges = [column.edges[i] for i in _CUTS if i < len(column.edges)] if len(column.edges) >= 9 else column.edges
    cuts = sorted({float(f"{edge:.2g}") for edge in edges})
    name = _bare(column)
    conditions = [
        Condition(name, column.source, rules.RANGE, low=low, high=high, derive=column.derive)
        for cut in cuts
        for low, high in ((None, cut), (cut, None))
    ]
    return Axis(f"{column.source} {column.derive}", tuple(conditions), is_ordered=True)


def _unusual(column: Column) -> Axis:
    """Further from the baseline's middle than nine of ten of its rows."""
    lows = sorted({float(f"{edge:.2g}") for edge in column.edges[-1:]})
    conditions = (Condition(JOINT, "", rules.UNUSUAL, low=low, derive="joint") for low in lows)
    return Axis(JOINT, tuple(conditions))


def _absent(column: Column) -> Axis:
    name = _bare(column)
    tests = [rules.MISSING, rules.UNREADABLE] if column.kind == "number" and not column.derive else [rules.MISSING]
    return Axis(f"{column.source} absent", tuple(Condition(name, column.source, test) for test in tests))


def _worded(column: Column, learnt: Topics, rows: LabelledRows) -> Iterator[Axis]:
    """New words together, and single words, those first that the errors have most in excess."""
    name, texts = _bare(column), rows.words(column.source)
    if not texts.words:
        return
    pairs = np.unique(texts.rows * len(texts.words) + texts.codes)
    row, word = np.divmod(pairs, len(texts.words))
    everywhere = np.bincount(word, minlength=len(texts.words))
    among_errors = np.bincount(word[rows.wrong[row]], minlength=len(texts.words))
    known = set(learnt.words)
    new = [i for i in np.argsort(-everywhere, kind="stable") if texts.words[i] not in known and everywhere[i] > 1]
    if new and len(known) < VOCABULARY:
        kept = tuple(texts.words[i] for i in new[:KEPT])
        yield Axis(f"{column.source} new", (Condition(name, column.source, rules.NEW_WORDS, kept),))
    excess = among_errors - everywhere * rows.wrong.mean()
    stands_out = np.argsort(-excess, kind="stable")[:WORDS]
    conditions = (Condition(name, column.source, rules.WORD, (texts.words[i],)) for i in stands_out)
    yield Axis(f"{column.source} words", tuple(conditions), single=True, tried=len(texts.words))


def _bare(column: Column) -> str:
    return column.name.removesuffix(f".{column.derive}") if column.derive else column.name


def _kept(axis: Axis, rows: LabelledRows, fewest: int) -> Axis:
    """The axis with the conditions that enough errors meet, and that not all rows do."""
    met: list[tuple[Condition, BoolArray]] = [(each, rows.meets(each)) for each in axis.conditions]
    kept = [each for each, mask in met if (mask & rows.wrong).sum() >= fewest and not mask.all()]
    tried = max(axis.tried, len(axis.conditions))
    return replace(axis, conditions=tuple(kept), tried=tried)


def words_of(rows: LabelledRows, condition: Condition, errors: BoolArray, fewest: int, most: int) -> Sequence[str]:
    """Of new words or values those that the errors have most, where `fewest` rows have them: a rare one may name
    somebody.
    """
    carried = []
    for value in condition.values:
        test = rules.WORD if condition.test == rules.NEW_WORDS else rules.IS
        mask = rows.meets(Condition(condition.column, condition.source, test, (value,)))
        if mask.sum() >= fewest and (mask & errors).any():
            carried.append((-int((mask & errors).sum()), value))
    return [value for _, value in sorted(carried)[:most]]
