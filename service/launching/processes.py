"""Processes: how trainers of this machine are started, looked at and ended, whoever asks and whoever died meanwhile.

Beside an order's folder, in `<folder>.process`: `lock`, held by whatever is alive of the trainer; `order.json`, what
was started; `log`, what it printed; `cancel` and `stop`, what we want of it; `exit.json`, how it ended. All that is
known is read from there, so every process of this machine knows the same.
"""

import fcntl
import json
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from threading import Lock
from typing import IO, Any

from service.launching.ends import Exit, exit_of, place_of, why_lost
from service.launching.following import Following
from service.launching.limits import LOG_BYTES, MOST_FILES, NICENESS, Limits
from service.launching.port import LaunchFailed, Order, OrderDiffers, Progress
from service.training.model_files import write_durably

_KEEPER = Path(__file__).with_name("keeper.py")
_STOP_SECONDS = 3.0
_LOOK_SECONDS = 0.1


@dataclass(frozen=True)
class Start:
    """What is to be started: the program with its arguments, where, and all that it sees as environment."""

    argv: Sequence[str]
    folder: Path
    environment: Mapping[str, str]


class Processes:
    """The trainers of this machine. Close it where the service ends: what was started or seen here ends then too."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._keepers: list[subprocess.Popen[bytes]] = []
        self._seen: set[Path] = set()
        # Each model has a thread of its own that looks after its retraining.
        self._lock = Lock()
        self._following = Following()

    def launch(self, order: Order, start: Start) -> None:
        """Start it, unless it runs, has ended or was cancelled. Raises OrderDiffers, LaunchFailed."""
        place = place_of(order)
        try:
            place.mkdir(parents=True, exist_ok=True)
            with (place / "lock").open("ab") as lock:
                if not _take(lock, patience_seconds=_LOOK_SECONDS):
                    _check_same(order, place)
                    return
                _check_same(order, place)
                if exit_of(order) is None and not (place / "cancel").exists():
                    self._start(order, start, place, lock)
        except OSError as error:
            raise LaunchFailed(f"{order.name} could not be started in {place}: {error}") from error

    def is_running(self, order: Order) -> bool:
        """Whether anything of it is alive."""
        self._reap()
        place = place_of(order)
        try:
            with (place / "lock").open("rb") as lock:
                is_running = not _take(lock, fcntl.LOCK_SH)
        except FileNotFoundError:
            return False
        with self._lock:
            (self._seen.add if is_running else self._seen.discard)(place)
        return is_running

    def look(self, order: Order, why_failed: Callable[[Order, Exit], str]) -> Progress:
        """How it goes. `why_failed` says of one that has ended why it gave no answer; empty where it gave one."""
        # In this order, and how it ended looked for again last: it may end between two looks.
        ended = exit_of(order)
        if ended is None and self.is_running(order):
            return Progress("running", checkpoints=self._following.read(order.folder))
        ended = ended or exit_of(order)
        checkpoints = self._following.read(order.folder)
        self._following.forget(order.folder)
        if ended is None and (place_of(order) / "cancel").exists():
            ended = Exit("cancelled", None)
        if ended is None:
            stopped = (place_of(order) / "stop").exists()
            return Progress("lost", why_lost(order), checkpoints, is_stopped=stopped)
        reason = why_failed(order, ended)
        return Progress("failed" if reason else "succeeded", reason, checkpoints)

    def cancel(self, order: Order) -> None:
        """Ask its keeper to end it, which takes moments. What was not started yet never will be.

        Raises:
            LaunchFailed: it could not be asked.
        """
        try:
            if exit_of(order) is None:
                place_of(order).mkdir(parents=True, exist_ok=True)
                (place_of(order) / "cancel").touch()
        except OSError as error:
            raise LaunchFailed(f"{order.name} could not be cancelled: {error}") from error

    def close(self) -> None:
        """End what runs, to be begun again."""
        with self._lock:
            seen, self._seen = self._seen, set()
            keepers, self._keepers = self._keepers, []
        for place in seen:
            with suppress(OSError):
                (place / "stop").touch()
        for keeper in keepers:
            try:
                keeper.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                keeper.kill()
                keeper.wait()

    def _start(self, order: Order, start: Start, place: Path, lock: IO[bytes]) -> None:
        (place / "stop").unlink(missing_ok=True)
        said: dict[str, Any] = {
            "name": order.name,
            "digest": order.digest,
            "argv": list(start.argv),
            "cwd": str(start.folder),
            "environment": dict(start.environment),
            "watched": str(order.folder),
            "seconds": order.trainer.timeout.total_seconds(),
            "lock": lock.fileno(),
            "niceness": NICENESS,
            "log_bytes": LOG_BYTES,
            "most_files": MOST_FILES,
            **asdict(self._limits),
        }
        write_durably(place / "order.draft", json.dumps(said, indent=2).encode())
        (place / "order.draft").replace(place / "order.json")
        keeper = subprocess.Popen(
            [sys.executable, "-I", "-S", str(_KEEPER), str(place)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=dict(start.environment),
            # In its own session: a Ctrl-C in the terminal reaches the service, which ends it in order.
            start_new_session=True,
            pass_fds=(lock.fileno(),),
        )
        with self._lock:
            self._keepers.append(keeper)
            self._seen.add(place)

    def _reap(self) -> None:
        with self._lock:
            self._keepers = [keeper for keeper in self._keepers if keeper.poll() is None]


def _take(lock: IO[bytes], kind: int = fcntl.LOCK_EX, patience_seconds: float = 0.0) -> bool:
    """Take the lock, and say whether nobody had it; whoever closes the file gives it back.

    Whoever looks has it shared for a moment, so whoever starts tries for a while.
    """
    until = time.monotonic() + patience_seconds
    while True:
        try:
            fcntl.flock(lock, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= until:
                return False
            time.sleep(0.005)
        else:
            return True


def _check_same(order: Order, place: Path) -> None:
    with suppress(FileNotFoundError):
        try:
            seen = str(json.loads((place / "order.json").read_bytes())["digest"])
        except (ValueError, TypeError, KeyError) as error:
            raise LaunchFailed(f"{place / 'order.json'} is not what was started: {error!r}") from error
        if seen != order.digest:
            raise OrderDiffers(order.name, order.digest, seen)
