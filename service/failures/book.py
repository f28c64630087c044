"""The book of a model's failure categories, in the store. The leader writes looks and what is known; people what they
say; so neither overwrites the other.
"""

from collections.abc import Iterable
from typing import TypeVar

import msgspec

from service.failures.records import Known, Look, Said
from service.storage import keys
from service.storage.store import Store

MOST_KNOWN = 100
"""Categories of a model that are remembered: those of the last look, then those seen last."""
Record = TypeVar("Record", Known, Said)


class Book:
    """The categories of one model; any process may read."""

    def __init__(self, store: Store, model: str) -> None:
        self._store = store
        self._model = model

    def look(self) -> Look:
        """The last look; an empty one before the first."""
        found = self._store.do("GET", keys.failures(self._model, "look"))
        return msgspec.json.decode(found, type=Look) if found else Look(self._model)

    def known(self) -> dict[str, Known]:
        """What is known of each category, by id."""
        return self._all("known", Known)

    def said(self) -> dict[str, Said]:
        """What people said of categories, by id."""
        return self._all("said", Said)

    def keep(self, look: Look, known: Iterable[Known]) -> None:
        """A new look and what is known after it; what is not known any more is forgotten, with what was said of it."""
        kept = {each.id: each for each in known}
        for each in kept.values():
            self._store.do("HSET", keys.failures(self._model, "known"), each.id, msgspec.json.encode(each))
        gone = [identity for identity in self.known() if identity not in kept]
        for name in ("known", "said") if gone else ():
            self._store.do("HDEL", keys.failures(self._model, name), *gone)
        # The last: after a crash in between the same look is due again.
        self._store.do("SET", keys.failures(self._model, "look"), msgspec.json.encode(look))

    def say(self, said: Said) -> None:
        """Keep what somebody said of a category, in the place of what was said before."""
        self._store.do("HSET", keys.failures(self._model, "said"), said.id, msgspec.json.encode(said))

    def _all(self, name: str, kind: type[Record]) -> dict[str, Record]:
        found = self._store.do("HVALS", keys.failures(self._model, name))
        records = [msgspec.json.decode(each, type=kind) for each in found]
        return {each.id: each for each in records}
