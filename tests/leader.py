"""Actors that lead: python leader.py FOLDER URL MODE. Each line `lead` on stdin forks one; its pid comes back.

An actor is the schedule of a real scheduler process, on the folder and the store it is told. `FOLDER/leader` names the
one that leads. In the mode `claimless` the launcher starts whatever it is told to: the fault that the check must find.
"""

import os
import signal
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from service import jobs
from service.deciding.loop import Loop
from service.house import open_house
from service.jobs import Jobs
from service.launching import processes
from service.launching.choose import Launchers
from service.launching.command import Command
from service.settings import Settings
from service.training.registry import Registry

LEASE = timedelta(seconds=1)
_LOOK_SECONDS = 0.1
_MOMENT_SECONDS = 0.1


def settings_of(folder: Path, url: str) -> Settings:
    """Those of every process on the stage."""
    return Settings(
        store=url, data_dir=folder, policies=folder / "policies.d", partitions=1, role="scheduler", lease=LEASE
    )


def lead(folder: Path, url: str) -> None:
    """The schedule of a scheduler process, until it is killed."""
    with open_house(settings_of(folder, url), lambda: datetime.now(UTC)) as house:
        loop = Loop(house, Registry(folder, house.files), Launchers(house), makes_reports=False)
        schedule = Jobs(house, loop)
        schedule.start()
        led = False
        while True:
            if schedule.is_leader and not led:
                draft = folder / f"leader.{os.getpid()}"
                draft.write_text(str(os.getpid()))
                draft.replace(folder / "leader")
            led = schedule.is_leader
            time.sleep(0.01)  # it plays in other threads


def linger() -> None:
    """Stand still before and after each launch: the moments in which a kill or a pause does harm, if anything does."""
    launch: Callable[..., None] = Command.launch

    def slowly(self, order):
        time.sleep(_MOMENT_SECONDS)  # the moment that a strike should meet
        launch(self, order)
        time.sleep(_MOMENT_SECONDS)  # the moment that a strike should meet

    Command.launch = slowly


def launch_blindly() -> None:
    """Start whatever is asked for, without a look at what runs or has ended."""

    def launch(self, order, start):
        place = processes.place_of(order)
        place.mkdir(parents=True, exist_ok=True)
        with (place / "lock").open("ab") as lock:
            self._start(order, start, place, lock)

    processes.Processes.launch = launch


def main() -> None:
    folder, url, mode = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
    jobs.RETRAINING_LOOK_SECONDS = _LOOK_SECONDS
    if mode == "claimless":
        launch_blindly()
    linger()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    for _ in sys.stdin:
        pid = os.fork()
        if pid == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            lead(folder, url)
        sys.stdout.write(f"{pid}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
