"""Following a trainer's `checkpoints.ndjson` as it grows: each line is read once."""

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from service.launching.untrusted import NotPlain, open_plain
from service.training.checkpoints import Checkpoint
from service.training.told import LONGEST_LINE, MOST_CHECKPOINTS, read_line, with_best

FILE = "checkpoints.ndjson"
_MOST_BYTES = MOST_CHECKPOINTS * LONGEST_LINE
"""So much is read at one look; of more than that only the newest is."""


@dataclass(frozen=True)
class _Read:
    """What was read of one file: which it was, how far, and what it told."""

    file: int
    until: int
    checkpoints: tuple[Checkpoint, ...]


class Following:
    """The checkpoints of each order's folder, as far as they were read."""

    def __init__(self) -> None:
        self._read: dict[Path, _Read] = {}

    def read(self, folder: Path) -> tuple[Checkpoint, ...]:
        """Those that are there now, the newest of them; a file that was begun anew is read anew."""
        before = self._read.get(folder, _Read(0, 0, ()))
        with suppress(FileNotFoundError, NotPlain):
            before = self._read[folder] = _read_on(folder, before)
        return before.checkpoints

    def forget(self, folder: Path) -> None:
        """It has ended."""
        self._read.pop(folder, None)


def _read_on(folder: Path, before: _Read) -> _Read:
    with open_plain(folder, FILE) as file:
        seen = os.fstat(file.fileno())
        number, size = seen.st_ino, seen.st_size
        if number != before.file or size < before.until:
            before = _Read(number, 0, ())
        start = max(before.until, size - _MOST_BYTES)
        file.seek(start)
        said = file.read(_MOST_BYTES)
    whole, newline, _ = said.rpartition(b"\n")
    if not newline:
        return before
    lines = [line for line in whole.split(b"\n")[-MOST_CHECKPOINTS:] if line.strip()]
    found = (*before.checkpoints, *(read_line(line) for line in lines))
    return _Read(number, start + len(whole) + 1, with_best(found))
