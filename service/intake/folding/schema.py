"""What is unusual about the columns of rows, against the baseline of their version.

unknown     the rows have a feature that the baseline does not count
missing     the baseline has a column, and none of the rows
type        none of a column's values can be read as what the baseline counted
segment     a value of a cut that has no segment of its own in the baseline
unmeasured  the version has no baseline: nothing of its rows is counted

Read once for all rows of the same columns and version, from what the fold has counted already; only rows in the tail of
a cut are looked at again, for their names.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import numpy as np
import pyarrow as pa

from monitors.baseline.baselines import Baseline
from monitors.columns.kinds import bare_name
from monitors.columns.values import short
from monitors.counting.layouts import Layout
from monitors.counting.segments import MISSING as NO_VALUE
from monitors.counting.segments import Cut, Encoded, conditions_of, encode
from monitors.readings import FloatArray, IntArray
from service.intake.folding.expected import Expected

UNKNOWN, MISSING, TYPE, SEGMENT, UNMEASURED = "unknown", "missing", "type", "segment", "unmeasured"
KINDS = (UNKNOWN, MISSING, TYPE)
"""Those about columns."""
CHANCE = 1e-6
"""A column that some rows of the baseline lack is missing where so many rows without it come by chance this rarely."""
NAMES_KEPT = 50
"""Names of one batch's new segments; the rest has none."""

_MOST_PLACES = 1 << 62


@dataclass(frozen=True)
class Fact:
    """`rows` of one batch are of a `kind`: `name` is the column's, the segment's or the version's (empty: all others).

    `form` is what came where the kind is type; `group` the tail that a segment fell into.
    """

    kind: str
    name: str
    rows: int
    form: str = ""
    group: str = ""


class Schema:
    """Compares rows with baselines; remembers what each of these says."""

    def __init__(self) -> None:
        self._expected: WeakKeyDictionary[Baseline, Expected] = WeakKeyDictionary()

    def compare(self, baseline: Baseline, table: pa.Table, counts: Mapping[int, FloatArray]) -> list[Fact]:
        """What is unusual about the rows, all under the same columns; `counts` is what `fold` made of them."""
        expected = self._expected.get(baseline)
        if expected is None:
            expected = self._expected[baseline] = Expected.of(baseline)
        profiles = list(counts.values())
        of_all = np.sum([profile[0] for profile in profiles], axis=0)
        return [
            *_unknown(expected, table),
            *_counted(expected, table, of_all),
            *_tags(expected, table),
            *_segments(baseline.layout, table, profiles),
        ]


def heaviest(rows: Mapping[str, int], most: int) -> dict[str, int]:
    """At most so many names with their rows, each less by at most rows / (most + 1); the rest is under the empty name.

    Summaries of parts may be added and cut again, and the bound holds (Misra & Gries 1982; Agarwal et al. 2013,
    Mergeable summaries). So one who invents names drives out no name that has many rows.

    >>> heaviest({"web": 90, "app": 8, "x1": 1, "x2": 1}, 2)
    {'web': 89, 'app': 7, '': 4}
    """
    named = {name: n for name, n in rows.items() if name}
    if len(named) <= most:
        return dict(rows)
    floor = sorted(named.values(), reverse=True)[most]
    kept = {name: n - floor for name, n in named.items() if n > floor}
    return {**kept, "": sum(rows.values()) - sum(kept.values())}


def form_of(kind: pa.DataType) -> str:
    """What values of an Arrow type are called.

    >>> form_of(pa.string()), form_of(pa.float64()), form_of(pa.list_(pa.float32()))
    ('text', 'number', 'list')
    """
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return "text"
    if pa.types.is_boolean(kind):
        return "boolean"
    if pa.types.is_timestamp(kind):
        return "time"
    return "list" if pa.types.is_nested(kind) else "number"


def _unknown(expected: Expected, table: pa.Table) -> Iterator[Fact]:
    for index, source in enumerate(table.schema.names):
        # Of tags and scores the baseline keeps only those it uses, so that it cannot know the others.
        if source.startswith("feature_") and source not in expected.known:
            there = table.num_rows - table.column(index).null_count
            if there:
                yield Fact(UNKNOWN, short(bare_name(source)), there, form_of(table.column(index).type))


def _counted(expected: Expected, table: pa.Table, of_all: FloatArray) -> Iterator[Fact]:
    missing = of_all[expected.missing]
    there = table.num_rows - missing
    is_gone = (there == 0) & (expected.lacked**table.num_rows < CHANCE)
    is_misread = (there > 0) & (of_all[expected.wrong] == there) & (expected.misread**there < CHANCE)
    for index in np.flatnonzero(is_gone).tolist():
        yield Fact(MISSING, bare_name(expected.sources[index]), table.num_rows)
    for index, source in enumerate(expected.sources):
        if there[index] and (is_misread[index] or source in expected.forms):
            form = form_of(table.column(source).type)
            if is_misread[index] or form not in expected.forms[source]:
                yield Fact(TYPE, bare_name(source), int(there[index]), form)


def _tags(expected: Expected, table: pa.Table) -> Iterator[Fact]:
    for source, lacked in expected.tags.items():
        index = table.schema.get_field_index(source)
        is_there = index >= 0 and table.column(index).null_count < table.num_rows
        if not is_there and lacked**table.num_rows < CHANCE:
            yield Fact(MISSING, bare_name(source), table.num_rows)


def _segments(layout: Layout, table: pa.Table, profiles: list[FloatArray]) -> Iterator[Fact]:
    encoded: dict[str, tuple[IntArray, list[str]]] = {}
    for cut in layout.cuts:
        if any(profile[cut.other, 0] for profile in profiles):
            encoded |= {source: encode(table, source) for source in cut.sources if source not in encoded}
            tail = ",".join(cut.conditions()[-1])
            for name, rows in heaviest(_tail_names(cut, encoded), NAMES_KEPT).items():
                yield Fact(SEGMENT, name, rows, group=tail)


def _tail_names(cut: Cut, encoded: Encoded) -> dict[str, int]:
    columns = [encoded[source] for source in cut.sources]
    size = math.prod(len(words) for _, words in columns)
    if size >= _MOST_PLACES:
        return {}  # beyond 64 bits, and of no use to anybody
    places = np.zeros(1, dtype=np.int64)
    for codes, words in columns:
        places = places * len(words) + codes
    if size < len(places):
        rows = np.bincount(places)
        found = np.flatnonzero(rows)
        rows = rows[found]
    else:
        found, rows = np.unique(places, return_counts=True)
    named, names = set(cut.values), {}
    for place, count in zip(found.tolist(), rows.tolist(), strict=True):
        value = _value_at(place, [words for _, words in columns])
        # A value that is not there is no new segment.
        if value not in named and NO_VALUE not in value:
            names[",".join(conditions_of(cut.names, value))] = count
    return names


def _value_at(place: int, words: list[list[str]]) -> tuple[str, ...]:
    value = []
    for known in reversed(words):
        place, code = divmod(place, len(known))
        value.append(known[code])
    return tuple(reversed(value))
