"""One file of the spool: only appended to, and locked by the process that writes or sends it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from tidegate_client.batches import Batch
from tidegate_client.frames import MAGIC, batch_frame, end_frame, read_frame
from tidegate_client.shelves import Held

ENDING, NEW_ENDING = ".spool", ".new"


class Segment:
    """`rows` wait in it. The lock ends with the process, however it ends: then another may adopt the file.

    What waits where is in memory only while the file is being written or sent.

    Not to be unlocked after a fork: the lock is one for both processes, and the child only closes its copy.
    """

    def __init__(self, path: Path, descriptor: int, *, is_own: bool) -> None:
        self.path, self.is_own = path, is_own
        self.rows = 0
        self.size = len(MAGIC)
        self.damaged_bytes = 0
        self._descriptor = descriptor
        self._lock = threading.Lock()
        self._batches = 0
        self._waiting: dict[int, int] | None = {}
        self._lives = 0

    @classmethod
    def create(cls, folder: Path) -> Segment:
        """A new one. It takes its name when it is locked: under that name nobody finds it unlocked and adopts it."""
        while True:
            path = folder / f"{time.time_ns():020}-{os.getpid()}-{os.urandom(3).hex()}{ENDING}"
            new = path.with_suffix(NEW_ENDING)
            descriptor = os.open(new, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
            try:
                # Who clears away what was begun and never named may have been faster than the lock.
                if _lock(descriptor):
                    os.pwrite(descriptor, MAGIC, 0)
                    new.rename(path)
                    return cls(path, descriptor, is_own=True)
            except OSError:
                os.close(descriptor)
                raise
            os.close(descriptor)

    @classmethod
    def adopt(cls, path: Path) -> Segment | None:
        """That of a process that ended. None while its process lives, when somebody else was faster, and when this
        version cannot read it.
        """
        try:
            descriptor = os.open(path, os.O_RDWR)
        except OSError:
            return None
        if _lock(descriptor) and os.pread(descriptor, len(MAGIC), 0) in {MAGIC, b""}:
            segment = cls(path, descriptor, is_own=False)
            segment._load()
            return segment
        os.close(descriptor)
        return None

    def append(self, batch: Batch, *, fsync: bool) -> None:
        """Write a batch at the end. Raises OSError, and then the file is as before."""
        with self._lock:
            offset = self.size
            self._write(batch_frame(batch))
            if fsync:
                os.fsync(self._descriptor)
            self._batches += 1
            self.rows += batch.rows
            if self._waiting is not None:
                self._waiting[offset] = batch.rows

    def waiting(self) -> Iterator[Held]:
        """The batches that wait, the oldest first; those that come meanwhile too, until the file begins anew."""
        life, offset = self._lives, -1
        while True:
            with self._lock:
                offset = self._next(offset) if life == self._lives else -1
                frame = read_frame(self._read, offset) if offset >= 0 else None
            if frame is None or frame.batch is None:
                return
            yield Held(frame.batch, lambda offset=offset, batch=frame.batch: self._end(offset, batch))  # type: ignore[misc]

    @property
    def is_done(self) -> bool:
        """Whether nothing waits in it."""
        return not self._batches

    def rest(self) -> None:
        """Keep nothing in memory until it is gone through again."""
        with self._lock:
            self._waiting = None

    def empty(self) -> None:
        """Begin anew, where nothing waits; what is ended needs no place."""
        with self._lock:
            if self._descriptor >= 0 and not self._batches and self.size > len(MAGIC):
                os.ftruncate(self._descriptor, len(MAGIC))
                self.size = len(MAGIC)
                self._lives += 1

    def remove(self) -> None:
        """Delete the file, where nothing waits in it, and let go of it."""
        if self.is_done and self._descriptor >= 0:
            self.path.unlink(missing_ok=True)
        self.release()

    def release(self) -> None:
        """Let go of the file: what waits in it is for who comes next."""
        with self._lock:
            if self._descriptor >= 0:
                os.close(self._descriptor)
                self._descriptor, self._waiting, self._batches = -1, {}, 0

    def forget(self) -> None:
        """Let go in the child of a fork. The lock of this object may be held by a thread that exists no more."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor, self._waiting = -1, {}

    def _known(self) -> dict[int, int]:
        if self._waiting is None and self._descriptor >= 0:
            self._load()
        return self._waiting or {}

    def _next(self, offset: int) -> int:
        return next((each for each in self._known() if each > offset), -1)

    def _end(self, offset: int, batch: Batch) -> None:
        with self._lock:
            if self._known().pop(offset, None) is None:
                return
            self._batches -= 1
            self.rows -= batch.rows
            # Without this frame the batch would be sent once more, under its key, and count once all the same.
            with contextlib.suppress(OSError):
                self._write(end_frame(batch.key))

    def _write(self, frame: bytes) -> None:
        try:
            written = os.pwrite(self._descriptor, frame, self.size)
        except OSError:
            os.ftruncate(self._descriptor, self.size)
            raise
        if written < len(frame):
            os.ftruncate(self._descriptor, self.size)
            raise OSError(f"only {written} of {len(frame)} bytes could be written to {self.path}: the disk is full")
        self.size += written

    def _read(self, length: int, offset: int) -> bytes:
        return os.pread(self._descriptor, length, offset)

    def _load(self) -> None:
        """Find what waits. What follows a broken frame cannot be read: it is counted in bytes."""
        offsets: dict[str, tuple[int, int]] = {}
        at = len(MAGIC) if self._read(len(MAGIC), 0) == MAGIC else -1
        while at >= 0 and (frame := read_frame(self._read, at)) is not None:
            if frame.batch is not None:
                offsets[frame.key] = (at, frame.batch.rows)
            else:
                offsets.pop(frame.key, None)
            at = frame.after
        self.size = max(at, 0)
        self.damaged_bytes = os.fstat(self._descriptor).st_size - self.size
        self._waiting = dict(offsets.values())
        self._batches, self.rows = len(offsets), sum(self._waiting.values())


def _lock(descriptor: int) -> bool:
    """Whether the file is ours now, and still there."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return os.fstat(descriptor).st_nlink > 0
