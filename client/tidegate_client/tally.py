"""What became of the rows, counted."""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import dataclass


@dataclass(frozen=True)
class Counts:
    """Rows of this process. `logged + adopted = accepted + rejected + dropped + unusable + left + waiting`.

    `adopted` were left in the spool by a client that ended, and `left` stay there since this one did. `rejected` were
    refused by the service, `dropped` found no room, `unusable` could not be written as a row; `waiting` are on their
    way.
    """

    logged: int = 0
    adopted: int = 0
    accepted: int = 0
    rejected: int = 0
    dropped: int = 0
    unusable: int = 0
    left: int = 0

    @property
    def waiting(self) -> int:
        """Rows without an end yet."""
        return self.logged + self.adopted - self.accepted - self.rejected - self.dropped - self.unusable - self.left


class Tally:
    """Counts from all threads."""

    def __init__(self) -> None:
        # A signal handler may log in the middle of a log of its thread.
        self._lock = threading.RLock()
        self._counts: Counter[str] = Counter()
        self._logged = 0

    def log(self, rows: int) -> None:
        """Count rows as logged: the one count that a caller waits for."""
        with self._lock:
            self._logged += rows

    def add(self, **rows: int) -> None:
        """Count ends of rows under the names of `Counts`, all in one moment."""
        with self._lock:
            for name, count in rows.items():
                self._counts[name] += count

    def counts(self) -> Counts:
        """The counts of this moment."""
        with self._lock:
            return Counts(logged=self._logged, **self._counts)
