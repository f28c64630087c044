"""Processes for the kill loops: python actors.py FOLDER URL MODE, then one role a line on stdin; the answer is a pid.

Everything is imported once; each actor is a fork of this process, so that it lives and dies within milliseconds. The
socket that the api listens on belongs to this process: whoever posts while no api lives waits for the next one.
"""

import asyncio
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from http.client import HTTPConnection, HTTPException
from pathlib import Path

import msgspec
import pyarrow as pa
import uvicorn
from intake import NOON, Intake, batch

from monitors.baseline.baselines import Baseline
from service.errors import ServiceError
from service.house import open_house
from service.intake.archive.archiving import Roll
from service.settings import Settings
from service.storage.ownership import Ownership
from service.storage.store import Store
from service.web.api import create_app

ROWS = 20
PARTITIONS = 2
ROLL = Roll(rows=200)
_POLICY = "model: m\ntask: {kind: classification, target: intent}\n"


@dataclass(frozen=True)
class Stage:
    """Where the actors play: their folder, the store, and the socket that the api listens on."""

    folder: Path
    url: str
    door: socket.socket

    @property
    def marks(self) -> Path:
        """A file with one byte for each batch that was acknowledged."""
        return self.folder / "acknowledged"


def open_intake(folder: Path, url: str) -> Intake:
    """The intake on a store, with the baseline that was put into the folder."""
    intake = Intake(Store(url), folder / "archive", partitions=PARTITIONS, roll=ROLL)
    intake.baselines = {"1": Baseline.from_bytes((folder / "baseline").read_bytes())}
    return intake


def rows_of(table: pa.Table) -> list[dict[str, object]]:
    """The rows as a production system posts them."""
    groups = {"feature_": "features", "tag_": "tags"}
    rows: list[dict[str, object]] = []
    for flat in table.to_pylist():
        row: dict[str, object] = {}
        for name, value in flat.items():
            start = next((start for start in groups if name.startswith(start)), "")
            if start:
                row.setdefault(groups[start], {})[name.removeprefix(start)] = value
            else:
                row[name] = value.isoformat() if isinstance(value, datetime) else value
        rows.append(row)
    return rows


def label_values(number: int) -> list[str]:
    return ["fit" if (number + row) % 3 else "returns" for row in range(ROWS)]


def bodies(number: int) -> dict[str, bytes]:
    """Batch `number` and its labels, always the same."""
    table = batch(ROWS, seed=number)
    ids = table.column("prediction_id").to_pylist()
    labels = [
        {"prediction_id": identity, "label": value, "timestamp": NOON.isoformat()}
        for identity, value in zip(ids, label_values(number), strict=True)
    ]
    return {"predictions": msgspec.json.encode(rows_of(table)), "labels": msgspec.json.encode(labels)}


def post(address: tuple[str, int], number: int) -> bool:
    """Whether batch `number` and its labels were acknowledged, under the same keys at every try."""
    connection = HTTPConnection(*address, timeout=30)
    try:
        for path, body in bodies(number).items():
            headers = {"Content-Type": "application/json", "Idempotency-Key": f"batch {number}".replace(" ", "-")}
            connection.request("POST", f"/v1/models/m/{path}", body, headers)
            answer = connection.getresponse()
            answer.read()
            if answer.status != 202:
                return False
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()
    return True


def send(stage: Stage) -> None:
    """Post one batch after the other, each until it is acknowledged; acknowledged ones are marked in a file."""
    number = stage.marks.stat().st_size if stage.marks.exists() else 0
    while True:
        if post(stage.door.getsockname(), number):
            with stage.marks.open("ab") as file:
                file.write(b".")
            number += 1
        else:
            time.sleep(0.005)  # the api or the store was killed: come back when it is up


def answer(stage: Stage) -> None:
    """The service's own HTTP surface."""
    policies = stage.folder / "policies.d"
    settings = Settings(store=stage.url, data_dir=stage.folder, policies=policies, partitions=PARTITIONS, role="api")
    with open_house(settings, lambda: NOON) as house:
        server = uvicorn.Server(uvicorn.Config(create_app(house), log_config=None, lifespan="off"))
        asyncio.run(server.serve(sockets=[stage.door]))


def work(stage: Stage) -> None:
    """Fold and archive for ever."""
    intake = open_intake(stage.folder, stage.url)
    while True:
        try:
            intake.worker.acquire()
            intake.worker.step()
        except ServiceError:
            time.sleep(0.005)  # the store was killed: come back when it is up


def join(stage: Stage) -> None:
    """Join labels for ever, in small steps: an actor lives for a moment only."""
    intake = open_intake(stage.folder, stage.url)
    joiner = intake.new_joiner(batch_rows=5 * ROWS)
    while True:
        try:
            joiner.step(NOON)
        except ServiceError:
            time.sleep(0.005)  # the store was killed: come back when it is up


ROLES: dict[str, Callable[[Stage], None]] = {"send": send, "api": answer, "work": work, "join": join}


def commit_in_two_steps() -> None:
    """The fault that the check must find: vectors first, the position a moment later."""
    whole = Ownership.commit

    def commit(self, writes, **state):
        whole(self, writes)
        time.sleep(0.1)  # the moment in which a kill separates the two steps
        whole(self, (), **state)

    Ownership.commit = commit


def main() -> None:
    folder, url, mode = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
    if mode == "two-steps":
        commit_in_two_steps()
    (folder / "policies.d").mkdir(exist_ok=True)
    (folder / "policies.d" / "m.yaml").write_text(_POLICY)
    stage = Stage(folder, url, socket.create_server(("127.0.0.1", 0), backlog=128))
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    sys.stdout.write(f"{stage.door.getsockname()[1]}\n")
    sys.stdout.flush()
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            play(ROLES[line.strip()], stage)
        sys.stdout.write(f"{pid}\n")
        sys.stdout.flush()


def play(role: Callable[[Stage], None], stage: Stage) -> None:
    """Play a role until this process is killed; again from the start where the store was away at the start."""
    while True:
        try:
            role(stage)
        except ServiceError:
            time.sleep(0.005)  # the store was killed: come back when it is up


if __name__ == "__main__":
    main()
