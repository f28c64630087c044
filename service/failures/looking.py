"""Looking: the newest labelled rows of a model, sorted into categories, when enough of them are new."""

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from math import isfinite

import numpy as np
import pyarrow as pa

from monitors.baseline.baselines import Baseline
from monitors.counting.slices import slice_starts
from monitors.reading.failures.categories import Category, Failures, find_failures
from monitors.reading.failures.rules import Rule, from_plain, to_plain
from monitors.reading.failures.sight import BoolArray, LabelledRows
from monitors.readings import FloatArray, IntArray
from policies.failures import ACCEPTED, FIXED, Tally, severity_of, trend_of
from policies.file.policy import Policy
from service.failures.book import MOST_KNOWN, Book
from service.failures.proving import followed, state_of
from service.failures.records import Known, Look, Said, Seen
from service.house import House
from service.intake.joining.outcomes import said as outcome_said

_log = logging.getLogger(__name__)
MOST_ROWS = 20_000
"""The newest labelled rows of the champion are looked at: with 20 features a quarter of a second of one processor."""
EVERY = timedelta(hours=1)
MANY_LABELS = 2_000
"""After so many new labels the next look does not wait."""
_LATEST = datetime(9000, 1, 1, tzinfo=UTC)


def look_if_due(house: House, policy: Policy) -> Look | None:
    """A new look at a model's errors where one is due; None where none is.

    Due are: a first one once labels came, and one after each release; one where somebody said that something was fixed;
    else one an hour while labels come, and one at once after `MANY_LABELS`.

    Raises:
        ArchiveAway, StoreAway: rows or the store cannot be read now.
    """
    champion = house.ledger.champion(policy.model)
    baseline = house.ledger.baseline(policy.model, champion) if champion else None
    if baseline is None:
        return None
    book, labels = Book(house.store, policy.model), int(house.cells.total_labelled(baseline)[0, 0])
    return look(house, policy, baseline, labels) if _is_due(book, champion, labels, house.clock()) else None


def look(house: House, policy: Policy, baseline: Baseline, labels: int) -> Look:
    """A look at a model's errors now, kept in its book; `labels` is how many there are in all."""
    book, now = Book(house.store, policy.model), house.clock()
    known, said = book.known(), book.said()
    table = newest_rows(house, policy, baseline)
    rows = LabelledRows(table, baseline, house.ledger.faulty_slices(policy.model))
    living = [from_plain(each.rule) for each in known.values()]
    found = find_failures(
        table, baseline, faulty=rows.faulty, known=living, outcome=_outcomes(table, policy.task.outcome)
    )
    looked = _looked(found, table, Look(policy.model, baseline.version, now, labels))
    counting = _Counting(rows, slice_starts(table.column("timestamp"), 1))
    released_at = _released_at(house, policy.model, baseline.version)
    after = [
        followed(each, said.get(each.id), baseline.version, released_at, counting.of(from_plain(each.rule)), now)
        for each in _listed(found, known, counting, now)
    ]
    for each in after:
        if each.decided_at == now:
            _log.info("%s: failure category %s (%s): %s", policy.model, each.id, each.name, each.text)
    book.keep(looked, _most_needed(after, said, {each.id for each in looked.categories}))
    return looked


def newest_rows(house: House, policy: Policy, baseline: Baseline) -> pa.Table:
    """The newest labelled rows of a version, at most `MOST_ROWS`, in order of time, without what the policy ignores."""
    labelled = house.cells.load_labelled(baseline)
    since, rows = int(house.clock().timestamp()), 0.0
    for start in sorted(labelled, reverse=True):
        if rows < MOST_ROWS:
            since, rows = min(since, start), rows + labelled[start][0, 0]
    found = house.archive.labelled(policy.model, datetime.fromtimestamp(since, UTC), _LATEST, baseline.version)
    ignored = [f"feature_{name}" for name, kind in policy.column_kinds().items() if kind == "ignore"]
    found = found.drop_columns([name for name in ignored if name in found.column_names])
    return found.slice(max(0, found.num_rows - MOST_ROWS))


def _looked(found: Failures, table: pa.Table, look: Look) -> Look:
    return replace(
        look,
        rows=found.rows,
        errors=found.errors,
        limit=found.limit,
        since=_moment(table, 0),
        until=_moment(table, -1),
        categories=tuple(_seen(each, found) for each in found.categories),
        periods=found.periods,
        period_seconds=found.period_seconds,
        rows_by_period=found.rows_by_period,
    )


@dataclass(frozen=True, eq=False)
class _Counting:
    """Counts errors of rules among the rows of a look, by time [n] in unix seconds."""

    rows: LabelledRows
    times: IntArray

    def of(self, rule: Rule) -> "_Errors":
        return _Errors(self.rows.matches(rule), self.times, self.rows.baseline.version)


@dataclass(frozen=True, eq=False)
class _Errors:
    is_error: BoolArray
    times: IntArray
    version: str

    def __call__(self, since: datetime | None, until: datetime | None, newest: int | None) -> Tally:
        inside = np.ones(len(self.times), dtype=bool)
        if since is not None:
            inside &= self.times >= since.timestamp()
        if until is not None:
            inside &= self.times < until.timestamp()
        places = np.flatnonzero(inside)[-newest if newest else None :]
        return Tally(self.version, int(self.is_error[places].sum()), len(places))


def _is_due(book: Book, version: str, labels: int, now: datetime) -> bool:
    last = book.look()
    if last.at is None:
        return labels > 0
    if last.version != version:
        return True
    if any(each.state_at is not None and each.state_at > last.at for each in book.said().values()):
        return True
    return labels > last.labels and (labels >= last.labels + MANY_LABELS or now >= last.at + EVERY)


def _listed(found: Failures, known: Mapping[str, Known], counting: _Counting, now: datetime) -> list[Known]:
    """What was known before and what was found now, each once; `other` has no story."""
    listed = dict(known)
    for category in found.categories:
        rule = category.rule
        if rule.kind == "other":
            continue
        before, version = known.get(rule.id), counting.rows.baseline.version
        plain = to_plain(rule)
        listed[rule.id] = (
            replace(before, name=rule.name, rule=plain, last_seen=now)
            if before
            else Known(rule.id, rule.name, plain, now, now, version, counting.of(rule)(None, None, None))
        )
    return list(listed.values())


def _most_needed(known: Iterable[Known], said: Mapping[str, Said], seen: set[str]) -> list[Known]:
    """At most `MOST_KNOWN`: those seen now, those that somebody works on, then those seen last."""

    def weight(each: Known) -> tuple[bool, bool, datetime]:
        is_worked_on = each.id in said and state_of(each, said[each.id]) not in {FIXED, ACCEPTED}
        return each.id in seen, is_worked_on, each.last_seen

    return sorted(known, key=weight, reverse=True)[:MOST_KNOWN]


def _seen(category: Category, found: Failures) -> Seen:
    rule = category.rule
    return Seen(
        id=rule.id,
        name=rule.name,
        kind=rule.kind,
        basis=category.basis,
        errors=category.errors,
        share=category.share,
        scope=category.scope,
        inside=_number(category.inside),
        outside=_number(category.outside),
        expected=category.expected,
        evidence_ln=category.evidence_ln,
        trend=trend_of(category.z),
        severity=severity_of(category.outcome, category.with_outcome, found.outcome_right, found.outcome_wrong),
        counts=category.counts,
        words=category.words,
        examples=category.examples,
    )


def _outcomes(rows: pa.Table, field: str | None) -> FloatArray | None:
    """What each row's outcome says as a number, NaN where it says none; None where the policy names no outcome."""
    if not field:
        return None
    told = (outcome_said(text, field) if text else None for text in rows.column("outcome").to_pylist())
    return np.array([value if isinstance(value, float) else np.nan for value in told], dtype=np.float64)


def _released_at(house: House, model: str, version: str) -> datetime | None:
    return next((each.at for each in reversed(house.ledger.releases(model)) if each.version == version), None)


def _moment(rows: pa.Table, place: int) -> datetime | None:
    found: datetime | None = rows.column("timestamp")[place].as_py() if rows.num_rows else None
    return found


def _number(value: float) -> float | None:
    return value if isfinite(value) else None
