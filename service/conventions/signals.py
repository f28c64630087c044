"""What other systems say about a model right now: signals, kept by their fingerprint for a while.

A signal that is firing is told again and again by its sender. One that was not told again for `life` counts as over,
so that a lost "resolved" holds nothing for ever.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import msgspec

from service.storage import keys
from service.storage.store import Store

MOST = 1000
"""Signals that are kept; beyond it those give way that are over, then those told longest ago."""
_SIGNALS = keys.key("signals", "all")


@dataclass(frozen=True)
class Signal:
    """One alert of another system. `model` is empty where it is about all models; `told_at` when it last came."""

    fingerprint: str
    name: str
    model: str
    text: str
    started_at: datetime
    told_at: datetime
    asks_to_hold: bool = False
    is_resolved: bool = False
    ended_at: datetime | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)

    def is_firing(self, now: datetime, life: timedelta) -> bool:
        """Whether it is so now, as far as anybody said lately."""
        is_over = self.is_resolved or (self.ended_at is not None and self.ended_at <= now)
        return not is_over and now - self.told_at < life

    def is_about(self, model: str) -> bool:
        return self.model in {"", model}


class Signals:
    """The signals in the store; any process may read and write them."""

    def __init__(self, store: Store, life: timedelta, clock: Callable[[], datetime]) -> None:
        self._store = store
        self._life = life
        self._clock = clock

    def keep(self, signals: Iterable[Signal]) -> None:
        """Take in what was told; news of an earlier firing does not undo a later one's."""
        known = self._read()
        for signal in signals:
            before = known.get(signal.fingerprint)
            if before is None or signal.started_at >= before.started_at:
                known[signal.fingerprint] = signal
                self._store.do("HSET", _SIGNALS, signal.fingerprint, msgspec.json.encode(signal))
        dropped = self._beyond(known)
        if dropped:
            self._store.do("HDEL", _SIGNALS, *dropped)

    def of(self, model: str) -> list[Signal]:
        """Signals about a model or about all, the ones told last first; those over stay as long as they would fire."""
        found = (signal for signal in self._read().values() if signal.is_about(model))
        return sorted(found, key=lambda signal: (signal.told_at, signal.fingerprint), reverse=True)

    def firing(self, model: str) -> list[Signal]:
        """Those of them that are so now, the oldest first."""
        now = self._clock()
        found = [signal for signal in self.of(model) if signal.is_firing(now, self._life)]
        return sorted(found, key=lambda signal: (signal.started_at, signal.fingerprint))

    def hold(self, model: str) -> str | None:
        """What holds retrainings of a model back now, in words; None where nothing does."""
        asking = next((signal for signal in self.firing(model) if signal.asks_to_hold), None)
        if asking is None:
            return None
        told = f": {asking.text}" if asking.text else ""
        return f"the alert {asking.name} has been firing since {asking.started_at:%Y-%m-%d %H:%M} UTC{told}"

    def _read(self) -> dict[str, Signal]:
        found = self._store.do("HGETALL", _SIGNALS)
        signals = (msgspec.json.decode(each, type=Signal) for each in found[1::2])
        return {signal.fingerprint: signal for signal in signals}

    def _beyond(self, known: Mapping[str, Signal]) -> list[str]:
        """Fingerprints to drop: what was not told for a whole life, and whatever is too many."""
        now = self._clock()
        gone = [name for name, signal in known.items() if now - signal.told_at >= self._life]
        left = sorted(
            (signal for name, signal in known.items() if name not in gone),
            key=lambda signal: (signal.is_firing(now, self._life), signal.told_at),
        )
        return gone + [signal.fingerprint for signal in left[: max(0, len(left) - MOST)]]
