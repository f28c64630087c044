"""The kill loop: real processes of every role and a real store, killed at random, and the check of what they left."""

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from actors import PARTITIONS, ROLES, ROWS, label_values, open_intake, post
from intake import BASELINE, Intake, batch, sum_of

from monitors.counting.labelled import fold_labelled
from monitors.counting.profiles import fold
from service.storage.embedded import Embedded

# A store takes longest to come back, and an api longer than the actors without a door.
_WEIGHTS = {"send": 2, "api": 3, "work": 5, "join": 4, "store": 1}


class KillLoop:
    """The store (which syncs every write) and the actors. As a context manager: whatever still lives ends with it."""

    def __init__(self, folder: Path, mode: str = "whole") -> None:
        self.folder = folder
        (folder / "baseline").write_bytes(BASELINE.to_bytes())
        self.server = Embedded(folder / "data").start()
        command = [sys.executable, str(Path(__file__).with_name("actors.py")), str(folder), self.server.url, mode]
        root = Path(__file__).parents[1]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(root), str(root / "tests")])}
        self.director = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
        self.address = ("127.0.0.1", int(self.director.stdout.readline()))
        self.pids: dict[str, int] = {}
        self.joined = 0
        self.kills = dict.fromkeys(_WEIGHTS, 0)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for role in self.pids:
            self._end(role)
        self.director.communicate()
        self.server.stop()

    def play(self, kills: int, seed: int) -> tuple[Intake, int]:
        """Kill so often, at random moments, then let all settle. Gives the intake and the batches it must hold."""
        chance = random.Random(seed)
        for role in ROLES:
            self._start(role)
        for _ in range(kills):
            time.sleep(chance.uniform(0.005, 0.1))  # when the next kill comes
            self._kill(chance.choices(list(_WEIGHTS), list(_WEIGHTS.values()))[0])
        for role in ("send", "work", "join"):
            self._end(role)
        intake = open_intake(self.folder, self.server.url)
        batches = (self.folder / "acknowledged").stat().st_size
        # The batch that was on its way: its sender would send it again.
        while not post(self.address, batches):
            time.sleep(0.005)  # the api is coming up
        self._end("api")
        self.joined = intake.numbers().labels["m", "matched"]
        for _ in range(3):
            intake.run()
        assert intake.numbers().backlog == 0
        return intake, batches + 1

    def _start(self, role: str) -> None:
        self.director.stdin.write(f"{role}\n")
        self.director.stdin.flush()
        self.pids[role] = int(self.director.stdout.readline())

    def _end(self, role: str) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pids[role], signal.SIGKILL)

    def _kill(self, role: str) -> None:
        self.kills[role] += 1
        if role == "store":
            os.kill(self.server.pid, signal.SIGKILL)
            self.server._child.wait()
            self.server.start()
        else:
            self._end(role)
            self._start(role)


def check(intake: Intake, batches: int) -> None:
    """Every cell, every counter and every archived row is as if nothing had happened."""
    table = pa.concat_tables([batch(ROWS, seed=number) for number in range(batches)])
    labels = [value for number in range(batches) for value in label_values(number)]
    labelled = table.append_column("label", pa.array(labels))
    layout, seconds = BASELINE.layout, BASELINE.slice_seconds
    np.testing.assert_allclose(intake.counted(), sum_of(fold(layout, table, seconds), layout.width), atol=1e-6)
    expected = sum_of(fold_labelled(layout, labelled, seconds), layout.labelled_width)
    np.testing.assert_allclose(intake.counted_labels(), expected, atol=1e-6)
    numbers = intake.numbers()
    assert numbers.predictions["m"] == table.num_rows
    assert numbers.labels == {("m", "matched"): table.num_rows}
    rows = [name for file in intake.folder.glob("predictions/**/*.parquet") for name in _ids_in(file)]
    rows += [
        name
        for partition in range(PARTITIONS)
        for entry in intake.log.read(partition, "0-0", rows=10**9, most_bytes=10**9).entries
        if entry.kind == "p"
        for name in entry.table().column("prediction_id").to_pylist()
    ]
    assert sorted(rows) == sorted(table.column("prediction_id").to_pylist())


def _ids_in(file: Path) -> list[str]:
    return pq.ParquetFile(file).read(["prediction_id"]).column(0).to_pylist()
