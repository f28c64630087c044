"""Categories: a model's labelled errors, each in exactly one, with how many, where, how surely and since when."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from monitors.baseline.baselines import Baseline
from monitors.columns.kinds import bare_name
from monitors.columns.values import has, text_of
from monitors.counting.slices import slice_starts
from monitors.reading.failures import rules
from monitors.reading.failures.conditions import words_of
from monitors.reading.failures.finding import rules_found
from monitors.reading.failures.rules import OTHER_RULE, Rule
from monitors.reading.failures.search import FEWEST, Found
from monitors.reading.failures.sight import BoolArray, LabelledRows
from monitors.readings import FloatArray, IntArray
from monitors.statistics.trend import trend_z

EXAMPLES, _FIELDS, _LETTERS, _WORDS = 10, 8, 120, 10
_PERIODS = 60


@dataclass(frozen=True)
class Category:
    """One of them. `errors` belong to it, so many of its `scope`: the rows in which such an error could happen.

    `share` is of all errors. `inside` is the rate of such errors in the scope and `outside` that in all other rows, NaN
    where there are none, or the rule names no place. `basis` says why it is one: `evidence` (more than chance, by
    `evidence_ln`), `fact` (a broken slice, a label never learnt), `usual` (a large part of the errors, but no more than
    chance or the baseline give) or `rest`. `counts` are errors by period, as `Failures.periods`, and `z` how their
    share of the rows rises. `words` are the new words or values that carry it. `outcome` is the mean outcome of its
    errors, of `with_outcome` of them; NaN without.
    """

    rule: Rule
    errors: int
    share: float
    scope: int
    inside: float
    outside: float
    expected: float
    basis: str
    evidence_ln: float | None
    counts: tuple[int, ...]
    z: float
    words: tuple[str, ...]
    examples: tuple[Mapping[str, str], ...]
    outcome: float
    with_outcome: int


@dataclass(frozen=True)
class Failures:
    """All errors of some labelled rows: `categories` in the order in which an error is given to the first it fits.

    `periods` are starts in unix seconds, `period_seconds` apart, with `rows_by_period` labelled rows. `limit` is the
    size from which a regression's error counts, 0 for classes. `outcome_right` is the mean outcome of rows without an
    error, `outcome_wrong` that of all errors; NaN without outcomes.
    """

    rows: int
    errors: int
    limit: float
    categories: tuple[Category, ...]
    periods: tuple[int, ...]
    period_seconds: int
    rows_by_period: tuple[int, ...]
    outcome_right: float
    outcome_wrong: float


def find_failures(
    table: pa.Table,
    baseline: Baseline,
    *,
    faulty: Collection[int] = (),
    known: Sequence[Rule] = (),
    outcome: FloatArray | None = None,
) -> Failures:
    """The categories of a batch's errors; none where nothing is wrong.

    First what is a fact: errors in slices with a broken feed, and labels that the model never learnt. Then what
    `search` finds beyond chance. Then confusions that have risen above the baseline's, and those that are a large part
    of the errors without having risen. What then is left is `other`. So every error is in exactly one category.

    Args:
        table: predictions of one version with `label`, in any order.
        baseline: of that version.
        faulty: starts (unix seconds) of slices marked as broken.
        known: rules that people know by name; a category with nearly the same errors goes on under theirs.
        outcome: of each row [n], NaN where there is none.

    >>> import numpy as np, pyarrow as pa
    >>> from monitors.baseline.baselines import build
    >>> rng, n = np.random.default_rng(0), 4000
    >>> said, channel = rng.choice(["fit", "returns"], n), rng.choice(["app", "web"], n)
    >>> is_wrong = rng.random(n) < np.where(channel == "web", 0.2, 0.02)
    >>> labels = np.where(is_wrong & (np.arange(n) >= 2000), np.where(said == "fit", "returns", "fit"), said)
    >>> times = pa.array(np.arange(n) * 60_000_000, pa.timestamp("us", "UTC"))
    >>> columns = {"timestamp": times, "prediction": said, "label": labels, "feature_channel": channel}
    >>> rows = pa.table({"prediction_id": [f"p{i}" for i in range(n)]} | columns)
    >>> baseline = build(rows[:2000], model="shop", version="1", cuts=[], task="classification")
    >>> [each.rule.name for each in find_failures(rows[2000:], baseline).categories]
    ['in channel=web', 'all other errors']
    """
    rows = LabelledRows(table, baseline, faulty)
    found = rules_found(rows, known) if rows.wrong.any() else []
    place = _places(rows, [each.rule for each in found])
    periods, seconds, of_row = _periods(rows)
    every = [each for each in enumerate(found) if (place == each[0]).any()]
    by_period = np.bincount(of_row, minlength=len(periods))
    values = np.full(len(rows), np.nan) if outcome is None else outcome
    return Failures(
        rows=len(rows),
        errors=int(rows.wrong.sum()),
        limit=rows.limit if rows.is_regression else 0.0,
        categories=tuple(_category(rows, each, place == i, of_row, by_period, values) for i, each in every),
        periods=periods,
        period_seconds=seconds,
        rows_by_period=tuple(by_period.tolist()),
        outcome_right=_mean(values[~rows.wrong]),
        outcome_wrong=_mean(values[rows.wrong]),
    )


def assign(categories: Sequence[Rule], table: pa.Table, baseline: Baseline, faulty: Collection[int] = ()) -> list[str]:
    """The id of the category of each row's error: the first rule that it fits; empty where the row is no error.

    An error that no rule fits is `other`'s. `table` holds `prediction` and `label`; `baseline` is the one by which
    large errors and unusual rows are told: the champion's for both, when champion and challenger are compared.
    """
    rows = LabelledRows(table, baseline, faulty)
    ids = [*(each.id for each in categories), OTHER_RULE.id, ""]
    place = _places(rows, [*categories, OTHER_RULE])
    return [ids[i] for i in place.tolist()]


def _places(rows: LabelledRows, every: Sequence[Rule]) -> IntArray:
    """The place of the rule of each row's error [n]; -1 where it is no error."""
    place = np.full(len(rows), -1, dtype=np.int64)
    for i, rule in enumerate(every):
        place[(place < 0) & rows.matches(rule)] = i
    return place


def _category(
    rows: LabelledRows, found: Found, own: BoolArray, of_row: IntArray, by_period: IntArray, outcome: FloatArray
) -> Category:
    rule = found.rule
    scope, event = rows.scope(rule), rows.event(rule)
    counts = np.bincount(of_row[own], minlength=len(by_period))
    named = [each for each in rule.where if each.test in {rules.NEW_WORDS, rules.NEW_VALUES}]
    known = own & np.isfinite(outcome)
    return Category(
        rule=rule,
        errors=int(own.sum()),
        share=float(own.sum() / rows.wrong.sum()),
        scope=int(scope.sum()),
        inside=_mean(event[scope]),
        outside=_mean(event[~scope]) if rule.where else float("nan"),
        expected=found.expected,
        basis=found.basis,
        evidence_ln=found.evidence_ln,
        counts=tuple(counts.tolist()),
        z=trend_z(counts.astype(np.float64), by_period.astype(np.float64)),
        words=tuple(word for each in named for word in words_of(rows, each, own, FEWEST // 2, _WORDS)),
        examples=_examples(rows, rule, own),
        outcome=_mean(outcome[own]),
        with_outcome=int(known.sum()),
    )


def _periods(rows: LabelledRows) -> tuple[tuple[int, ...], int, IntArray]:
    """Starts of at most `_PERIODS` equal periods that hold all rows, their length, and the place of each row's.

    A slice, or days, or weeks, whichever is the shortest that is enough.
    """
    starts = slice_starts(rows.table.column("timestamp"), 1)
    if not len(starts):
        return (), rows.baseline.slice_seconds, starts
    first, last, seconds = int(starts.min()), int(starts.max()), rows.baseline.slice_seconds
    for longer in (86_400, 7 * 86_400, 28 * 86_400, 365 * 86_400):
        if last // seconds - first // seconds >= _PERIODS and longer > seconds:
            seconds = longer
    begin = first // seconds
    periods = tuple(at * seconds for at in range(begin, last // seconds + 1))
    return periods, seconds, np.asarray(starts // seconds - begin, dtype=np.int64)


def _examples(rows: LabelledRows, rule: Rule, own: BoolArray) -> tuple[Mapping[str, str], ...]:
    """The newest errors: their ids, what was predicted and right, and of the columns that the baseline counts a few.

    What the policy ignores is not among these.
    """
    times = slice_starts(rows.table.column("timestamp"), 1)
    newest = np.flatnonzero(own)[np.argsort(-times[own], kind="stable")[:EXAMPLES]]
    part, layout = rows.table.take(newest), rows.baseline.layout
    sources = [
        *(each.source for each in rule.where),
        *(each.source for each in layout.columns),
        *(source for cut in layout.cuts for source in cut.sources),
    ]
    fields = [each for each in dict.fromkeys(sources) if each.startswith(("feature_", "tag_"))]
    wanted = [each for each in ("prediction_id", "prediction", "label", *fields) if has(part, each)]
    columns = {bare_name(each): _told(part, each) for each in wanted[: 3 + _FIELDS]}
    return tuple(
        {name: value[:_LETTERS] for name, values in columns.items() if (value := values[i]) is not None}
        for i in range(len(newest))
    )


def _told(table: pa.Table, source: str) -> list[str | None]:
    column = table.column(source)
    if pa.types.is_floating(column.type):
        return [None if value is None else f"{value:.6g}" for value in column.to_pylist()]
    found: list[str | None] = text_of(table, source).to_pylist()
    return found


def _mean(values: FloatArray | BoolArray) -> float:
    there = values[np.isfinite(values)]
    return float(there.mean()) if len(there) else float("nan")
