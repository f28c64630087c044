"""What works behind a client in one process: the queue, the shelves, and the two threads between them."""

from __future__ import annotations

import contextlib
import threading
import time
from typing import TYPE_CHECKING

from tidegate_client.line import THREADS
from tidegate_client.notices import Notices
from tidegate_client.options import Options
from tidegate_client.packer import Packer
from tidegate_client.queue import Entry, Queue
from tidegate_client.sender import Sender
from tidegate_client.shelves import Pocket, Shelves
from tidegate_client.tally import Tally

if TYPE_CHECKING:
    from tidegate_client.spool import Spool

# How often a flush looks, besides being told.
_LOOK_SECONDS = 0.05


class Courier:
    """Takes rows, and brings them to the service. Its threads are daemons: a program that ends does not wait for it,
    but calls `close`.
    """

    def __init__(self, options: Options, tally: Tally, notices: Notices) -> None:
        self._options, self._tally, self._notices = options, tally, notices
        self._queue = Queue(options.queue_rows, options.batch_rows)
        self._spool = _spool(options, notices)
        pocket = Pocket(options.memory_bytes)
        self._shelf = Shelves([pocket] if self._spool is None else [self._spool, pocket])
        self._packer = Packer(options, self._queue, self._shelf, tally, notices)
        self._sender = Sender(options, self._shelf, self._adopt, tally, notices)
        threads = {"pack": lambda: self._packer.run(self._sender.news), "send": self._sender.run}
        self._threads = [
            threading.Thread(target=run, name=THREADS + name, daemon=True) for name, run in threads.items()
        ]
        for thread in self._threads:
            thread.start()

    def take(self, entry: Entry) -> None:
        """Take rows, or count them as dropped where there is no room; at once in either case."""
        self._tally.log(entry.size)
        if not self._queue.put(entry):
            self._tally.add(dropped=entry.size)
            dropped = self._tally.counts().dropped
            self._notices.often(
                "queue", f"rows come faster than they are packed and are dropped ({dropped:,} so far): raise queue_rows"
            )

    def flush(self, seconds: float) -> bool:
        """Whether every row that was taken until now has come to an end within so many seconds."""
        until = time.monotonic() + seconds
        if not self._packer.pack(max(0.0, seconds)):
            return False
        is_through = self._shelf.mark()
        self._sender.hurry()
        while not is_through():
            left = until - time.monotonic()
            if left <= 0:
                return False
            with self._sender.ended:
                self._sender.ended.wait(min(left, _LOOK_SECONDS))
        return True

    def close(self, seconds: float) -> None:
        """Flush, and stop. What is not sent stays in the spool; without one it is dropped, and said."""
        until = time.monotonic() + seconds
        self.flush(seconds)
        self._packer.stop()
        self._sender.stop()
        for thread in set(self._threads) - {threading.current_thread()}:  # `on_rejected` may close
            thread.join(max(0.1, until - time.monotonic()))
        self._sender.abandon()
        waiting = self._tally.counts().waiting
        left = 0 if self._spool is None else self._spool.close()
        self._tally.add(left=left, dropped=waiting - left)
        if left and self._spool is not None:
            self._notices.often("left", f"stopped; {left:,} rows stay in {self._spool.folder} for who starts next")
        if waiting > left:
            self._notices.often("lost", f"stopped; {waiting - left:,} rows were not acknowledged and are lost")

    def forget(self) -> None:
        """Let go in the child of a fork, where the threads are not: the rows are the parent's."""
        if self._spool is not None:
            self._spool.forget()

    def _adopt(self) -> None:
        if self._spool is None:
            return
        rows, damaged = 0, 0
        with contextlib.suppress(OSError):
            rows, damaged = self._spool.adopt()
        self._tally.add(adopted=rows)
        if damaged:
            self._notices.often("damaged", f"{damaged:,} bytes at the end of a spooled file were torn and are lost")


def _spool(options: Options, notices: Notices) -> Spool | None:
    if options.spool_folder is None:
        return None
    try:
        from tidegate_client.spool import Spool  # noqa: PLC0415  file locks of this kind are not everywhere

        return Spool(options.spool_folder, options.spool_bytes, fsync=options.fsync)
    except (ImportError, OSError) as error:
        if options.strict:
            raise
        notices.once("spool", f"there is no spool, rows wait in memory only: {error}; give spool=, or spool=False")
        return None
