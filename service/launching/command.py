"""Command: a user's own program as a trainer: a process of this machine, with limits, files and an environment."""

import os

from policies.file.trainers import CommandTrainer
from service.launching.ends import Exit, last_words, why_ended
from service.launching.limits import Limits, clean
from service.launching.port import LaunchFailed, Order, Progress
from service.launching.processes import Processes, Start
from service.launching.untrusted import is_plain
from service.training.train_files import read_job

_ANSWERS = ("model/manifest.json", *(f"answer/predictions.{form}" for form in ("parquet", "csv", "ndjson")))
"""What may be there at the end, of which one has to."""


class Command:
    """Launches `retrain.trainer.command`. Close it where the service ends."""

    def __init__(self, limits: Limits) -> None:
        self._processes = Processes(limits)

    def launch(self, order: Order) -> None:
        """Start it; one that runs, has ended or was cancelled is left alone. Raises OrderDiffers, LaunchFailed."""
        assert isinstance(order.trainer, CommandTrainer)  # noqa: S101  launchers are chosen by the trainer's kind
        start = Start(order.trainer.command, order.folder, clean(os.environ) | environment_of(order))
        try:
            (order.folder / "answer").mkdir(exist_ok=True)
        except OSError as error:
            raise LaunchFailed(f"there is no folder for the answer: {error}") from error
        self._processes.launch(order, start)

    def look(self, order: Order) -> Progress:
        """How it goes; an answer is in the folder when this says `succeeded`, which says nothing of its content."""
        return self._processes.look(order, _why_failed)

    def cancel(self, order: Order) -> None:
        """End it, if it runs."""
        self._processes.cancel(order)

    def close(self) -> None:
        """End what runs; it is begun again by whoever launches it again."""
        self._processes.close()


def environment_of(order: Order) -> dict[str, str]:
    """What a command is told of its order: where its files are, and what is retrained."""
    folder = order.folder.absolute()
    files = {
        "FOLDER": folder,
        "JOB": folder / "job.json",
        "TRAIN": folder / f"train-{read_job(folder).candidates[0]}.parquet",
        "VALIDATION": folder / "validation.parquet",
        "UNSEEN": folder / "unseen.parquet",
        "ANSWER": folder / "answer",
    }
    names = {"RETRAINING": order.retraining, "MODEL": order.model, "VERSION": order.version}
    return {f"TIDEGATE_{name}": str(value) for name, value in (files | names).items()}


def _why_failed(order: Order, ended: Exit) -> str:
    reason = why_ended(order, ended)
    if reason or any(is_plain(order.folder, name) for name in _ANSWERS):
        return reason
    words = last_words(order)
    said = f"; its last words: {words}" if words else ""
    return f"it ended with code 0 and without an answer, neither model/ nor answer/predictions.parquet{said}"
