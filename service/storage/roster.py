"""Who works on this store, so that partitions are spread evenly over all who do.

Each worker counts up a number of its own. Whether another still lives is judged by each on its own clock: a number that
has stood still for a whole lease is that of a dead one. Workers that disagree for a moment own too little or are
refused; what is written is decided by epochs alone.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from service.errors import StoreAway
from service.storage import keys
from service.storage.store import Store

# Names that are silent for so many leases are struck off; one that still lives enters itself again.
_LEASES_TO_FORGET = 10


@dataclass
class _Seen:
    count: bytes
    at: float


class Roster:
    """The workers of a store as one of them sees it. To be shown life on often; `name` is ours."""

    def __init__(
        self, store: Store, name: str, *, lease: timedelta, beats: Callable[[], float] = time.monotonic
    ) -> None:
        self._store = store
        self._name = name
        self._lease_seconds = lease.total_seconds()
        self._beats = beats
        self._seen: dict[str, _Seen] = {}
        self._shown_at: float | None = None

    @property
    def is_on(self) -> bool:
        """Whether we are on it."""
        return self._shown_at is not None

    def show(self) -> None:
        """Show life and look at the others, if the last time is a third of the lease ago.

        Raises:
            StoreAway: the store does not answer.
        """
        now = self._beats()
        if self._shown_at is not None and now - self._shown_at <= self._lease_seconds / 3:
            return
        silent = [name for name, seen in self._seen.items() if now - seen.at > _LEASES_TO_FORGET * self._lease_seconds]
        try:
            found = self._store.run("beat", [keys.ROSTER], [self._name, *silent])
        except StoreAway:
            # Nobody could show life meanwhile: who was not dead before is looked at anew.
            last = self._shown_at or now
            self._seen = {name: seen for name, seen in self._seen.items() if self._is_silent(seen, last)}
            raise
        counts = {name.decode(): count for name, count in zip(found[::2], found[1::2], strict=True)}
        for name in self._seen.keys() - counts.keys():
            del self._seen[name]
        for name, count in counts.items():
            if name not in self._seen or self._seen[name].count != count:
                self._seen[name] = _Seen(count, now)
        self._shown_at = now

    def is_dead(self, name: str) -> bool:
        """Whether a worker of this name was there and has been silent for a whole lease."""
        seen = self._seen.get(name)
        return seen is not None and self._is_silent(seen, self._beats())

    def share(self, things: int) -> int:
        """How many of so many things are ours: shares differ by one at most and add up to all of them."""
        living = sorted({self._name, *(name for name in self._seen if not self.is_dead(name))})
        return things // len(living) + (living.index(self._name) < things % len(living))

    def leave(self) -> None:
        """Strike ourselves off, so that the others need not wait for the lease."""
        if self._shown_at is not None:
            self._store.do("HDEL", keys.ROSTER, self._name)
            self._shown_at = None

    def _is_silent(self, seen: _Seen, now: float) -> bool:
        return now - seen.at > self._lease_seconds
