"""Who may write a slot: a lease to be polite, an epoch to be safe.

A lease decides nothing about what is written; the epoch does, inside the script that writes. Whether an owner still
lives is judged by each contender on its own clock: it watches the owner's commit count and takes over when that has
stood still for the whole lease. The store's clock is never asked.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta

from service.errors import StaleOwner, StoreAway
from service.storage import keys
from service.storage.store import Store, Word

# unpack() in a script has room for about 8,000 values.
_MOST_WORDS = 4000


@dataclass(frozen=True)
class Write:
    """One command of a commit: a write that cannot fail on a key of the slot."""

    command: str
    key: str
    words: tuple[Word, ...]

    def in_parts(self) -> list[tuple[Word, ...]]:
        """The words in runs that a script can unpack; even, so that pairs stay together."""
        return [self.words[at : at + _MOST_WORDS] for at in range(0, len(self.words), _MOST_WORDS)]


class Ownership:
    """Our hold on one slot. `alone` claims that no other process uses the store: no lease is waited for.

    `is_dead` says whether an owner is known to be dead: nor is its lease. `state` is the slot's hash as it was when we
    claimed it, kept current by our own commits.
    """

    def __init__(
        self,
        store: Store,
        slot: str,
        owner: str,
        *,
        lease: timedelta = timedelta(seconds=10),
        alone: bool = False,
        is_dead: Callable[[str], bool] = lambda _: False,
        beats: Callable[[], float] = time.monotonic,
    ) -> None:
        self.slot = slot
        self.state: dict[str, str] = {}
        self.is_held = False
        self._store = store
        self._owner = owner
        self._lease_seconds = lease.total_seconds()
        self._alone = alone
        self._is_dead = is_dead
        self._beats = beats
        self._seen: tuple[str, str] | None = None
        self._seen_at = 0.0
        self._last_commit = 0.0

    @property
    def epoch(self) -> int:
        """Our epoch; it grows with every claim of the slot by anyone."""
        return int(self.state.get("epoch", "0"))

    def claim(self) -> bool:
        """Whether the slot is ours now. To be called again and again while it is not."""
        if self.is_held:
            return True
        state = keys.state(self.slot)
        try:
            found = self._store.do("HMGET", state, "epoch", "commits", "owner")
        except StoreAway:
            self._seen = None  # nobody could show life meanwhile
            raise
        epoch, commits, owner = map(_text, found)
        seen = (epoch or "0", commits or "0")
        if not (self._alone or owner in {"", self._owner} or self._is_dead(owner) or self._stood_still(seen)):
            return False
        found = [_text(word) for word in self._store.run("claim", [state], [*seen, self._owner])]
        if not found:
            return False
        self.state = dict(zip(found[::2], found[1::2], strict=True))
        self.is_held = True
        self._last_commit = self._beats()
        return True

    def commit(self, writes: Sequence[Write], **state: str) -> None:
        """Do all writes and set these fields of the state, or nothing.

        Raises:
            StaleOwner: the slot was taken over, or its commits are not where we left them; nothing was written.
            StoreAway: it is unknown whether the writes were done. After either, claim again and load anew.
        """
        if not self.is_held:
            raise StaleOwner(self.slot, self.epoch, "we do not hold it")
        own = [Write("HSET", keys.state(self.slot), tuple(w for pair in state.items() for w in pair))] if state else []
        slot_keys = {keys.state(self.slot): 1}
        words: list[Word] = [self.state["epoch"], self.state.get("commits", "0")]
        for write in [*writes, *own]:
            index = slot_keys.setdefault(write.key, len(slot_keys) + 1)
            for part in write.in_parts():
                words += [write.command, index, len(part), *part]
        self.is_held = False
        outcome, *seen = (_text(word) for word in self._store.run("commit", list(slot_keys), words, patient=True))
        if outcome != "ok":
            raise StaleOwner(self.slot, self.epoch, f"epoch {seen[0]} at commit {seen[1]}")
        self.state.update(state, commits=seen[0])
        self._last_commit = self._beats()
        self.is_held = True

    def renew(self) -> None:
        """Show life, if the last sign of it is older than a third of the lease."""
        if self._beats() - self._last_commit > self._lease_seconds / 3 and not self._alone:
            self.commit(())

    def release(self) -> None:
        """Give the slot up, so that another need not wait for the lease."""
        if self.is_held:
            self.commit((), owner="")
            self.is_held = False

    def _stood_still(self, seen: tuple[str, str]) -> bool:
        if seen != self._seen:
            self._seen, self._seen_at = seen, self._beats()
            return False
        return self._beats() - self._seen_at >= self._lease_seconds


def _text(word: bytes | str | None) -> str:
    return word.decode() if isinstance(word, bytes) else word or ""
