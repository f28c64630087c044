"""Real processes, killed at random: what was acknowledged is counted, and counted once."""

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from actors import ROWS, label_values, open_intake, send
from intake import BASELINE, Intake, batch, sum_of

from monitors.counting.labelled import fold_labelled
from monitors.counting.profiles import fold
from service.storage.embedded import Embedded

ROLES = ("append", "work", "join")


class Stage:
    """The store and the actors. Each `kill` ends a process without a warning and puts a fresh one in its place."""

    def __init__(self, folder: Path, mode: str) -> None:
        self.folder = folder
        (folder / "baseline").write_bytes(BASELINE.to_bytes())
        self.server = Embedded(folder / "data").start()
        command = [sys.executable, str(Path(__file__).with_name("actors.py")), str(folder), self.server.url, mode]
        root = Path(__file__).parents[1]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(root), str(root / "tests")])}
        self.director = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
        assert self.director.stdout.readline() == "ready\n"
        self.pids: dict[str, int] = {}
        self.joined = 0
        self.kills = dict.fromkeys((*ROLES, "store"), 0)

    def start(self, role: str) -> None:
        self.director.stdin.write(f"{role}\n")
        self.director.stdin.flush()
        self.pids[role] = int(self.director.stdout.readline())

    def end(self, role: str) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pids[role], signal.SIGKILL)

    def kill(self, role: str) -> None:
        self.kills[role] += 1
        if role == "store":
            os.kill(self.server.pid, signal.SIGKILL)
            self.server._child.wait()
            self.server.start()
        else:
            self.end(role)
            self.start(role)

    def close(self) -> None:
        for role in self.pids:
            self.end(role)
        self.director.communicate()
        self.server.stop()


def play(stage: Stage, seconds: float, chance: random.Random) -> tuple[Intake, int]:
    """Kill at random for a while, then let everything settle. Gives the intake and the batches that were sent."""
    for role in ROLES:
        stage.start(role)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        time.sleep(chance.uniform(0.01, 0.15))  # when the next kill comes
        stage.kill(chance.choices([*ROLES, "store"], [3, 5, 4, 1])[0])
    for role in ROLES:
        stage.end(role)
    intake = open_intake(stage.folder, stage.server.url)
    acknowledged = (stage.folder / "acknowledged").stat().st_size
    # The batch that was on its way: its sender would send it again.
    send(intake, acknowledged)
    stage.joined = intake.numbers().labels["m", "matched"]
    for _ in range(3):
        intake.run()
    assert intake.numbers().backlog == 0
    return intake, acknowledged + 1


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
    rows = [name for file in intake.folder.glob("predictions/**/*.parquet") for name in ids_in(file)]
    rows += [
        name
        for partition in range(2)
        for entry in intake.log.read(partition, "0-0", rows=10**9, most_bytes=10**9).entries
        if entry.kind == "p"
        for name in entry.table().column("prediction_id").to_pylist()
    ]
    assert sorted(rows) == sorted(table.column("prediction_id").to_pylist())


def ids_in(file: Path) -> list[str]:
    return pq.ParquetFile(file).read(["prediction_id"]).column(0).to_pylist()


def test_what_was_acknowledged_is_counted_once_whoever_is_killed(tmp_path):
    stage = Stage(tmp_path, "whole")
    try:
        intake, batches = play(stage, 6.0, random.Random(11))
        check(intake, batches)
        assert batches > 20
        assert stage.joined > 0
        assert min(stage.kills.values()) >= 2
        assert list(tmp_path.glob("archive/predictions/**/*.parquet"))
    finally:
        stage.close()


def test_the_check_finds_a_commit_in_two_steps(tmp_path):
    stage = Stage(tmp_path, "two-steps")
    try:
        intake, batches = play(stage, 3.0, random.Random(12))
        with pytest.raises(AssertionError):
            check(intake, batches)
    finally:
        stage.close()
