"""The chain of a model: what was decided and done, each entry with the hash of the one before it.

An entry is stored as the bytes that were hashed, a JSON object, and never written again:
`{"number": 2, "previous": "<hash of entry 1>", "kind": "decision", "record": {...}}`. Its hash is the SHA-256 of these
bytes, so that any language can follow the chain.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import msgspec

from service.errors import ServiceError
from service.storage import keys
from service.storage.store import Store, Word

GENESIS = "0" * 64
"""What the first entry names as the one before it."""
KINDS = ("decision", "act", "confirmation")
PAGE = 500
_NEWER = b"moved"
_TAKEN = b"taken"


class LedgerDamaged(ServiceError):
    """The newest entry is not where the head says: somebody wrote into the store, and nothing is written over it."""

    def __init__(self, model: str, number: int) -> None:
        super().__init__(
            f"the ledger of {model} has an entry {number} after its head: the store was changed from outside; "
            f"run `tidegate decisions verify {model}`, and restore the store from a copy"
        )


@dataclass(frozen=True)
class Head:
    """The newest entry: its number, 0 before the first, and its hash."""

    number: int = 0
    hash: str = GENESIS


@dataclass(frozen=True)
class Entry:
    """One entry; `record` is JSON still, of the kind that `kind` names."""

    number: int
    previous: str
    kind: str
    record: msgspec.Raw


class Chain:
    """The entries of one model, in its slot of the store. Any process may append."""

    def __init__(self, store: Store, model: str) -> None:
        self._store = store
        self._model = model
        self._entries, self._head, self._places, self._evaluation, self._counts = (
            self._key(name) for name in ("chain", "head", "places", "evaluation", "counts")
        )

    def head(self) -> Head:
        number, digest = self._store.do("HMGET", self._head, "number", "hash")
        return Head(int(number), digest.decode()) if number else Head()

    def append(
        self, kind: str, name: str, record: object, *, evaluation: bytes = b"", counted: Iterable[str] = ()
    ) -> Head:
        """Append an entry under a name that is used once, and with it the evaluation and counters raised by one.

        Where the name is used nothing is appended, and nothing counted but with an evaluation. Gives the head after it.

        Raises:
            LedgerDamaged: an entry is where none can be.
        """
        while True:
            head = self.head()
            entry = encode(head, kind, record)
            after = Head(head.number + 1, digest_of(entry))
            answer = self._write(kind, [head.hash, after.hash, after.number, name, entry], evaluation, counted)
            if answer == _TAKEN:
                raise LedgerDamaged(self._model, after.number)
            if answer != _NEWER:
                # Another writer came between where it says so: whoever is refused has been overtaken, never blocked.
                return after if answer == b"new" else head

    def write(self, evaluation: bytes, counted: Iterable[str]) -> None:
        """An evaluation and counters, without an entry."""
        self._write(KINDS[0], ["", "", 0, "", b""], evaluation, counted)

    def places(self, names: Sequence[str]) -> list[int | None]:
        """The number of the entry with each of these names; None where there is none."""
        found = self._store.do("HMGET", self._places, *names) if names else []
        return [int(place) if place else None for place in found]

    def read(self, numbers: Sequence[int]) -> list[bytes]:
        """The stored bytes of these entries, those that are there."""
        if not numbers:
            return []
        return [entry for entry in self._store.do("HMGET", self._entries, *numbers) if entry is not None]

    def find(self, names: Sequence[str]) -> dict[str, Head]:
        """Number and hash of the entries with these names, of those that are there."""
        found = {name: place for name, place in zip(names, self.places(names), strict=True) if place is not None}
        entries = self._store.do("HMGET", self._entries, *found.values()) if found else []
        pairs = zip(found.items(), entries, strict=True)
        return {name: Head(place, digest_of(entry)) for (name, place), entry in pairs if entry is not None}

    def page(self, after: int, most: int = PAGE) -> list[bytes]:
        """The stored bytes of the entries that follow number `after`, at most so many."""
        last = min(after + most, self.head().number)
        return self.read(range(after + 1, last + 1))

    def newest(self, kind: str, most: int) -> list[str]:
        """Numbers of the newest entries of a kind, oldest first; of decisions older than the chain their ids."""
        return [word.decode() for word in self._store.do("LRANGE", self._order(kind), -most, -1)]

    def _write(self, kind: str, appended: list[Word], evaluation: bytes, counted: Iterable[str]) -> bytes:
        names = [self._entries, self._head, self._places, self._order(kind), self._evaluation, self._counts]
        answer: bytes = self._store.run("record", names, [*appended, GENESIS, evaluation, *counted])
        return answer

    def _order(self, kind: str) -> str:
        return self._key("order" if kind == "decision" else f"order-{kind}")

    def _key(self, name: str) -> str:
        return keys.key(f"m:{self._model}", name)


def encode(head: Head, kind: str, record: object) -> bytes:
    """The bytes of the entry that follows `head`."""
    return msgspec.json.encode(Entry(head.number + 1, head.hash, kind, msgspec.Raw(msgspec.json.encode(record))))


def digest_of(entry: bytes) -> str:
    """The hash of an entry, in hex."""
    return hashlib.sha256(entry).hexdigest()
