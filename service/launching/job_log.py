"""Job log: the last lines that a Job printed, kept in its order's folder: they outlive its pods.

Before it has printed anything the file says what the Job waits for, so that one that never starts has last words too.
"""

from contextlib import suppress
from pathlib import Path

from service.launching.outside import clean

LOG_FILE = "job.log"
LOG_LINES = 200
_MOST_CHARACTERS = 64 * 1024
_LAST_LINES = 5
_WAITING = "waiting: "


def keep_log(folder: Path, text: str) -> None:
    """Keep the end of what was printed; nothing printed leaves the file as it is."""
    if text:
        (folder / LOG_FILE).write_text(text[-_MOST_CHARACTERS:], encoding="utf-8")


def keep_wait(folder: Path, reason: str) -> None:
    """Keep what it waits for, where it has printed nothing."""
    text = _read(folder)
    if reason and (not text or text.startswith(_WAITING)):
        keep_log(folder, f"{_WAITING}{reason}\n")


def with_last_words(folder: Path, reason: str) -> str:
    """The reason of an end, and the last lines that were kept."""
    text = _read(folder)
    words = clean(" | ".join([line for line in text.splitlines() if line.strip()][-_LAST_LINES:]))
    if not text.startswith(_WAITING):
        return f"{reason}; its last words: {words}" if words else reason
    words = words.removeprefix(_WAITING)
    return reason if words in reason else f"{reason}; at last {words}"


def _read(folder: Path) -> str:
    with suppress(OSError):
        return (folder / LOG_FILE).read_text(encoding="utf-8")
    return ""
