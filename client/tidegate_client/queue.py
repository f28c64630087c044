"""Rows that were logged and are not yet packed: bounded, and never in the way of who logs."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import NamedTuple

from tidegate_client.batches import Kind
from tidegate_client.rows import Row


class Entry(NamedTuple):
    """Rows of one call; those of a table are made while they are packed, not while they are logged."""

    kind: Kind
    size: int
    rows: Iterable[Row]


class Queue:
    """Holds entries of at most `most_rows` rows together, those that are just being packed included."""

    def __init__(self, most_rows: int, pack_at: int) -> None:
        self._most, self._pack_at = most_rows, pack_at
        # A signal handler may log in the middle of a log of its thread.
        self._lock = threading.RLock()
        self._entries: list[Entry] = []
        self.rows = 0
        self.wanted = threading.Event()
        """Set when there is a batch's worth of rows."""

    def put(self, entry: Entry) -> bool:
        """Whether there was room for it."""
        with self._lock:
            if self.rows and self.rows + entry.size > self._most:
                return False
            self._entries.append(entry)
            self.rows += entry.size
            is_worth = self.rows >= self._pack_at
        if is_worth and not self.wanted.is_set():
            self.wanted.set()
        return True

    def take(self) -> list[Entry]:
        """All entries; their rows still count until they are `done`."""
        with self._lock:
            entries, self._entries = self._entries, []
            return entries

    def done(self, rows: int) -> None:
        """So many rows have left."""
        with self._lock:
            self.rows -= rows
