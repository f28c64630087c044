"""Pairs of rows, one of the baseline and one of a window, as numbers for a classifier that is to tell them apart.

Nothing here may favour a side, or rows of one distribution could be told apart: categories are ranked among the rows of
both, and what is derived from texts and embeddings is learnt again from rows of the baseline that are in no pair. With
the baseline's own vocabulary, 2,000 texts of CLINC150 and 2,000 more of the same phase read up to e^15: no word of the
first was new.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from monitors.columns.column import Column
from monitors.columns.derived import Derived, Learnt
from monitors.columns.embeddings import Embedding, learn_embedding
from monitors.columns.topics import Topics, learn_topics
from monitors.columns.values import text_of
from monitors.readings import FloatArray

CATEGORIES = 100
"""Values of a category with a code of their own; the rest share one."""
_TEACHING = 5_000


@dataclass(frozen=True, eq=False)
class Pairs:
    """Rows at random in pairs: `values` [2 sides, pairs, columns], NaN where there is none; the baseline's side first.

    `names` of the columns; `is_category` says whose values are codes.
    """

    names: tuple[str, ...]
    values: FloatArray
    is_category: NDArray[np.bool_]

    def only(self, chosen: Sequence[int]) -> "Pairs":
        """The same pairs, of these columns."""
        places = list(chosen)
        return Pairs(tuple(self.names[c] for c in places), self.values[..., places], self.is_category[places])


def draw_pairs(
    before: pa.Table, now: pa.Table, columns: Sequence[Column], most: int, rng: np.random.Generator
) -> Pairs:
    """At most so many pairs of a row of `before` and one of `now`, each row in one; columns that vary in them.

    Where the baseline taught what is derived from a column, half of its rows at least are in no pair: they teach again.

    >>> one = Column("x", "feature_x", "number", "")
    >>> rows = [pa.table({"feature_x": [float(x) for x in range(n)]}) for n in (7, 5)]
    >>> draw_pairs(*rows, [one], 100, np.random.default_rng(0)).values.shape
    (2, 5, 1)
    """
    teaches = any(column.learnt is not None for column in columns)
    count = min(before.num_rows // 2 if teaches else before.num_rows, now.num_rows, most)
    order = rng.permutation(before.num_rows)
    sides = [before.take(order[:count]), now.take(rng.choice(now.num_rows, count, replace=False))]
    if teaches:
        columns = list(_learn_again(columns, before.take(order[count : count + _TEACHING])))
    varied = [(column, values) for column, values in _encode(sides, columns) if _varies(values)]
    return Pairs(
        names=tuple(column.name for column, _ in varied),
        values=np.stack([values for _, values in varied], axis=-1) if varied else np.empty((2, count, 0)),
        is_category=np.asarray([column.kind != "number" for column, _ in varied], dtype=bool),
    )


def _learn_again(columns: Sequence[Column], rows: pa.Table) -> Iterator[Column]:
    """The columns, with what was learnt taught by these rows; without those that so few rows cannot teach."""
    again: dict[str, Learnt | None] = {}
    for column in columns:
        if column.learnt is None:
            yield column
            continue
        if column.source not in again:
            again[column.source] = _taught(column.learnt, rows, column.source)
        learnt = again[column.source]
        if learnt is not None and _gives(learnt, column):
            yield replace(column, learnt=learnt)


def _taught(learnt: Learnt, rows: pa.Table, source: str) -> Learnt | None:
    if source not in rows.column_names:
        return None
    if isinstance(learnt, Embedding):
        return learn_embedding(rows.column(source), len(learnt.mean))
    return learn_topics(rows.column(source)) if isinstance(learnt, Topics) else None


def _gives(learnt: Learnt, column: Column) -> bool:
    given = learnt.read(pa.chunked_array([pa.nulls(0, pa.string())]))
    return column.derive in {*given.numbers, *given.codes}


def _encode(sides: Sequence[pa.Table], columns: Sequence[Column]) -> Iterator[tuple[Column, FloatArray]]:
    """Each column's values [2, pairs], NaN where there is none."""
    read: list[dict[str, Derived]] = [{}, {}]
    for column in columns:
        if column.kind != "number" and not column.derive:
            yield column, _codes([text_of(side, column.source) for side in sides])
            continue
        cells = [column.cells(side, known) for side, known in zip(sides, read, strict=True)]
        found = [each.values if column.kind == "number" else each.bins for each in cells]
        yield column, np.stack([np.where(each.counted, x, np.nan) for each, x in zip(cells, found, strict=True)])


def _codes(sides: Sequence[pa.ChunkedArray]) -> FloatArray:
    """Categories by their rank among the rows of both sides, the last code for all rare ones."""
    values = pa.chunked_array([chunk for side in sides for chunk in side.chunks], pa.string())
    counts = pc.value_counts(pc.drop_null(values))
    # Equal counts are ordered by value: the order of appearance would tell the sides apart.
    keys = pa.table({"count": counts.field("counts"), "value": counts.field("values")})
    ranked = keys.sort_by([("count", "descending"), ("value", "ascending")]).column("value")
    ranks = pc.cast(pc.index_in(values, ranked.combine_chunks()), pa.float64())
    return np.asarray(np.minimum(ranks.to_numpy(zero_copy_only=False), CATEGORIES).reshape(2, -1))


def _varies(values: FloatArray) -> bool:
    known = values[~np.isnan(values)]
    return bool(len(known)) and (len(known) < values.size or bool(known.min() < known.max()))
