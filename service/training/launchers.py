"""Launchers: where the built-in trainer runs. A child process in the service; in this process for a replay."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from threading import Event

from service.training import train_files, train_job
from service.training.checkpoints import Checkpoint
from service.training.train_files import Outcome

_LOOK_SECONDS = 0.2


def launch_here(folder: Path, note: Callable[[Checkpoint], None]) -> Outcome:
    """Run a prepared job in this process. Raises TrainingError."""
    return train_job.run(folder, on_checkpoint=note)


class Stopping(Exception):
    """The service stops; the retraining stays unfinished, and the next start begins it again."""


def launch_child(
    folder: Path, note: Callable[[Checkpoint], None], stop: Event, heed: Callable[[], None] = lambda: None
) -> Outcome:
    """Run a prepared job as a child process, telling its checkpoints as they come; what `heed` raises ends the child.

    Raises:
        TrainingError: the job ended without a model.
        Stopping: `stop` was set meanwhile; the child was ended.
    """
    for name in ("result.json", "error.json", "checkpoints.ndjson"):
        (folder / name).unlink(missing_ok=True)
    child = train_job.start(folder)
    told = 0
    try:
        while child.poll() is None:
            if stop.wait(_LOOK_SECONDS):
                raise Stopping
            heed()
            told = _tell(folder, told, note)
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
