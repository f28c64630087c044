"""Segments: named slices of traffic, cut by features, tags or the prediction."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from json import dumps

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from monitors.columns.values import text_of
from monitors.readings import IntArray

ALL = "all"
OTHER = "other"
MISSING = "missing"
MOST_PER_CUT = 50
"""Segments of one cut that are named; the tail goes to `other`."""

_PLAIN = re.compile(r'[^",=\\\x00-\x1f]+')

Encoded = Mapping[str, tuple[IntArray, list[str]]]
"""Columns as codes [n] and the text of each code, by source."""


@dataclass(frozen=True)
class Cut:
    """One way to cut traffic: the columns by name and by source, and the values that have a segment of their own.

    `values` are the segments' value tuples; `first` is the index of this cut's first segment, and the cut's `other`
    segment follows its last value. Values are as `text_of` spells them, so at most a few hundred bytes long.
    """

    names: tuple[str, ...]
    sources: tuple[str, ...]
    values: tuple[tuple[str, ...], ...]
    first: int

    @property
    def other(self) -> int:
        return self.first + len(self.values)

    @property
    def size(self) -> int:
        """How many segments it has, `other` included."""
        return len(self.values) + 1

    def conditions(self) -> list[tuple[str, ...]]:
        """What each segment demands, `channel=web`, and last what the tail is called."""
        named = [conditions_of(self.names, value) for value in self.values]
        return [*named, tuple(f"{_said(n)}={OTHER}" for n in self.names)]

    def segment_names(self) -> list[str]:
        """`intent=returns,channel=web`, …, and last the tail, `intent=other,channel=other`.

        No two are the same: what would read as something else is quoted as in JSON, like a value with a comma, or one
        that is itself `other`.
        """
        return [",".join(conditions) for conditions in self.conditions()]

    @cached_property
    def steps(self) -> list[tuple[dict[str, int], IntArray]]:
        """For each source the number of each value, and where it leads [states, values + 1].

        A state is a beginning of the value tuples, the last one stands for all others; at the end states are segments.
        """
        found = []
        beginnings: list[tuple[str, ...]] = [()]
        for depth in range(1, len(self.sources) + 1):
            longer = list(dict.fromkeys(value[:depth] for value in self.values))
            numbers = {word: i for i, word in enumerate(dict.fromkeys(value[-1] for value in longer))}
            leads = np.full((len(beginnings) + 1, len(numbers) + 1), len(longer), dtype=np.int64)
            places = {beginning: i for i, beginning in enumerate(beginnings)}
            for i, value in enumerate(longer):
                leads[places[value[:-1]], numbers[value[-1]]] = i
            found.append((numbers, leads))
            beginnings = longer
        return found


def conditions_of(names: Sequence[str], values: Sequence[str]) -> tuple[str, ...]:
    """What the segment of these values demands; joined by commas it is its name."""
    return tuple(f"{_said(n)}={_said(v)}" for n, v in zip(names, values, strict=True))


def _said(text: str) -> str:
    """A name or value as part of a segment's name."""
    return text if _PLAIN.fullmatch(text) and text != OTHER else dumps(text, ensure_ascii=False)


def encode(table: pa.Table, source: str) -> tuple[IntArray, list[str]]:
    """A column as codes [n], and the text of each code. A missing value reads `missing`."""
    encoded = pc.dictionary_encode(text_of(table, source)).combine_chunks()
    words = encoded.dictionary.to_pylist()
    if not encoded.null_count:
        return encoded.indices.to_numpy(), words
    if MISSING not in words:
        words.append(MISSING)
    return encoded.indices.fill_null(words.index(MISSING)).to_numpy(), words


def value_tuples(table: pa.Table, sources: Sequence[str]) -> tuple[list[tuple[str, ...]], IntArray]:
    """The distinct value tuples of the rows, and for each row the place of its tuple. A missing value is `missing`."""
    columns = [encode(table, source) for source in sources]
    codes = np.zeros(table.num_rows, dtype=np.int64)
    tuples: list[tuple[str, ...]] = [()]
    for column, words in columns:
        distinct, codes = np.unique(codes * max(len(words), 1) + column, return_inverse=True)
        tuples = [(*tuples[code // len(words)], words[code % len(words)]) for code in distinct.tolist()]
    return tuples, codes.astype(np.int64)


def find_cut(
    table: pa.Table, names: Sequence[str], sources: Sequence[str], first: int, most: int = MOST_PER_CUT
) -> Cut:
    """The cut's segments as the baseline rows show them, the largest first, at most `most`; the tail is `other`."""
    tuples, places = value_tuples(table, sources)
    counts = np.bincount(places, minlength=len(tuples))
    largest = sorted(range(len(tuples)), key=lambda i: (-int(counts[i]), tuples[i]))[:most]
    return Cut(tuple(names), tuple(sources), tuple(sorted(tuples[i] for i in largest)), first)


def assign(table: pa.Table, cut: Cut) -> IntArray:
    """Index of each row's segment in this cut."""
    return place({source: encode(table, source) for source in cut.sources}, cut)


def place(columns: Encoded, cut: Cut) -> IntArray:
    """Index of each row's segment in this cut, from columns that are encoded already."""
    state = np.zeros(1, dtype=np.int64)
    for source, (numbers, leads) in zip(cut.sources, cut.steps, strict=True):
        codes, words = columns[source]
        found = np.asarray([numbers.get(word, len(numbers)) for word in words], dtype=np.int64)
        state = leads.ravel().take(state * leads.shape[1] + found.take(codes))
    return np.asarray(cut.first + state)


def parents(cuts: Sequence[Cut]) -> IntArray:
    """Index of each segment's parent: the segment with one condition less, where it is cut, otherwise `all`.

    A parent holds all rows of its children. So the parent of a tail is `all`: a pair of values without a segment of its
    own may be made of two that have one.

    >>> a = Cut(("intent",), ("prediction",), (("fit",), ("returns",)), 1)
    >>> b = Cut(("intent", "channel"), ("prediction", "tag_channel"), (("fit", "web"),), 4)
    >>> parents([a, b]).tolist()
    [-1, 0, 0, 0, 1, 0]
    """
    named = {frozenset(conditions): cut.first + i for cut in cuts for i, conditions in enumerate(cut.conditions()[:-1])}
    found = np.zeros(1 + sum(cut.size for cut in cuts), dtype=np.int64)
    found[0] = -1
    for cut in cuts:
        for at, conditions in enumerate(cut.conditions()[:-1], start=cut.first):
            shorter = (frozenset(conditions) - {condition} for condition in reversed(conditions))
            found[at] = next((named[some] for some in shorter if some in named), 0)
    return found
