"""What the fold of this process has read of each partition lately: join and archive need not fetch and decode it again.

The fold itself always asks the store. So a row that a store has lost is never folded from memory; the join tells rows
apart by their ids, and the archiver writes what was folded.
"""

from bisect import bisect_right
from collections.abc import Sequence
from threading import Lock

from service.intake.log.entries import Entry, id_number


class Window:
    """The newest entries of one partition without a gap: all after `_start`. Holds at most `most_bytes` of bodies.

    For several threads: the archive may be written in one of its own.
    """

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._start = -1
        self._numbers: list[int] = []
        self._entries: list[Entry] = []
        self._bytes = 0
        self._lock = Lock()

    def add(self, after: str, entries: Sequence[Entry]) -> None:
        """Entries that follow this position without a gap; what does not lead up to it is forgotten."""
        with self._lock:
            if id_number(after) != self._end:
                self._start, self._bytes = id_number(after), 0
                self._numbers.clear()
                self._entries.clear()
            self._numbers += [entry.number for entry in entries]
            self._entries += entries
            self._bytes += sum(len(entry.body) for entry in entries)
            self._shrink()

    def after(self, position: str) -> list[Entry]:
        """The entries after a position; none where the store must be asked."""
        number = id_number(position)
        with self._lock:
            return self._entries[bisect_right(self._numbers, number) :] if self._start <= number < self._end else []

    @property
    def _end(self) -> int:
        return self._numbers[-1] if self._numbers else self._start

    def _shrink(self) -> None:
        dropped = 0
        while self._bytes > self._most_bytes:
            self._bytes -= len(self._entries[dropped].body)
            dropped += 1
        if dropped:
            self._start = self._numbers[dropped - 1]
            del self._numbers[:dropped], self._entries[:dropped]
