"""Columns learned from the baseline's rows: which are counted, as what, and on which bins."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from monitors.columns.bins import Float32Array, quantile_edges
from monitors.columns.column import ANYTHING, Column
from monitors.columns.embeddings import MOST_DIMENSIONS, common_length, is_list, learn_embedding
from monitors.columns.kinds import KINDS, bare_name, infer_kind
from monitors.columns.numeric import numbers
from monitors.columns.times import WEEKDAYS, read_times
from monitors.columns.topics import Topics, learn_topics
from monitors.columns.values import text_of
from monitors.errors import BadColumn

BINS = 10
CONFIDENCE_BINS = 20
CATEGORIES = 30
KNOWN_VALUES = 10_000
SCORES = 10
"""Classes whose scores are counted, the most frequent ones."""

_LEAST_COMMON_LENGTH = 0.9
_TWO_WEEKS = np.timedelta64(14, "D")


def infer(table: pa.Table, overrides: Mapping[str, str], task: str) -> list[Column]:
    """The columns to count, learned from the baseline's rows.

    The prediction comes first, then its confidence and the scores of the most frequent classes, then features.
    `overrides` maps a bare name to a kind of `KINDS`, to `tag` (cuts segments, not counted) or to `ignore`; of all
    others the kind is inferred. A feature without any value is not counted.

    Raises:
        BadColumn: a column cannot be counted as the kind it was said to be, or as any.
    """
    found = [_of_kind("prediction", "prediction", "number" if task == "regression" else "category", table)]
    found += [[_number_column(name, source, table, CONFIDENCE_BINS)] for name, source in _certainty(table, task)]
    for source in table.column_names:
        name = bare_name(source)
        kind = overrides.get(name, "")
        if not source.startswith("feature_") or kind in ("tag", "ignore"):
            continue
        _check(name, table.column(source), kind)
        if table.column(source).null_count < table.num_rows:
            found.append(_of_kind(name, source, kind or infer_kind(table.column(source)), table))
    return list(chain.from_iterable(found))


def known_elsewhere(columns: Sequence[Column], table: pa.Table) -> tuple[Column, ...]:
    """The columns as they count the baseline's own rows: a value is known by its other rows.

    Otherwise no row of the baseline is ever unseen, and from the first day on each category with rare values looks
    broken and each text full of new words. The share of rows whose value occurs once is the share of new values to
    expect (Good 1953, The population frequencies of species).
    """
    texts = {c.source: c.learnt.elsewhere() for c in columns if isinstance(c.learnt, Topics)}
    read = (replace(c, learnt=texts[c.source]) if c.source in texts else c for c in columns)
    return tuple(_without_singletons(c, table) if c.known else c for c in read)


def _without_singletons(column: Column, table: pa.Table) -> Column:
    counts = pc.value_counts(pc.drop_null(text_of(table, column.source)))
    once = counts.field("values").filter(pc.equal(counts.field("counts"), 1))
    return replace(column, known=column.known.difference(once.to_pylist()))


def certainty_of(columns: Sequence[Column]) -> tuple[str, ...]:
    """Names of the columns that say how sure the model was: `confidence` and the scores."""
    return tuple(c.name for c in columns if c.source == "confidence" or c.source.startswith("score_"))


def _certainty(table: pa.Table, task: str) -> Iterator[tuple[str, str]]:
    """Name and source of the confidence and of the scores, as far as they hold values.

    Two classes have one score to read: the other is the rest to one.
    """
    names = [("confidence", "confidence")]
    if task != "regression":
        counts = pc.value_counts(pc.drop_null(text_of(table, "prediction"))).to_pylist()
        often = [c["values"] for c in sorted(counts, key=lambda c: (-c["counts"], c["values"]))[:SCORES]]
        scored = [value for value in often if f"score_{value}" in table.column_names]
        names += [(f"score.{value}", f"score_{value}") for value in (scored[1:] if len(scored) == 2 else scored)]
    for name, source in names:
        if source in table.column_names and table.column(source).null_count < table.num_rows:
            yield name, source


def _check(name: str, column: pa.ChunkedArray, kind: str) -> None:
    """Raises BadColumn where the column cannot be what it is said or seems to be."""
    if kind and kind not in KINDS:
        raise BadColumn(name, f"kind {kind!r} cannot be counted; allowed: {', '.join((*KINDS, 'tag', 'ignore'))}")
    if kind and column.null_count == len(column):
        problem = f"is said to be of kind {kind}, and holds no value in {len(column)} rows"
        raise BadColumn(name, f"{problem}; build the baseline from rows that have it, or set it to ignore")
    if pa.types.is_nested(column.type) and not (is_list(column.type) and kind in ("", "embedding")):
        said = f"; it cannot be of kind {kind}" if kind else ""
        raise BadColumn(name, f"holds values of type {column.type}{said}: set it to ignore, or lists to embedding")
    if (kind or infer_kind(column)) == "embedding" and column.null_count < len(column):
        _check_lengths(name, column)
    if kind in ("number", "time"):
        _check_readable(name, column, kind)


def _check_lengths(name: str, column: pa.ChunkedArray) -> None:
    length, share = common_length(column)
    if not is_list(column.type):
        raise BadColumn(name, f"is said to be an embedding, and holds {column.type}; it takes lists of numbers")
    if length > MOST_DIMENSIONS:
        raise BadColumn(name, f"its lists hold {length} numbers, of {MOST_DIMENSIONS} allowed; set it to ignore")
    if share < _LEAST_COMMON_LENGTH or not length:
        seen = f"its commonest length, {length}, is that of {share:.0%} of its lists"
        raise BadColumn(name, f"{seen}; an embedding has one length: mend the sender, or set it to ignore")


def _check_readable(name: str, column: pa.ChunkedArray, kind: str) -> None:
    table = pa.table({name: column})
    _, missing, wrong = numbers(table, name, "hour" if kind == "time" else "")
    if wrong.sum() * 2 > (~missing).sum():
        value = str(column[int(wrong.argmax())].as_py())[:40]
        problem = f"is said to be a {kind}, and {wrong.sum()} of {(~missing).sum()} values are none, like {value!r}"
        raise BadColumn(name, f"{problem}; set it to category, text or ignore")


def _of_kind(name: str, source: str, kind: str, table: pa.Table) -> list[Column]:
    match kind:
        case "text":
            return _text_columns(name, source, table)
        case "time":
            return _time_columns(name, source, table)
        case "embedding":
            return _embedding_columns(name, source, table)
        case "number":
            return [_number_column(name, source, table, BINS)]
        case _:
            return [_category_column(name, source, table)]


def _text_columns(name: str, source: str, table: pa.Table) -> list[Column]:
    learnt = learn_topics(table.column(source))
    found = learnt.elsewhere().read(table.column(source))
    counted = ~(found.missing | found.wrong_type)
    numeric = [
        Column(f"{name}.{derive}", source, "number", derive, edges=_edges(values[counted], BINS), learnt=learnt)
        for derive, values in found.numbers.items()
    ]
    if not learnt.names:
        return numeric
    topic = Column(f"{name}.topic", source, "category", "topic", categories=learnt.categories, learnt=learnt)
    return [*numeric, topic]


def _time_columns(name: str, source: str, table: pa.Table) -> list[Column]:
    """The hour, and the weekday where the baseline spans two weeks: before that no weekday is usual."""
    found = read_times(table.column(source))
    hours = found.numbers["hour"][~(found.missing | found.wrong_type)]
    columns = [Column(f"{name}.hour", source, "number", "hour", edges=_edges(hours, BINS))]
    moments = table.column("timestamp").to_numpy() if "timestamp" in table.column_names else np.zeros(1, "M8[s]")
    if moments.max() - moments.min() >= _TWO_WEEKS:
        columns.append(Column(f"{name}.weekday", source, "category", "weekday", categories=WEEKDAYS))
    return columns


def _embedding_columns(name: str, source: str, table: pa.Table) -> list[Column]:
    length, _ = common_length(table.column(source))
    learnt = learn_embedding(table.column(source), length)
    if learnt is None:
        return []
    found = learnt.read(table.column(source))
    counted = ~(found.missing | found.wrong_type)
    numeric = [
        Column(f"{name}.{derive}", source, "number", derive, edges=_edges(values[counted], BINS), learnt=learnt)
        for derive, values in found.numbers.items()
    ]
    cluster = Column(f"{name}.cluster", source, "category", "cluster", categories=learnt.categories, learnt=learnt)
    return [*numeric, cluster]


def _number_column(name: str, source: str, table: pa.Table, bins: int) -> Column:
    values, missing, wrong = numbers(table, source)
    values = values[~(missing | wrong) & np.isfinite(values)]
    low, high = _plausible(values) if source.startswith("feature_") and len(values) else ANYTHING
    return Column(name, source, "number", "", edges=_edges(values, bins), low=low, high=high)


def _edges(values: Float32Array, bins: int) -> tuple[float, ...]:
    return tuple(float(e) for e in quantile_edges(values, bins)) if len(values) else ()


def _plausible(values: Float32Array) -> tuple[float, float]:
    """The baseline's range and half of it again on either side: a wrong unit or scale leaves it, growth does not.

    A column that was constant has no range: what it does when it begins to move is drift.
    """
    low, high = float(values.min()), float(values.max())
    margin = (high - low) / 2
    return (low - margin, high + margin) if margin else ANYTHING


def _category_column(name: str, source: str, table: pa.Table) -> Column:
    counts = pc.value_counts(pc.drop_null(text_of(table, source)))
    pairs = sorted((-c["counts"], c["values"]) for c in counts.to_pylist())
    top = tuple(sorted(value for _, value in pairs[:CATEGORIES]))
    known = frozenset(value for _, value in pairs[:KNOWN_VALUES])
    return Column(name, source, "category", "", categories=top, known=known)
