"""Columns to count: what each one is, and its cells in a profile.

A text is counted through numbers derived from it: its length and the share of its words that the baseline never used.
A time is counted by its hour of day.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import chain

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from monitors.bins import Float32Array, Lookup, quantile_edges
from monitors.cells import Cells, category_cells, number_cells
from monitors.errors import BadColumn
from monitors.segments import text_of

KINDS = ("number", "category", "boolean", "time", "text")
BINS = 10
CONFIDENCE_BINS = 20
CATEGORIES = 30
KNOWN_VALUES = 10_000
VOCABULARY = 20_000
EXTRA_CELLS = 6
"""missing, unseen, out of range, wrong type, sum, sum of squares: they follow the bins of every column."""

_ANYTHING = (float("-inf"), float("inf"))
_WORD = re.compile(r"\w+")
_PREFIXES = ("feature_", "tag_")


@dataclass(frozen=True)
class Column:
    """One counted column: frozen in the baseline, so that counts of any time and worker add.

    `edges` (numbers) or `categories` (the largest values; one more bin holds all others) define the bins; `known` are
    all values of the baseline; `low` and `high` bound what is plausible; `words` is its vocabulary.
    """

    name: str
    source: str
    kind: str
    derive: str
    edges: tuple[float, ...] = ()
    categories: tuple[str, ...] = ()
    known: frozenset[str] = frozenset()
    low: float = _ANYTHING[0]
    high: float = _ANYTHING[1]
    words: frozenset[str] = frozenset()

    @property
    def bins(self) -> int:
        return len(self.edges) + 1 if self.kind == "number" else len(self.categories) + 1

    @property
    def width(self) -> int:
        return self.bins + EXTRA_CELLS

    @cached_property
    def lookup(self) -> Lookup:
        return Lookup.of(np.asarray(self.edges, dtype=np.float32))

    @cached_property
    def places(self) -> Mapping[str, int]:
        return {value: i for i, value in enumerate(self.categories)}

    def cells(self, table: pa.Table) -> Cells:
        """Where each row of a batch counts. A column that is not there is missing in every row."""
        if self.kind == "number":
            return number_cells(self.lookup, self.low, self.high, *numbers(table, self.source, self.derive, self.words))
        return category_cells(self.places, self.known, text_of(table, self.source))


def words_of(text: str) -> list[str]:
    """The words of a text, in lower case."""
    return _WORD.findall(text.lower())


def numbers(
    table: pa.Table, source: str, derive: str, words: frozenset[str] = frozenset()
) -> tuple[Float32Array, NDArray[np.bool_], NDArray[np.bool_]]:
    """Values as float32, which are missing, and which cannot be read as a number."""
    if source not in table.column_names:
        everything = np.ones(table.num_rows, dtype=bool)
        return np.zeros(table.num_rows, dtype=np.float32), everything, ~everything
    column = table.column(source)
    if derive == "hour":
        return _hours(column)
    if derive in ("length", "unseen_words"):
        return _text_numbers(pc.cast(column, pa.string()), derive, words)
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        return _parsed(column)
    values = np.asarray(pc.cast(column, pa.float64()).to_numpy(zero_copy_only=False), dtype=np.float64)
    values = np.clip(values, -3.4e38, 3.4e38, where=np.isfinite(values), out=values.copy())
    missing = np.isnan(values)
    return values.astype(np.float32), missing, np.zeros_like(missing)


def _parsed(column: pa.ChunkedArray) -> tuple[Float32Array, NDArray[np.bool_], NDArray[np.bool_]]:
    values = np.full(len(column), np.nan, dtype=np.float32)
    wrong = np.zeros(len(column), dtype=bool)
    for i, text in enumerate(column.to_pylist()):
        if text is not None:
            try:
                values[i] = float(text)
            except ValueError:
                wrong[i] = True
    return values, np.isnan(values) & ~wrong, wrong


def _hours(column: pa.ChunkedArray) -> tuple[Float32Array, NDArray[np.bool_], NDArray[np.bool_]]:
    wrong = np.zeros(len(column), dtype=bool)
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        parsed = pc.strptime(column, format="%Y-%m-%dT%H:%M:%S", unit="s", error_is_null=True)
        wrong = (pc.is_null(parsed).to_numpy() & pc.is_valid(column).to_numpy()).astype(bool)
        column = parsed
    hours = np.asarray(
        pc.cast(pc.hour(pc.cast(column, pa.timestamp("s"))), pa.float64()).to_numpy(zero_copy_only=False)
    )
    return hours.astype(np.float32), np.isnan(hours) & ~wrong, wrong


def _text_numbers(
    column: pa.ChunkedArray, derive: str, words: frozenset[str]
) -> tuple[Float32Array, NDArray[np.bool_], NDArray[np.bool_]]:
    texts = pc.utf8_trim_whitespace(column)
    missing = ~pc.fill_null(pc.greater(pc.utf8_length(texts), 0), False).to_numpy(zero_copy_only=False).astype(bool)
    if derive == "length":
        values = pc.fill_null(pc.utf8_length(texts), 0).to_numpy(zero_copy_only=False).astype(np.float32)
    else:
        values = np.fromiter((_unseen_share(t, words) for t in texts.to_pylist()), np.float32, len(texts))
    return values, missing, np.zeros_like(missing)


def _unseen_share(text: str | None, words: frozenset[str]) -> float:
    found = words_of(text) if text else []
    return sum(w not in words for w in found) / len(found) if found else 0.0


def infer(table: pa.Table, overrides: Mapping[str, str], task: str) -> list[Column]:
    """The columns to count, learned from the baseline's rows.

    The prediction and its confidence come first, then features. Strings with spaces and many values are text, other
    strings and booleans are categories. `overrides` maps a bare name to a kind of `KINDS`, to `tag` (cuts segments,
    not counted) or to `ignore`.

    Raises:
        BadColumn: an override names a kind that is not counted.
    """
    found = [_of_kind("prediction", "prediction", "number" if task == "regression" else "category", table)]
    if "confidence" in table.column_names and table.column("confidence").null_count < table.num_rows:
        found.append([_number_column("confidence", "confidence", "", table, CONFIDENCE_BINS)])
    for source in table.column_names:
        name = bare_name(source)
        kind = overrides.get(name, "")
        if not source.startswith("feature_") or kind in ("tag", "ignore"):
            continue
        if kind and kind not in KINDS:
            raise BadColumn(name, f"kind {kind!r} cannot be counted; allowed: {', '.join((*KINDS, 'tag', 'ignore'))}")
        if table.column(source).null_count < table.num_rows:
            found.append(_of_kind(name, source, kind or infer_kind(table.column(source)), table))
    return list(chain.from_iterable(found))


def bare_name(source: str) -> str:
    """`feature_text` → `text`: the name that policies, readings and metrics use."""
    return next((source.removeprefix(p) for p in _PREFIXES if source.startswith(p)), source)


def source_of(table: pa.Table, name: str, target: str) -> str:
    """The table's column that a bare name means in a segment: the prediction, a feature, or a tag."""
    if name in (target, "prediction"):
        return "prediction"
    return next((p + name for p in _PREFIXES if p + name in table.column_names), f"tag_{name}")


def infer_kind(column: pa.ChunkedArray) -> str:
    """What a column of the baseline looks like."""
    kind = column.type
    if pa.types.is_timestamp(kind):
        return "time"
    if pa.types.is_boolean(kind) or pa.types.is_dictionary(kind):
        return "category"
    if not (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
        return "number"
    values = pc.unique(pc.drop_null(column))
    spaced = pc.sum(pc.match_substring(values, " ")).as_py() or 0
    return "text" if len(values) > max(20, 0.05 * len(column)) and spaced > len(values) / 2 else "category"


def _of_kind(name: str, source: str, kind: str, table: pa.Table) -> list[Column]:
    if kind == "text":
        words = _vocabulary(table.column(source))
        return [
            _number_column(f"{name}.length", source, "length", table, BINS),
            _number_column(f"{name}.unseen_words", source, "unseen_words", table, BINS, words),
        ]
    if kind == "time":
        return [_number_column(f"{name}.hour", source, "hour", table, BINS)]
    if kind == "number":
        return [_number_column(name, source, "", table, BINS)]
    return [_category_column(name, source, table)]


def _number_column(
    name: str, source: str, derive: str, table: pa.Table, bins: int, words: frozenset[str] = frozenset()
) -> Column:
    values, missing, wrong = numbers(table, source, derive, words)
    finite = values[~(missing | wrong) & np.isfinite(values)]
    if not len(finite):
        return Column(name, source, "number", derive, words=words)
    low, high = _plausible(finite) if name == bare_name(source) and source.startswith("feature_") else _ANYTHING
    edges = tuple(float(e) for e in quantile_edges(finite, bins))
    return Column(name, source, "number", derive, edges=edges, low=low, high=high, words=words)


def _plausible(values: Float32Array) -> tuple[float, float]:
    """The baseline's range and half of it again on either side: a wrong unit or scale leaves it, growth does not.

    A column that was constant has no range: what it does when it begins to move is drift.
    """
    low, high = float(values.min()), float(values.max())
    margin = (high - low) / 2
    return (low - margin, high + margin) if margin else _ANYTHING


def _category_column(name: str, source: str, table: pa.Table) -> Column:
    counts = pc.value_counts(pc.drop_null(text_of(table, source)))
    pairs = sorted((-c["counts"], c["values"]) for c in counts.to_pylist())
    top = tuple(sorted(value for _, value in pairs[:CATEGORIES]))
    known = frozenset(value for _, value in pairs[:KNOWN_VALUES])
    return Column(name, source, "category", "", categories=top, known=known)


def _vocabulary(column: pa.ChunkedArray) -> frozenset[str]:
    """Words of the baseline's texts that occur at least twice: a word used once says nothing about the next text."""
    counts: dict[str, int] = {}
    for word in _words(column):
        counts[word] = counts.get(word, 0) + 1
    often = sorted((w for w, n in counts.items() if n > 1), key=lambda w: (-counts[w], w))
    return frozenset(often[:VOCABULARY])


def _words(column: pa.ChunkedArray) -> Iterator[str]:
    return chain.from_iterable(words_of(t) for t in column.to_pylist() if t)
