"""Packs rows that were logged into batches, and puts them on the shelf."""

from __future__ import annotations

import threading
import time

from tidegate_client.batches import LABELS, PREDICTIONS, Batch, Kind
from tidegate_client.errors import BadRow, ShelfFull
from tidegate_client.notices import Notices
from tidegate_client.options import Options
from tidegate_client.queue import Entry, Queue
from tidegate_client.rows import encode
from tidegate_client.shelves import Shelf
from tidegate_client.tally import Tally

# Writing JSON holds the interpreter: a caller who wants it gets it after so many rows, about a fifth of a millisecond,
# and not after the 5 ms of Python's own switching.
_ROWS_AT_A_TIME = 16


class _Sheet:
    """The lines of a body that is being made."""

    def __init__(self, kind: Kind) -> None:
        self.kind = kind
        self.clear()

    def add(self, line: bytes) -> None:
        self.lines.append(line)
        self.bytes += len(line) + 1

    def clear(self) -> None:
        self.lines: list[bytes] = []
        self.bytes = 0


class Packer:
    """Every row leaves `queue` as part of a batch on `shelf`, or counted as dropped or unusable."""

    def __init__(self, options: Options, queue: Queue, shelf: Shelf, tally: Tally, notices: Notices) -> None:
        self._options, self._queue, self._shelf = options, queue, shelf
        self._tally, self._notices = tally, notices
        self._packing = threading.Lock()
        self._stopped = False

    def run(self, packed: threading.Event) -> None:
        """Pack for ever; `packed` is set after each time."""
        while not self._stopped:
            self._queue.wanted.wait(self._options.batch_seconds)
            self._queue.wanted.clear()
            if self._queue.rows:
                self.pack()
                packed.set()

    def stop(self) -> None:
        """Let `run` come back."""
        self._stopped = True
        self._queue.wanted.set()

    def pack(self, within_seconds: float = -1) -> bool:
        """Pack what is in the queue now. Whether it is done: another thread may have been at it for too long."""
        if not self._packing.acquire(timeout=within_seconds):
            return False
        try:
            sheets = {kind: _Sheet(kind) for kind in (PREDICTIONS, LABELS)}
            for entry in self._queue.take():
                self._pack_entry(entry, sheets[entry.kind])
            for sheet in sheets.values():
                self._put_away(sheet)
        finally:
            self._packing.release()
        return True

    def _pack_entry(self, entry: Entry, sheet: _Sheet) -> None:
        seen = 0
        try:
            for row in entry.rows:
                seen += 1
                try:
                    sheet.add(encode(row))
                except BadRow as error:
                    self._give_up("unusable", 1, str(error))
                    continue
                if len(sheet.lines) >= self._options.batch_rows or sheet.bytes >= self._options.batch_bytes:
                    self._put_away(sheet)
                if seen % _ROWS_AT_A_TIME == 0:
                    time.sleep(0)  # let the caller's threads run
        except Exception as error:  # noqa: BLE001  a table of any kind, whose rows cannot be made
            self._give_up("unusable", entry.size - seen, f"rows of a table cannot be sent: {error!r}")

    def _put_away(self, sheet: _Sheet) -> None:
        if not sheet.lines:
            return
        batch = Batch.of(sheet.kind, sheet.lines)
        sheet.clear()
        try:
            self._shelf.add(batch)
        except ShelfFull as full:
            self._give_up("dropped", batch.rows, f"rows are dropped: {full}")
        else:
            self._queue.done(batch.rows)

    def _give_up(self, end: str, rows: int, text: str) -> None:
        self._tally.add(**{end: rows})
        self._queue.done(rows)
        self._notices.often(end, f"{text} ({getattr(self._tally.counts(), end):,} rows are {end} so far)")
