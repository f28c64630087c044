"""Files that a trainer wrote: opened so that a link, a pipe or a folder in their place harms nobody."""

import os
import stat
from pathlib import Path
from typing import BinaryIO

from service.training.training_errors import TrainingError


class NotPlain(TrainingError):
    """Something else is where a trainer's file should be."""

    def __init__(self, name: str, seen: str) -> None:
        super().__init__(f"{name}: a plain file in the order's folder was expected, this is {seen}")
        self.name = name


def open_plain(folder: Path, name: str) -> BinaryIO:
    """A file of a trainer for reading, by its name below the order's folder, like `answer/predictions.parquet`.

    Raises:
        FileNotFoundError: it is not there.
        NotPlain: it, or a folder on the way, is a link, or it is no file of its own: it may be anybody's.
    """
    *folders, last = Path(name).parts
    if Path(name).is_absolute() or ".." in folders:
        raise NotPlain(name, "a way out of it")
    here = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        for step in folders:
            inner = _step(here, step, os.O_DIRECTORY, name)
            os.close(here)
            here = inner
        # Not blocking: whoever opens a named pipe waits for its other end.
        file = _step(here, last, os.O_NONBLOCK, name)
    finally:
        os.close(here)
    seen = os.fstat(file)
    if stat.S_ISREG(seen.st_mode) and seen.st_nlink == 1:
        return os.fdopen(file, "rb")
    os.close(file)
    raise NotPlain(name, "a second name of another file" if stat.S_ISREG(seen.st_mode) else "no file")


def is_plain(folder: Path, name: str) -> bool:
    """Whether such a file is there."""
    try:
        open_plain(folder, name).close()
    except (OSError, NotPlain):
        return False
    return True


def _step(here: int, name: str, flags: int, whole: str) -> int:
    try:
        return os.open(name, os.O_RDONLY | os.O_NOFOLLOW | flags, dir_fd=here)
    except FileNotFoundError:
        raise
    except OSError as error:
        # A link (ELOOP), a file where a folder should be, a socket.
        raise NotPlain(whole, f"something else ({error.strerror})") from error
