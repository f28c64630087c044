"""Failure categories, decided: what comes first, whether one was fixed, and what state it is in."""

from dataclasses import dataclass
from math import ceil, isfinite, isnan
from typing import Literal

from monitors.statistics.excess import rise_ln

State = Literal["open", "acknowledged", "being_fixed", "fixed", "accepted"]
OPEN, ACKNOWLEDGED, BEING_FIXED, FIXED, ACCEPTED = STATES = ("open", "acknowledged", "being_fixed", "fixed", "accepted")

Trend = Literal["rising", "steady", "falling"]
TREND_FACTORS = {"rising": 2.0, "steady": 1.0, "falling": 0.5}
TREND_Z = 2.576
"""From so many standard errors on a share rises or falls: one in a hundred does so by chance."""
LEAST_SEVERITY, MOST_SEVERITY = 0.1, 10.0
USUAL_ROWS = 20
"""Errors of usual cost that each category's own errors are averaged with: a few outcomes say little."""

FIXED_PART = 0.5
"""A category is fixed where at most this part of its former rate is left."""
BACK_PART = 0.75
"""One that was fixed has come back where at least this part of its former rate is there again."""
ENOUGH_EXPECTED = 20.0
"""Labels are enough once the former rate would have given so many errors among them."""
CONVINCING_LN = 4.6
"""Evidence for a fix: a chance of at most 1 in 100 that the rate is what it was."""

Answer = Literal["fixed", "not_fixed", "not_enough_labels"]
ANSWERS: tuple[Answer, ...] = ("fixed", "not_fixed", "not_enough_labels")


@dataclass(frozen=True)
class Tally:
    """Errors of a category among labelled rows of a version."""

    version: str
    errors: int
    rows: int

    @property
    def rate(self) -> float:
        return self.errors / self.rows if self.rows else 0.0


@dataclass(frozen=True)
class Proof:
    """What counts say of a fix: the category `before` and `after`, and how many labels more would settle it."""

    answer: Answer
    before: Tally
    after: Tally
    labels_needed: int = 0

    @property
    def text(self) -> str:
        """It in words."""
        counts = (
            f"{self.after.errors:,} errors in {self.after.rows:,} labelled rows of version {self.after.version}, after "
            f"{self.before.errors:,} in {self.before.rows:,} of version {self.before.version}"
        )
        more = f"; about {self.labels_needed:,} more labels would tell" if self.labels_needed else ""
        said = {"fixed": "fixed", "not_fixed": "not fixed", "not_enough_labels": "not enough labels yet"}
        return f"{said[self.answer]}: {counts}{more}"


def prove(before: Tally, after: Tally) -> Proof:
    """Whether a category was fixed between two tallies of its errors.

    Fixed: the rate fell to `FIXED_PART` or less, with evidence of `CONVINCING_LN` that it fell (`rise_ln` of the rows
    before against those after). Not fixed: it did not fall so far. Neither is said before the former rate would have
    given `ENOUGH_EXPECTED` errors, or while a low rate may still be chance.

    >>> prove(Tally("1", 100, 1000), Tally("2", 10, 400)).answer
    'fixed'
    >>> proof = prove(Tally("1", 100, 1000), Tally("2", 1, 50))
    >>> proof.answer, proof.labels_needed
    ('not_enough_labels', 150)
    """
    expected = before.rate * after.rows
    if not before.errors or expected < ENOUGH_EXPECTED:
        needed = ceil(ENOUGH_EXPECTED / before.rate) - after.rows if before.errors else 0
        return Proof("not_enough_labels", before, after, max(needed, 0))
    if after.errors > FIXED_PART * expected:
        return Proof("not_fixed", before, after)
    evidence = rise_ln(before.errors, before.rows, after.errors, after.rows)
    if evidence < CONVINCING_LN:
        return Proof("not_enough_labels", before, after, after.rows)
    return Proof("fixed", before, after)


def rows_to_come_back(before: Tally) -> int:
    """How many of the newest rows are asked whether a fixed category is back: enough to have shown it."""
    return ceil(ENOUGH_EXPECTED / before.rate) if before.errors else 0


def is_back(before: Tally, newest: Tally) -> bool:
    """Whether a fixed category is there again, on the newest rows. The gap to `FIXED_PART` keeps it from flickering.

    >>> is_back(Tally("1", 100, 1000), Tally("2", 16, 200)), is_back(Tally("1", 100, 1000), Tally("2", 10, 200))
    (True, False)
    """
    expected = before.rate * newest.rows
    return expected >= ENOUGH_EXPECTED and newest.errors >= BACK_PART * expected


def trend_of(z: float) -> Trend:
    """What a share's slope says, given in standard errors."""
    return "rising" if z > TREND_Z else "falling" if z < -TREND_Z else "steady"


def severity_of(outcome: float, with_outcome: int, right: float, wrong: float) -> float:
    """What an error of a category costs, against errors as they are usually.

        (k (r - o) + m (r - w)) / ((k + m) (r - w)),   m = `USUAL_ROWS`

    r is the mean outcome of right rows, w that of all errors, o that of the category's k errors. Read it: 2 costs twice
    what an error usually costs. From `LEAST_SEVERITY` to `MOST_SEVERITY`; 1 where outcomes say nothing: none came, or
    rows with an error fare no worse than others.

    >>> severity_of(0.2, 100, right=0.9, wrong=0.6), severity_of(0.2, 0, right=0.9, wrong=0.6)
    (2.111, 1.0)
    """
    usual = right - wrong
    if not with_outcome or not isfinite(usual) or usual <= 0 or isnan(outcome):
        return 1.0
    found = (with_outcome * (right - outcome) + USUAL_ROWS * usual) / ((with_outcome + USUAL_ROWS) * usual)
    return round(min(max(found, LEAST_SEVERITY), MOST_SEVERITY), 3)


def priority_of(errors: int, severity: float, trend: str) -> float:
    """What to look at first: volume x severity x trend, with factor 2 for rising, 1 for steady and 1/2 for falling.

    >>> priority_of(30, 1.0, "rising") > priority_of(50, 1.0, "steady")
    True
    """
    return errors * severity * TREND_FACTORS[trend]
