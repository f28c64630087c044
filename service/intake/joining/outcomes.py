"""Outcomes beside labels: what the policy's `task.outcome` says of predictions, counted by segment and day.

A number or truth value counts with its value, anything else as `other`, a null or missing field not at all. The counts
of a baseline are of one field: where the policy names another, they begin anew.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from monitors.baseline.baselines import Baseline
from monitors.counting.groups import Entry, count
from monitors.readings import FloatArray
from service.storage import keys
from service.storage.ownership import Write
from service.storage.store import Store

OTHER = "other"
DAY = 86_400
MOST_DAYS = 90
_CELLS = 3  # rows that say a number, the sum of these, rows that say something else
_PACKED = np.dtype("<f8")
# Beyond this a sum of numbers would no longer tell single rows.
_LARGEST = 1e12


def said(text: str, name: str) -> float | str | None:
    """What an outcome says in this field: a number, `other`, or None.

    >>> [said('{"resolved": true}', "resolved"), said('{"stars": 4.5}', "stars"), said('{"stars": "4"}', "stars")]
    [1.0, 4.5, 'other']
    """
    try:
        value = msgspec.json.decode(text, type=dict[str, object]).get(name)
    except msgspec.DecodeError:
        return OTHER
    if value is None:
        return None
    return float(value) if isinstance(value, int | float) and abs(value) <= _LARGEST else OTHER


@dataclass
class Tally:
    """Counts of one baseline by day [S, 3]; `since`: the log positions where counting this field began."""

    name: str = ""
    since: list[str] = field(default_factory=list)
    days: dict[int, FloatArray] = field(default_factory=dict)
    changed: set[int] = field(default_factory=set)
    gone: set[int] = field(default_factory=set)


class Outcomes:
    """The counts of all baselines, for the owner of the label slot. `writes` are what the store does not know yet."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._tallies: dict[tuple[str, str, str], Tally] = {}

    def begin(self, baseline: Baseline, name: str, positions: Sequence[str]) -> str:
        """Count this field from now on, if it is another one than until now: from these log positions on.

        Gives a name for this count, which no earlier count of the same field has.
        """
        tally = self._loaded(baseline)
        if tally.name != name:
            tally.gone |= set(tally.days)
            tally.changed.clear()
            tally.days.clear()
            tally.name, tally.since = name, list(positions)
        return f"{baseline.fingerprint}:{'/'.join(tally.since)}"

    def since(self, baseline: Baseline, name: str) -> list[str] | None:
        """The log positions from which this field is counted; None where it is not."""
        tally = self._loaded(baseline)
        return tally.since if name and tally.name == name else None

    def add(self, baseline: Baseline, table: pa.Table, sign: float) -> None:
        """Count rows, or take them back: predictions with a column `outcome` of numbers, null where it says `other`."""
        tally = self._loaded(baseline)
        for day, counts in _counts(baseline, table).items():
            tally.days[day] = tally.days.get(day, 0.0) + sign * counts
            tally.changed.add(day)

    def writes(self) -> list[Write]:
        """The changes since the last call; of each baseline the newest days are kept."""
        found = []
        for name, tally in self._tallies.items():
            if not tally.changed and not tally.gone:
                continue
            oldest = max(tally.days, default=0) - MOST_DAYS * DAY
            past = {day for day in tally.days if day <= oldest}
            for day in past:
                del tally.days[day]
            words: list[str | bytes] = ["field", tally.name, "since", msgspec.json.encode(tally.since)]
            for day in sorted(tally.changed - past):
                words += [str(day), tally.days[day].astype(_PACKED).tobytes()]
            gone = sorted((tally.gone | past) - set(tally.days))
            found.append(Write("HSET", keys.outcomes(*name), tuple(words)))
            if gone:
                found.append(Write("HDEL", keys.outcomes(*name), tuple(gone)))
            tally.changed.clear()
            tally.gone.clear()
        return found

    def _loaded(self, baseline: Baseline) -> Tally:
        name = _name(baseline)
        if name not in self._tallies:
            self._tallies[name] = _tally(self._store.do("HGETALL", keys.outcomes(*name)), baseline)
        return self._tallies[name]


@dataclass(frozen=True)
class SegmentOutcome:
    """What a segment's predictions came to: rows that say a number, their mean, and rows that say something else."""

    rows: int
    mean: float | None
    other: int


def read(store: Store, baseline: Baseline, name: str, since: int) -> Mapping[str, SegmentOutcome]:
    """What this field says of the predictions since a day (unix seconds), by segment; segments without any are absent.

    The mean of truth values is the share of true ones.
    """
    tally = _tally(store.do("HGETALL", keys.outcomes(*_name(baseline))), baseline)
    if not name or tally.name != name:
        return {}
    days = [counts for day, counts in tally.days.items() if day >= since]
    total = np.round(sum(days, np.zeros((len(baseline.layout.segments), _CELLS))), 9)
    return {
        segment: SegmentOutcome(int(rows), float(values / rows) if rows else None, int(other))
        for segment, (rows, values, other) in zip(baseline.layout.segments, total.tolist(), strict=True)
        if rows or other
    }


def _counts(baseline: Baseline, table: pa.Table) -> dict[int, FloatArray]:
    values = table.column("outcome")
    is_number = np.asarray(values.is_valid().to_numpy())
    numbers = np.asarray(pc.fill_null(values, 0.0).to_numpy(), dtype=np.float64)
    entries = [Entry(0, where=is_number), Entry(1, weight=numbers), Entry(2, where=~is_number)]
    return count(baseline.layout, table, DAY, _CELLS, entries)


def _name(baseline: Baseline) -> tuple[str, str, str]:
    return (baseline.model, baseline.version, baseline.fingerprint)


def _tally(answer: list[bytes], baseline: Baseline) -> Tally:
    stored = dict(zip((name.decode() for name in answer[::2]), answer[1::2], strict=True))
    if not stored:
        return Tally()
    name, since = stored.pop("field").decode(), msgspec.json.decode(stored.pop("since"), type=list[str])
    shape = (len(baseline.layout.segments), _CELLS)
    days = {int(day): np.frombuffer(packed, _PACKED).reshape(shape).copy() for day, packed in stored.items()}
    return Tally(name, since, days)
