"""Where batches wait to be sent: the contract, the one in memory, and several in a row."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, Protocol

from tidegate_client.batches import Batch
from tidegate_client.errors import ShelfFull


class Held(NamedTuple):
    """A batch that waits, and what to call when it has come to its end."""

    batch: Batch
    end: Callable[[], None]


class Shelf(Protocol):
    """Batches that wait. One thread adds, another goes through them; each batch is there until it is ended."""

    def add(self, batch: Batch) -> None:
        """Keep it. Raises ShelfFull or OSError where it cannot."""

    def waiting(self) -> Iterator[Held]:
        """What is there, the oldest first."""

    def mark(self) -> Callable[[], bool]:
        """A question: has everything ended that was added until now?"""


class Pocket:
    """Batches in memory, at most so many bytes of them."""

    def __init__(self, most_bytes: int) -> None:
        self._most = most_bytes
        self._lock = threading.Lock()
        self._batches: dict[str, Batch] = {}
        self._bytes = 0

    def add(self, batch: Batch) -> None:
        """Keep it in memory. Raises ShelfFull."""
        with self._lock:
            if self._batches and self._bytes + len(batch.body) > self._most:
                raise ShelfFull(f"memory holds {self._bytes:,} bytes that wait, and may hold {self._most:,}")
            self._batches[batch.key] = batch
            self._bytes += len(batch.body)

    def waiting(self) -> Iterator[Held]:
        """What is there, the oldest first."""
        for batch in self.batches():
            yield Held(batch, lambda batch=batch: self._end(batch))  # type: ignore[misc]

    def batches(self) -> list[Batch]:
        """All of them."""
        with self._lock:
            return list(self._batches.values())

    def mark(self) -> Callable[[], bool]:
        """A question: has everything ended that is there now?"""
        marked = {batch.key for batch in self.batches()}
        return lambda: marked.isdisjoint(batch.key for batch in self.batches())

    def _end(self, batch: Batch) -> None:
        with self._lock:
            if self._batches.pop(batch.key, None) is not None:
                self._bytes -= len(batch.body)


class Shelves:
    """Several shelves: a batch goes to the first that can keep it."""

    def __init__(self, shelves: Sequence[Shelf]) -> None:
        self._shelves = shelves

    def add(self, batch: Batch) -> None:
        """Keep it somewhere. Raises ShelfFull with the reason of each shelf."""
        reasons = []
        for shelf in self._shelves:
            try:
                shelf.add(batch)
            except (ShelfFull, OSError) as error:
                reasons.append(str(error))
            else:
                return
        raise ShelfFull("; ".join(reasons))

    def waiting(self) -> Iterator[Held]:
        """What is there, shelf by shelf."""
        for shelf in self._shelves:
            yield from shelf.waiting()

    def mark(self) -> Callable[[], bool]:
        """A question: has everything ended that is there now?"""
        questions = [shelf.mark() for shelf in self._shelves]
        return lambda: all(question() for question in questions)
