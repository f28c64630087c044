"""Labelled rows as rules see them: which are wrong, and which meet a condition. Columns are read once."""

from collections.abc import Collection
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from monitors.baseline.baselines import Baseline
from monitors.columns.losses import hits, number_errors
from monitors.columns.numeric import Numbers, numbers
from monitors.columns.texts import blocks, split
from monitors.columns.values import has, plain
from monitors.counting.segments import encode
from monitors.counting.slices import slice_starts
from monitors.reading.failures import rules
from monitors.reading.failures.rules import Condition, Rule
from monitors.readings import FloatArray, IntArray

BoolArray = NDArray[np.bool_]
LARGE = 2.0
"""An error of a regression is large from so many times the baseline's mean absolute error on: of normal errors one in
nine is."""


@dataclass(frozen=True, eq=False)
class Texts:
    """The words of n texts as codes into `words`, the row of each beside it."""

    words: list[str]
    codes: IntArray
    rows: IntArray

    def having(self, wanted: Collection[str], rows: int) -> BoolArray:
        """Which of the rows have one of these words."""
        is_wanted = np.fromiter((word in wanted for word in self.words), dtype=bool, count=len(self.words))
        found = np.zeros(rows, dtype=bool)
        if len(self.codes):
            found[self.rows[is_wanted[self.codes]]] = True
        return found


@dataclass(frozen=True, eq=False)
class LabelledRows:
    """A batch of predictions with `prediction` and `label` of one model version, under the version's baseline.

    `faulty` are starts (unix seconds) of slices that are marked as broken.
    """

    table: pa.Table
    baseline: Baseline
    faulty: Collection[int] = ()
    _read: dict[tuple[str, str], Numbers] = field(default_factory=dict, repr=False)
    _words: dict[str, Texts] = field(default_factory=dict, repr=False)
    _codes: dict[str, tuple[IntArray, list[str]]] = field(default_factory=dict, repr=False)

    def __len__(self) -> int:
        return int(self.table.num_rows)

    @property
    def is_regression(self) -> bool:
        return self.baseline.layout.task == "regression"

    @cached_property
    def errors(self) -> FloatArray:
        """Prediction less label of a regression's rows [n]; NaN where one is no number."""
        found, _, usable = number_errors(self.table)
        return np.where(usable, found, np.nan)

    @cached_property
    def limit(self) -> float:
        """From which absolute error on a regression's row counts as wrong."""
        cells, labelled = self.baseline.layout.labelled_cells, self.baseline.labelled[0]
        rows, absolute = (float(cells.read(labelled, name)) for name in ("rows", "absolute"))
        usual = absolute / rows if rows else float(np.nanmean(np.abs(self.errors))) if len(self) else 0.0
        return LARGE * usual

    @cached_property
    def wrong(self) -> BoolArray:
        """Which rows are errors [n]: another label than predicted; a regression's error above the `limit`."""
        return np.asarray(np.abs(self.errors) > self.limit) if self.is_regression else ~hits(self.table)

    def codes(self, source: str) -> tuple[IntArray, list[str]]:
        """A column as codes [n] of its values, and these in order: no tie is settled by the order of the rows."""
        if source not in self._codes:
            self._codes[source] = _in_order(*encode(self.table, source))
        return self._codes[source]

    def numbers(self, source: str, derive: str = "") -> Numbers:
        """A column as numbers, which are missing, and which are unreadable."""
        if (source, derive) not in self._read:
            self._read[source, derive] = _joint(self) if derive == "joint" else numbers(self.table, source, derive)
        return self._read[source, derive]

    def words(self, source: str) -> Texts:
        """The words of a column of texts."""
        if source not in self._words:
            self._words[source] = _texts(_as_texts(self.table, source))
        return self._words[source]

    def meets(self, condition: Condition) -> BoolArray:
        """Which rows meet a condition [n]; a column that is not there is missing in every row."""
        source = condition.source
        match condition.test:
            case rules.IS | rules.NEW_VALUES:
                codes, words = self.codes(source)
                wanted = set(condition.values)
                return np.fromiter((word in wanted for word in words), dtype=bool, count=len(words))[codes]
            case rules.WORD | rules.NEW_WORDS:
                return self.words(source).having(set(condition.values), len(self))
            case rules.MISSING:
                return _blank(self.table, source)
            case rules.FAULTY:
                starts = slice_starts(self.table.column("timestamp"), self.baseline.slice_seconds)
                return np.isin(starts, list(self.faulty))
            case _:
                values, missing, unreadable = self.numbers(source, condition.derive)
                if condition.test == rules.UNREADABLE:
                    return unreadable
                low = -np.inf if condition.low is None else condition.low
                high = np.inf if condition.high is None else condition.high
                return np.asarray(~(missing | unreadable) & (values >= low) & (values < high))

    def scope(self, rule: Rule) -> BoolArray:
        """The rows [n] in which an error of the rule can happen: its place, and for a confusion what was predicted."""
        met = np.ones(len(self), dtype=bool)
        for condition in rule.where:
            met &= self.meets(condition)
        return met & self._said("prediction", rule.predicted) if rule.actual is not None else met

    def event(self, rule: Rule) -> BoolArray:
        """What must happen there for it to be an error of the rule [n]."""
        if rule.actual is not None:
            return self.wrong & self._said("label", rule.actual)
        if rule.is_confusion:
            above = self.errors > 0
            return self.wrong & (above if rule.predicted == rules.HIGH else ~above)
        return self.wrong

    def matches(self, rule: Rule) -> BoolArray:
        """The errors that the rule describes [n]."""
        return self.scope(rule) & self.event(rule)

    def _said(self, source: str, value: str | None) -> BoolArray:
        codes, words = self.codes(source)
        return np.asarray(codes == (words.index(value) if value in words else -1))


def _joint(rows: LabelledRows) -> Numbers:
    """How unusual the columns of each row are together; missing where the baseline knows no such thing."""
    layout, nowhere = rows.baseline.layout, np.zeros(len(rows), dtype=bool)
    if layout.joint is None:
        return np.zeros(len(rows), dtype=np.float32), ~nowhere, nowhere
    wanted = set(layout.joint.columns)
    cells = {column.name: column.cells(rows.table) for column in layout.columns if column.name in wanted}
    return layout.joint.values(cells), nowhere, nowhere


def _blank(table: pa.Table, source: str) -> BoolArray:
    if not has(table, source):
        return np.ones(table.num_rows, dtype=bool)
    column = table.column(source)
    missing = np.asarray(column.is_null(nan_is_null=True).to_numpy(), dtype=bool)
    if pa.types.is_string(column.type):
        blank = pc.equal(pc.utf8_length(pc.utf8_trim_whitespace(column)), 0)
        missing = missing | np.asarray(pc.fill_null(blank, True).to_numpy(), dtype=bool)
    return missing


def _as_texts(table: pa.Table, source: str) -> pa.ChunkedArray:
    """A column of texts in full; all null where it is none."""
    nothing = pa.chunked_array([pa.nulls(table.num_rows, pa.string())])
    try:
        return pc.cast(plain(table.column(source)), pa.string()) if has(table, source) else nothing
    except pa.ArrowException:  # lists, bytes that are no text
        return nothing


def _texts(texts: pa.ChunkedArray) -> Texts:
    """The words of texts of any length: those of a block after those of the one before, numbered together."""
    found, rows, before = [], [], 0
    for block in blocks(texts):
        words = split(block)
        found.append(words.words)
        rows.append(np.repeat(np.arange(before, before + len(block)), np.diff(words.offsets)))
        before += len(block)
    if not found:
        return Texts([], np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64))
    encoded = pa.chunked_array(found, pa.string()).combine_chunks().dictionary_encode()
    codes, named = _in_order(np.asarray(encoded.indices.to_numpy(), dtype=np.int64), encoded.dictionary.to_pylist())
    return Texts(named, codes, np.concatenate(rows))


def _in_order(codes: IntArray, words: list[str]) -> tuple[IntArray, list[str]]:
    order = sorted(range(len(words)), key=words.__getitem__)
    places = np.zeros(len(words), dtype=np.int64)
    places[order] = np.arange(len(words))
    return places[codes], [words[i] for i in order]
