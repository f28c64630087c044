"""Batches in a folder: they outlive the process, and another process sends those of one that ended."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from tidegate_client.batches import Batch
from tidegate_client.errors import ShelfFull
from tidegate_client.segments import ENDING, NEW_ENDING, Segment
from tidegate_client.shelves import Held

# Room is given back a file at a time; a few dozen of them make the default size of a spool.
_SEGMENT_BYTES = 4 << 20


class Spool:
    """Any number of processes may share a folder: each writes files of its own. All of them together, whoever wrote
    them, hold at most `most_bytes`.

    Raises:
        OSError: the folder cannot be made or written.
    """

    def __init__(self, folder: Path, most_bytes: int, *, fsync: bool = False) -> None:
        self.folder = folder
        self._most, self._fsync = most_bytes, fsync
        self._lock = threading.Lock()
        self._segments: list[Segment] = []
        self._active: Segment | None = self._begin()

    def add(self, batch: Batch) -> None:
        """Write it down. Raises ShelfFull or OSError."""
        with self._lock:
            used = self._used()
            if used + len(batch.body) > self._most:
                raise ShelfFull(f"the spool {self.folder} holds {used:,} bytes, and may hold {self._most:,}")
            segment = self._active or self._begin()
            self._active = segment
            segment.append(batch, fsync=self._fsync)
            if segment.size >= min(_SEGMENT_BYTES, self._most // 4):
                self._active = None
                segment.rest()

    def waiting(self) -> Iterator[Held]:
        """What is there, the oldest file first. Files that are through give their room back."""
        with self._lock:
            segments = sorted(self._segments, key=lambda segment: segment.path.name)
        for segment in segments:
            yield from segment.waiting()
            self._tidy(segment)

    def mark(self) -> Callable[[], bool]:
        """A question: has everything ended that this process added until now? It writes into a new file from here."""
        with self._lock:
            marked = [segment for segment in self._segments if segment.is_own and not segment.is_done]
            if self._active in marked:
                self._active = None
        return lambda: all(segment.is_done for segment in marked)

    def adopt(self) -> tuple[int, int]:
        """Take over the files of processes that ended; gives the rows that wait in them, and the damaged bytes."""
        known = {segment.path for segment in self._segments}
        adopted = [segment for path in self._files() if path not in known and (segment := Segment.adopt(path))]
        for left in self.folder.glob(f"*{NEW_ENDING}"):
            if (begun := Segment.adopt(left)) is not None:
                begun.remove()
        with self._lock:
            self._segments += adopted
        counts = sum(segment.rows for segment in adopted), sum(segment.damaged_bytes for segment in adopted)
        for segment in adopted:
            self._tidy(segment)
        return counts

    def close(self) -> int:
        """Let go of everything; gives the rows that wait, which are for who comes next."""
        with self._lock:
            rows = sum(segment.rows for segment in self._segments)
            for segment in self._segments:
                segment.remove()
            self._segments, self._active = [], None
        return rows

    def forget(self) -> None:
        """Let go in the child of a fork: the files stay with the parent."""
        for segment in self._segments:
            segment.forget()

    def _begin(self) -> Segment:
        # What is predicted about people is not for everybody on this machine.
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        segment = Segment.create(self.folder)
        self._segments.append(segment)
        return segment

    def _tidy(self, segment: Segment) -> None:
        with self._lock:
            if segment is self._active:
                segment.empty()
            elif not segment.is_done:
                segment.rest()
            elif segment in self._segments:
                self._segments.remove(segment)
                segment.remove()

    def _used(self) -> int:
        used = 0
        for path in self._files():
            with contextlib.suppress(FileNotFoundError):  # another process is through with it
                used += path.stat().st_size
        return used

    def _files(self) -> list[Path]:
        return sorted(self.folder.glob(f"*{ENDING}"))
