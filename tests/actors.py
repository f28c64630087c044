"""Processes for the kill test: python actors.py FOLDER URL MODE, then one role a line on stdin; the answer is a pid.

Everything is imported once; each actor is a fork of this process, so that it lives and dies within milliseconds.
"""

import os
import signal
import sys
import time
from pathlib import Path

from intake import NOON, Intake, batch, label_rows

from monitors.baseline.baselines import Baseline
from service.errors import StoreError
from service.intake.archiving import Roll
from service.intake.wire import Batch
from service.storage.ownership import Ownership
from service.storage.store import Store

ROWS = 20
ROLL = Roll(rows=200)


def open_intake(folder: Path, url: str) -> Intake:
    """The intake on a store, with the baseline that the stage has put into the folder."""
    intake = Intake(Store(url), folder / "archive", roll=ROLL)
    intake.baselines = {"1": Baseline.from_bytes((folder / "baseline").read_bytes())}
    return intake


def send(intake: Intake, number: int) -> None:
    """Batch `number` and its labels, always the same under the same keys."""
    table = batch(ROWS, seed=number)
    labels = label_rows(table.column("prediction_id").to_pylist(), label_values(number))
    intake.post(table, f"key{number}", str(number))
    intake.ingest.accept_labels("m", Batch(labels), f"key{number}", str(number), NOON)


def label_values(number: int) -> list[str]:
    return ["fit" if (number + row) % 3 else "returns" for row in range(ROWS)]


def append(folder: Path, url: str) -> None:
    """Send one batch after the other, each until it is acknowledged; acknowledged ones are marked in a file."""
    intake = open_intake(folder, url)
    marks = folder / "acknowledged"
    number = marks.stat().st_size if marks.exists() else 0
    parent = os.getppid()
    while os.getppid() == parent:
        try:
            send(intake, number)
        except StoreError:
            time.sleep(0.005)  # the store was killed: come back when it is up
            continue
        with marks.open("ab") as file:
            file.write(b".")
        number += 1


def work(folder: Path, url: str) -> None:
    """Fold and archive for ever."""
    intake = open_intake(folder, url)
    parent = os.getppid()
    while os.getppid() == parent:
        try:
            intake.worker.acquire()
            intake.worker.step()
        except StoreError:
            time.sleep(0.005)  # the store was killed: come back when it is up


def join(folder: Path, url: str) -> None:
    """Join labels for ever, in small steps: an actor lives for a moment only."""
    intake = open_intake(folder, url)
    joiner = intake.new_joiner(batch_rows=5 * ROWS)
    parent = os.getppid()
    while os.getppid() == parent:
        try:
            joiner.step(NOON)
        except StoreError:
            time.sleep(0.005)  # the store was killed: come back when it is up


def commit_in_two_steps() -> None:
    """The fault that the test must find: vectors first, the position a moment later."""
    whole = Ownership.commit

    def commit(self, writes, **state):
        whole(self, writes)
        time.sleep(0.03)  # the moment in which a kill separates the two steps
        whole(self, (), **state)

    Ownership.commit = commit


def main() -> None:
    folder, url, mode = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
    if mode == "two-steps":
        commit_in_two_steps()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            {"append": append, "work": work, "join": join}[line.strip()](folder, url)
            os._exit(0)
        sys.stdout.write(f"{pid}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
