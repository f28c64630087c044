"""How labels fare of late: of those that came in the last day, how many have met a prediction, and how late they came.

Counted by the hour in which a label came, for a day. So the share without a prediction says within an hour that ids do
not fit together, and corrects itself where predictions come after their labels.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from service.intake.joining.ends import Label
from service.storage import keys
from service.storage.ownership import Write
from service.storage.store import Store

HOURS = 24
LEAST = 10
_HOUR = 3_600_000_000  # microseconds
_CAME, _MET, _DELAY = _COUNTED = ("came", "met", "delay")


@dataclass(frozen=True)
class Fares:
    """Of the labels of the last day: the share without a prediction, and the mean seconds from prediction to label.

    None where fewer than ten came, and where none met.
    """

    unmatched: float | None = None
    delay_seconds: float | None = None


class LabelHours:
    """The counters, for the owner of the label slot. `writes` are what the store does not know yet."""

    def __init__(self, store: Store) -> None:
        names = (name.decode().split(":") for name in store.do("HKEYS", keys.label_hours()))
        self._kept = {(model, int(hour)) for model, hour, _ in names}
        self._new: defaultdict[tuple[str, int], list[int]] = defaultdict(lambda: [0, 0, 0])

    def come(self, label: Label) -> None:
        """A label came that is the first for its prediction, which is not there yet."""
        self._new[label.model, label.arrived // _HOUR][0] += 1

    def meet(self, label: Label, predicted_at: int, *, is_new: bool) -> None:
        """It met its prediction, made at this moment (microseconds since 1970), as it came or (not new) later."""
        sums = self._new[label.model, label.arrived // _HOUR]
        sums[0] += is_new
        sums[1] += 1
        sums[2] += max(0, label.arrived - predicted_at) // 1_000_000

    def writes(self, now: datetime) -> list[Write]:
        """The changes since the last call; hours that have passed are dropped."""
        first, key = _first_hour(now), keys.label_hours()
        self._kept.update(self._new)
        gone = sorted(name for name in self._kept if name[1] < first)
        self._kept.difference_update(gone)
        writes = [
            Write("HINCRBY", key, (f"{model}:{hour}:{what}", count))
            for (model, hour), counts in self._new.items()
            if (model, hour) in self._kept
            for what, count in zip(_COUNTED, counts, strict=True)
        ]
        self._new.clear()
        fields = tuple(f"{model}:{hour}:{what}" for model, hour in gone for what in _COUNTED)
        return [*writes, Write("HDEL", key, fields)] if gone else writes


def read(pairs: Iterable[tuple[str, bytes]], now: datetime) -> dict[str, Fares]:
    """How labels fare, by model, from what is stored under `keys.label_hours`."""
    sums: dict[str, Counter[str]] = {}
    for name, count in pairs:
        model, hour, what = name.split(":")
        if int(hour) >= _first_hour(now):
            sums.setdefault(model, Counter())[what] += int(count)
    return {
        model: Fares(
            # Below 0 where one came on the other side of the day's edge.
            max(0.0, 1 - each[_MET] / each[_CAME]) if each[_CAME] >= LEAST else None,
            each[_DELAY] / each[_MET] if each[_MET] else None,
        )
        for model, each in sums.items()
    }


def _first_hour(now: datetime) -> int:
    return int(now.timestamp()) // 3600 - HOURS + 1
