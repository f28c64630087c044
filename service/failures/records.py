"""What is kept of failure categories: the last look, what is known of each over time, and what people said of it."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from policies.failures import OPEN, Proof, Tally


@dataclass(frozen=True)
class Seen:
    """One category as the last look found it; the fields are those of `Category`, None where that has NaN."""

    id: str
    name: str
    kind: str
    basis: str
    errors: int
    share: float
    scope: int
    inside: float | None
    outside: float | None
    expected: float
    evidence_ln: float | None
    trend: str
    severity: float
    counts: tuple[int, ...] = ()
    words: tuple[str, ...] = ()
    examples: tuple[Mapping[str, str], ...] = ()


@dataclass(frozen=True)
class Look:
    """The last look at a model's errors: on `rows` labelled rows of a version, the newest, from `since` to `until`.

    `labels` is how many the version had in all. `categories` are in the order in which an error is given to the first
    it fits. `periods` are starts in unix seconds.
    """

    model: str
    version: str = ""
    at: datetime | None = None
    labels: int = 0
    rows: int = 0
    errors: int = 0
    limit: float = 0.0
    since: datetime | None = None
    until: datetime | None = None
    categories: tuple[Seen, ...] = ()
    periods: tuple[int, ...] = ()
    period_seconds: int = 0
    rows_by_period: tuple[int, ...] = ()


@dataclass(frozen=True)
class Known:
    """What is known of one category over time; the leader writes it.

    `last` are its errors among the rows of `version` at the last look, since the last boundary where there was one, and
    whatever other category they were given to.
    From `since` on a release or a person says that it is fixed; `before` is what it was until then, and `proof` what
    counts say. `state` is what these made of it at `decided_at`, for the boundary `decided_for`; empty where they have
    not changed it.
    """

    id: str
    name: str
    rule: Mapping[str, Any]
    first_seen: datetime
    last_seen: datetime
    version: str
    last: Tally
    before: Tally | None = None
    since: datetime | None = None
    proof: Proof | None = None
    state: str = ""
    decided_at: datetime | None = None
    decided_for: datetime | None = None
    text: str = ""


@dataclass(frozen=True)
class Said:
    """What people said of one category, the last of each; `state_at` is when they said in what state it is.

    `release` is the version that is to fix it; empty where what was fixed is no version.
    """

    id: str
    who: str
    why: str
    at: datetime
    state: str = OPEN
    state_at: datetime | None = None
    owner: str = ""
    note: str = ""
    severity: float | None = None
    release: str = ""


@dataclass(frozen=True)
class Shown:
    """A category as people see it: `seen` is None where the last look did not find it."""

    id: str
    name: str
    state: str
    priority: float
    severity: float
    seen: Seen | None = None
    known: Known | None = None
    said: Said | None = None
