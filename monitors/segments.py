"""Segments: named slices of traffic, cut by features, tags or the prediction."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from monitors.readings import IntArray

ALL = "all"
OTHER = "other"
MOST_PER_CUT = 50
"""Segments of one cut that are named; the tail goes to `other`."""


@dataclass(frozen=True)
class Cut:
    """One way to cut traffic: the columns by name and by source, and the values that have a segment of their own.

    `values` are the segments' value tuples; `first` is the index of this cut's first segment, and the cut's `other`
    segment follows its last value.
    """

    names: tuple[str, ...]
    sources: tuple[str, ...]
    values: tuple[tuple[str, ...], ...]
    first: int
    index: Mapping[tuple[str, ...], int] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        places = {value: self.first + i for i, value in enumerate(self.values)}
        object.__setattr__(self, "index", places)

    @property
    def other(self) -> int:
        return self.first + len(self.values)

    def segment_names(self) -> list[str]:
        """`intent=returns,channel=web`, …, and last the tail."""
        named = [",".join(f"{n}={v}" for n, v in zip(self.names, value, strict=True)) for value in self.values]
        return [*named, ",".join(f"{n}={OTHER}" for n in self.names)]


def text_of(table: pa.Table, source: str) -> pa.ChunkedArray:
    """A column as strings for cutting; a column that is not there is all null."""
    if source not in table.column_names:
        return pa.chunked_array([pa.nulls(table.num_rows, pa.string())])
    column = table.column(source)
    if pa.types.is_dictionary(column.type):
        column = pc.cast(column, column.type.value_type)
    if pa.types.is_integer(column.type):
        column = pc.cast(column, pa.float64())
    return pc.cast(column, pa.string())


def value_tuples(table: pa.Table, sources: Sequence[str]) -> tuple[list[tuple[str, ...]], IntArray]:
    """The distinct value tuples of the rows, and for each row the place of its tuple. A missing value is `missing`."""
    codes = np.zeros(table.num_rows, dtype=np.int64)
    dictionaries = []
    for source in sources:
        encoded = pc.dictionary_encode(pc.fill_null(text_of(table, source), "missing")).combine_chunks()
        words = encoded.dictionary.to_pylist()
        codes = codes * max(len(words), 1) + encoded.indices.to_numpy()
        dictionaries.append(words)
    distinct, places = np.unique(codes, return_inverse=True)
    tuples = []
    for code in distinct.tolist():
        value: list[str] = []
        rest = code
        for words in reversed(dictionaries):
            rest, at = divmod(rest, len(words))
            value.append(words[at])
        tuples.append(tuple(reversed(value)))
    return tuples, places.astype(np.int64)


def find_cut(table: pa.Table, names: Sequence[str], sources: Sequence[str], first: int) -> Cut:
    """The cut's segments as the baseline rows show them, the largest first, at most `MOST_PER_CUT`."""
    tuples, places = value_tuples(table, sources)
    counts = np.bincount(places, minlength=len(tuples))
    largest = sorted(range(len(tuples)), key=lambda i: (-int(counts[i]), tuples[i]))[:MOST_PER_CUT]
    return Cut(tuple(names), tuple(sources), tuple(sorted(tuples[i] for i in largest)), first)


def assign(table: pa.Table, cut: Cut) -> IntArray:
    """Index of each row's segment in this cut."""
    tuples, places = value_tuples(table, cut.sources)
    numbers = np.asarray([cut.index.get(value, cut.other) for value in tuples], dtype=np.int64)
    return numbers[places] if len(tuples) else places


def new_values(table: pa.Table, cut: Cut) -> dict[tuple[str, ...], int]:
    """Values of this cut without a segment of their own in the baseline, with their rows."""
    tuples, places = value_tuples(table, cut.sources)
    counts = np.bincount(places, minlength=len(tuples))
    return {value: int(n) for value, n in zip(tuples, counts, strict=True) if value not in cut.index}


def parents(cuts: Sequence[Cut], segments: Sequence[str]) -> IntArray:
    """Index of each segment's parent: the segment with one condition less, where it is cut, otherwise `all`.

    >>> a = Cut(("intent",), ("prediction",), (("fit",), ("returns",)), 1)
    >>> b = Cut(("intent", "channel"), ("prediction", "tag_channel"), (("fit", "web"),), 4)
    >>> parents([a, b], [ALL, *a.segment_names(), *b.segment_names()]).tolist()
    [-1, 0, 0, 0, 1, 3]
    """
    places = {name: i for i, name in enumerate(segments)}
    found = np.zeros(len(segments), dtype=np.int64)
    found[0] = -1
    for cut in cuts:
        for at, name in enumerate(cut.segment_names(), start=cut.first):
            conditions = name.split(",")
            shorter = (",".join(conditions[:i] + conditions[i + 1 :]) for i in reversed(range(len(conditions))))
            found[at] = next((places[s] for s in shorter if s in places), 0)
    return found
