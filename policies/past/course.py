"""Courses: what a policy would have done over a past, and how two of them differ."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

ONE_CHANGE = timedelta(days=1)
"""Retrainings of two policies that lie no farther apart answer the same change."""


@dataclass(frozen=True)
class WouldBe:
    """A retraining that the policy would have opened.

    `outcome` is that of the real retraining at the same time, where there was one (`is_known`); else it is assumed to
    have been released. `confirmation` is confirmed, unfounded or open: what labels said later, and `settled_at` when.
    """

    at: datetime
    version: str
    reasons: tuple[str, ...]
    segments: tuple[str, ...]
    change_started: datetime | None
    finished_at: datetime
    outcome: str
    is_known: bool
    confirmation: str = "open"
    settled_at: datetime | None = None

    @property
    def lead(self) -> timedelta | None:
        """How long before labels confirmed the change it would have been opened, 0 where they asked for it themselves;
        None where they did not confirm it.
        """
        if self.settled_at is None or self.confirmation != "confirmed":
            return None
        return max(self.settled_at - self.at, timedelta(0))


@dataclass
class Stretch:
    """Evaluations in a row of one kind: `watch`, `held` (something asked and a hold kept it back) or `fault`."""

    kind: str
    since: datetime
    until: datetime
    evaluations: int = 0
    reasons: dict[str, int] = field(default_factory=dict)
    segments: dict[str, int] = field(default_factory=dict)

    def add(self, now: datetime, reasons: Sequence[str], segments: Sequence[str]) -> None:
        self.until = now
        self.evaluations += 1
        for names, found in ((self.reasons, reasons), (self.segments, segments)):
            for name in found:
                names[name] = names.get(name, 0) + 1


@dataclass(frozen=True)
class Release:
    """A version that really became champion, and where the policy stood then.

    `stood` is asked (it had opened a retraining of the version before), held (something asked and was kept back), watch
    or hold.
    """

    at: datetime
    version: str
    stood: str


@dataclass(frozen=True)
class Course:
    """What one policy would have done: `evaluations` of them, and the rest in the order of time.

    `budget_spent` is the largest number of starts within the budget's span; None where the policy sets none.
    """

    evaluations: int
    retrainings: tuple[WouldBe, ...]
    stretches: tuple[Stretch, ...]
    releases: tuple[Release, ...]
    budget_spent: int | None


def pair(first: Course, second: Course) -> list[tuple[WouldBe | None, WouldBe | None]]:
    """The retrainings of two courses side by side, in the order of time; None where only one of them has it.

    >>> from datetime import UTC
    >>> def course(*days):
    ...     at = (datetime(2026, 1, day, tzinfo=UTC) for day in days)
    ...     return Course(0, tuple(WouldBe(t, "1", (), (), None, t, "released", False) for t in at), (), (), None)
    >>> [[one and one.at.day for one in both] for both in pair(course(3, 20), course(4, 9))]
    [[3, 4], [None, 9], [20, None]]
    """
    left, right = list(first.retrainings), list(second.retrainings)
    found: list[tuple[WouldBe | None, WouldBe | None]] = []
    while left or right:
        if left and right and abs(left[0].at - right[0].at) <= ONE_CHANGE:
            found.append((left.pop(0), right.pop(0)))
        elif left and (not right or left[0].at < right[0].at):
            found.append((left.pop(0), None))
        else:
            found.append((None, right.pop(0)))
    return found


def differ(first: Course, second: Course) -> bool:
    """Whether they would have retrained at other times, or for other segments."""
    return [(r.at, r.segments) for r in first.retrainings] != [(r.at, r.segments) for r in second.retrainings]
