"""The keeper of one trainer: `python keeper.py FOLDER`, a process between the service and the trainer's.

It outlives a killed service, so that the trainer's exit code is not lost with it; it holds the lock that says that the
trainer runs, ends the trainer where `FOLDER/cancel` or `FOLDER/stop` appears or a limit is passed, leaves nothing of it
behind, and writes last words to `FOLDER/exit.json`. Whoever wants the trainer's end writes a file: only the keeper
sends signals, and only to its own children, so no id of a process that is gone is ever used.

A file of its own, run without site packages: setting limits between fork and exec inside a threaded service could
deadlock. `FOLDER` holds `order.json` and is not the folder that the trainer works in.
"""

import contextlib
import ctypes
import json
import os
import resource
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_LOOK_SECONDS = 0.1
_DISK_LOOK_SECONDS = 1.0
_GRACE_SECONDS = {"stopped": 1.0}
"""From SIGTERM to SIGKILL. A service that stops has no time."""
_USUAL_GRACE_SECONDS = 3.0
_LEFTOVER_SECONDS = 5.0
_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36


class Log:
    """The latest of what the trainer prints: at most twice `most` bytes, the older half in `log.before`."""

    def __init__(self, folder: Path, most: int) -> None:
        self._file, self._before, self._most = folder / "log", folder / "log.before", most
        self._open = self._file.open("wb", buffering=0)
        self._written = 0

    def write(self, said: bytes) -> None:
        """Take more of it."""
        if self._written + len(said) > self._most:
            self._open.close()
            self._file.replace(self._before)
            self._open = self._file.open("wb", buffering=0)
            self._written = 0
        self._open.write(said)
        self._written += len(said)


class Kept:
    """The trainer's process, what it prints, and why it has to end, if it has to."""

    def __init__(self, folder: Path, order: dict[str, Any]) -> None:
        self._folder, self._order = folder, order
        self._began = self._disk_seen = time.monotonic()
        self._kill_at = float("inf")
        self.ended = "exited"
        self._log = Log(folder, order["log_bytes"])
        self._pipe, theirs = os.pipe()
        os.set_blocking(self._pipe, False)
        try:
            self._child = subprocess.Popen(
                order["argv"],
                cwd=order["cwd"],
                env=order["environment"],
                stdin=subprocess.DEVNULL,
                stdout=theirs,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                # The trainer holds the lock too: while any part of it lives, nobody starts it again.
                pass_fds=(order["lock"],),
                preexec_fn=lambda: _limit(order),  # noqa: PLW1509  this process has one thread
            )
        finally:
            os.close(theirs)

    def wait(self) -> int:
        """Until the trainer has ended, of its own or by us; its exit code, or the negative number of a signal."""
        while not self._has_ended():
            self._listen(_LOOK_SECONDS)
            if self._kill_at < float("inf"):
                if time.monotonic() >= self._kill_at:
                    self._signal(signal.SIGKILL)
            elif why := self._why_end():
                self.end(why)
        # Not waited for yet, so its id is still its own, and its group's.
        self._signal(signal.SIGKILL)
        code = self._child.wait()
        _end_leftovers()
        self._listen(0)
        return code

    def end(self, why: str) -> None:
        """Ask the trainer to end; it is killed where it does not."""
        self.ended = why
        self._kill_at = time.monotonic() + _GRACE_SECONDS.get(why, _USUAL_GRACE_SECONDS)
        self._signal(signal.SIGTERM)

    def _why_end(self) -> str:
        for name, why in (("stop", "stopped"), ("cancel", "cancelled")):
            if (self._folder / name).exists():
                return why
        now = time.monotonic()
        if now - self._began > self._order["seconds"]:
            return "timeout"
        if now - self._disk_seen > _DISK_LOOK_SECONDS:
            self._disk_seen = now
            if _is_over(Path(self._order["watched"]), self._order["disk_bytes"], self._order["most_files"]):
                return "disk"
        return ""

    def _has_ended(self) -> bool:
        if not hasattr(os, "waitid"):
            return self._child.poll() is not None
        return os.waitid(os.P_PID, self._child.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None

    def _signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._child.pid, number)

    def _listen(self, seconds: float) -> None:
        """Take what was printed; wait so long for it, or for the next look."""
        if not select.select([self._pipe], [], [], seconds)[0]:
            return
        with contextlib.suppress(BlockingIOError):
            said = os.read(self._pipe, 1 << 16)
            if said:
                self._log.write(said)
            elif seconds:
                # The trainer has closed its output and goes on: nothing to wait for.
                time.sleep(seconds)


def main(folder: Path) -> None:
    """Keep the trainer of a folder until its end. Where it was stopped no last words are written: it is begun again."""
    order = json.loads((folder / "order.json").read_bytes())
    if sys.platform == "linux":
        # What the trainer leaves behind becomes our child, and ends with it.
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    try:
        kept = Kept(folder, order)
    except (OSError, subprocess.SubprocessError) as error:
        _leave(folder, {"ended": "not_started", "code": None, "problem": str(error)})
        return
    signal.signal(signal.SIGTERM, lambda *_: kept.end("stopped"))
    code = kept.wait()
    if kept.ended != "stopped":
        _leave(folder, {"ended": kept.ended, "code": code, "problem": ""})


def _limit(order: dict[str, Any]) -> None:
    """Between fork and exec: the limits of the process that becomes the trainer."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    for kind, most in (
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_DATA, order["memory_bytes"]),
        (resource.RLIMIT_CPU, order["cpu_seconds"]),
        (resource.RLIMIT_FSIZE, order["disk_bytes"]),
    ):
        # Of processor time the hard limit is one second on: at the soft one comes a signal that says what it is.
        hard = most + (kind == resource.RLIMIT_CPU)
        known = resource.getrlimit(kind)[1]
        hard = hard if known == resource.RLIM_INFINITY else min(hard, known)
        resource.setrlimit(kind, (min(most, hard), hard))
    os.nice(order["niceness"])


def _is_over(folder: Path, most_bytes: int, most_files: int) -> bool:
    """Whether the files in a folder take more than they may, or are too many to count."""
    taken = 0
    for seen, entry in enumerate(_files(str(folder)), start=1):
        with contextlib.suppress(OSError):
            taken += entry.stat(follow_symlinks=False).st_blocks * 512
        if taken > most_bytes or seen > most_files:
            return True
    return False


def _files(folder: str) -> "Iterator[os.DirEntry[str]]":
    folders = [folder]
    while folders:
        with contextlib.suppress(OSError), os.scandir(folders.pop()) as entries:
            for entry in entries:
                yield entry
                if entry.is_dir(follow_symlinks=False):
                    folders.append(entry.path)


def _end_leftovers() -> None:
    """Kill what the trainer left behind in sessions of its own; Linux gives it to us as children."""
    children = Path(f"/proc/self/task/{os.getpid()}/children")
    until = time.monotonic() + _LEFTOVER_SECONDS
    while time.monotonic() < until:
        with contextlib.suppress(OSError):
            for child in children.read_text().split():
                os.kill(int(child), signal.SIGKILL)
        try:
            if os.waitpid(-1, os.WNOHANG)[0] == 0:
                time.sleep(0.01)
        except ChildProcessError:
            return


def _leave(folder: Path, words: dict[str, object]) -> None:
    """Write `exit.json`, whole or not at all."""
    draft = folder / "exit.draft"
    with draft.open("w") as file:
        json.dump(words, file)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(folder / "exit.json")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
