"""Launchers: where the built-in trainer runs. A child process in the service; in this process for a replay."""

import json
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from service import train_files, train_job
from service.checkpoints import Checkpoint
from service.train_files import Outcome

_LOOK_SECONDS = 0.2


def launch_here(folder: Path, note: Callable[[Checkpoint], None]) -> Outcome:
    """Run a prepared job in this process. Raises TrainingError."""
    return train_job.run(folder, on_checkpoint=note)


def launch_child(folder: Path, note: Callable[[Checkpoint], None]) -> Outcome:
    """Run a prepared job as a child process, telling its checkpoints as they come. Raises TrainingError."""
    for name in ("result.json", "error.json", "checkpoints.ndjson"):
        (folder / name).unlink(missing_ok=True)
    child = train_job.start(folder)
    told = 0
    try:
        while child.poll() is None:
            told = _tell(folder, told, note)
            time.sleep(_LOOK_SECONDS)
        _tell(folder, told, note)
    finally:
        _end(child)
    return train_files.read_outcome(folder)


def _tell(folder: Path, told: int, note: Callable[[Checkpoint], None]) -> int:
    file = folder / "checkpoints.ndjson"
    lines = file.read_text().split("\n")[:-1] if file.is_file() else []
    for line in lines[told:]:
        note(Checkpoint(**json.loads(line)))
    return len(lines)


def _end(child: "subprocess.Popen[bytes]") -> None:
    if child.poll() is None:
        child.terminate()
        try:
            child.wait(timeout=5)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
