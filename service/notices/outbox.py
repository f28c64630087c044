"""The outbox: letters of each model in the store, from the moment something is told until long after it was delivered.

What has been told and the letters that tell it are written in one step, so that a crash neither loses one nor writes it
twice. Any process may read; the leader writes.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import msgspec

from service.notices.news import Told
from service.notices.notice import Notice
from service.storage import keys
from service.storage.store import Store, Word

MOST = 200
"""Letters of a model that are kept, at about 1 kB each: a dead receiver cannot fill the store."""
ENDS = ("sent", "failed", "dropped")
"""What becomes of a letter: delivered; given up; gave way to newer ones before it was either."""


@dataclass(frozen=True)
class Letter:
    """A notice to one receiver. `state` is waiting, sent or failed; `reply` what the receiver last said."""

    notice: Notice
    to: str
    put_at: datetime
    state: str = "waiting"
    tries: int = 0
    due_at: datetime | None = None
    reply: str = ""

    @property
    def name(self) -> str:
        """The same for the same notice to the same receiver."""
        return f"{self.to}:{self.notice.id}"


class Outbox:
    """The outboxes of all models."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def told(self, model: str) -> tuple[bytes, Told]:
        """What has been told of a model, as it is stored and as a value."""
        found: bytes = self._store.do("GET", _key(model, "told")) or b""
        return found, msgspec.json.decode(found, type=Told) if found else Told()

    def put(self, model: str, before: bytes, told: Told, letters: Iterable[Letter], now: datetime) -> bool:
        """Put letters, told now. False where something was told since `before` was read: then nothing was put."""
        words: list[Word] = [before, msgspec.json.encode(told), MOST, now.timestamp()]
        for letter in letters:
            words += [letter.name, msgspec.json.encode(letter)]
        names = [_key(model, part) for part in ("told", "letters", "order", "waiting")]
        return bool(self._store.run("put_notices", [*names, keys.key(f"m:{model}", "counts")], words))

    def due(self, models: Sequence[str], now: datetime) -> list[Letter]:
        """Letters of these models to be tried now, those first that have been due for longest."""
        found = self._store.do_all(
            [("ZRANGEBYSCORE", _key(model, "waiting"), "-inf", now.timestamp(), "WITHSCORES") for model in models]
        )
        due = sorted(
            (float(score), name, model)
            for model, pairs in zip(models, found, strict=True)
            for name, score in zip(pairs[::2], pairs[1::2], strict=True)
        )
        packed = self._store.do_all([("HGET", _key(model, "letters"), name) for _, name, model in due])
        return [msgspec.json.decode(each, type=Letter) for each in packed if each]

    def settle(self, letter: Letter) -> bool:
        """Write what became of a letter; it is due again at its `due_at`. False where it waits no more."""
        model, kind = letter.notice.model, letter.notice.kind
        names = [_key(model, "letters"), _key(model, "waiting"), keys.key(f"m:{model}", "counts")]
        again: Word = letter.due_at.timestamp() if letter.due_at else ""
        words = [letter.name, msgspec.json.encode(letter), again, f"notices:{kind}:{letter.state}"]
        return bool(self._store.run("settle_notice", names, words))

    def newest(self, model: str, most: int = 100) -> list[Letter]:
        """The newest letters of a model, newest first."""
        order = self._store.do("LRANGE", _key(model, "order"), -most, -1)
        if not order:
            return []
        found = self._store.do("HMGET", _key(model, "letters"), *reversed(order))
        return [msgspec.json.decode(each, type=Letter) for each in found if each]

    def waiting(self, model: str) -> int:
        """How many letters of a model are still to be delivered."""
        return int(self._store.do("ZCARD", _key(model, "waiting")))


def ended(letter: Letter, state: str, reply: str) -> Letter:
    """The letter after its last try."""
    return replace(letter, state=state, tries=letter.tries + 1, due_at=None, reply=reply)


def again(letter: Letter, at: datetime, reply: str) -> Letter:
    """The letter after a try that failed, due once more."""
    return replace(letter, tries=letter.tries + 1, due_at=at, reply=reply)


def _key(model: str, part: str) -> str:
    return keys.key(f"m:{model}", "notices", part)
