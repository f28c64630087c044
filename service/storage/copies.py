"""Copies on this machine of files that live at an address: they never change, and many small ones are slow to ask for.

Asking object storage takes a file's size, its footer and its columns, one answer after the other; fetching it whole
takes one, and many at once.
"""

import shutil
import tempfile
import weakref
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path

from service.storage.files import Files

_AT_ONCE = 64


class Copies:
    """Copies in a folder of our own, at most about `most_bytes`; closed, they are gone. One thread at a time."""

    def __init__(self, files: Files, *, most_bytes: int = 1 << 30) -> None:
        self._files = files
        self._most_bytes = most_bytes
        self._folder = Path(tempfile.mkdtemp(prefix="tidegate-copies-"))
        self.close = weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)
        """Removes all copies."""
        self._held: OrderedDict[str, tuple[Path, int]] = OrderedDict()
        self._bytes = 0
        self._number = 0

    def fetch(self, paths: Sequence[str]) -> list[Path]:
        """Where the copies of these files are; they stay until the next `shrink`.

        Raises:
            ArchiveAway: a file cannot be read now.
        """
        missing = [path for path in paths if path not in self._held]
        for at in range(0, len(missing), _AT_ONCE):
            for path, content in self._files.read_all(missing[at : at + _AT_ONCE]).items():
                self._number += 1
                copy = self._folder / f"{self._number}.parquet"
                copy.write_bytes(content)
                self._held[path] = copy, len(content)
                self._bytes += len(content)
        for path in paths:
            self._held.move_to_end(path)
        return [self._held[path][0] for path in paths]

    def shrink(self) -> None:
        """Drop those not asked for the longest, beyond the bound."""
        while self._bytes > self._most_bytes:
            _, (copy, size) = self._held.popitem(last=False)
            copy.unlink()
            self._bytes -= size
