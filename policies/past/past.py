"""The past of a model as it was stored: who was champion when, and what was counted of each."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from monitors.baseline.baselines import Baseline
from monitors.readings import FloatArray, TwinReading


@dataclass(frozen=True, eq=False)
class Reign:
    """One version's time as champion, within the span that is looked at.

    `profiles` and `labelled` are its slices by start (unix seconds), also those from before the span, which windows
    reach back to. `twins` are the tests of a fresh twin that are known, oldest first, each with when it was read.
    """

    baseline: Baseline
    since: datetime
    until: datetime
    profiles: Mapping[int, FloatArray]
    labelled: Mapping[int, FloatArray]
    twins: tuple[tuple[datetime, TwinReading], ...] = ()


@dataclass(frozen=True)
class Known:
    """A retraining that really was: of which champion, when, and what came of it."""

    champion: str
    opened_at: datetime
    finished_at: datetime | None
    outcome: str


@dataclass(frozen=True, eq=False)
class Past:
    """`reigns` follow each other in time; `retrainings` are oldest first, also those from before the span.

    `faulty` are the starts of the slices that were found broken in fact. `notes` say what is missing.
    """

    model: str
    since: datetime
    until: datetime
    reigns: tuple[Reign, ...]
    retrainings: tuple[Known, ...] = ()
    faulty: frozenset[int] = frozenset()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Assumed:
    """What stored profiles do not know: how late labels came (None: as the policy says), how long training takes."""

    label_delay: timedelta | None = None
    training: timedelta = timedelta(hours=1)
