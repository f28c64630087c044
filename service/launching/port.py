"""The port of launchers: start what an order says, look how it goes, cancel it.

An order's files are in its folder. In: what `train_files` writes, and `unseen.parquet`, rows without labels that the
new model is asked about. Out: either a model folder, or the predictions for those rows by a model that stays outside.
"""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal, Protocol

from policies.file.trainers import Trainer
from service.training.checkpoints import Checkpoint
from service.training.training_errors import TrainingError

State = Literal["waiting", "running", "succeeded", "failed", "lost"]


@dataclass(frozen=True)
class Order:
    """What is asked of a trainer.

    `name` follows from the retraining and is the same whoever asks again; `digest` is of everything in the folder that
    the trainer is given, so that "already there" can be told from "another of that name". `deadline` is when it counts
    as failed.
    """

    name: str
    retraining: str
    model: str
    version: str
    folder: Path
    trainer: Trainer
    digest: str
    deadline: datetime


@dataclass(frozen=True)
class Progress:
    """How an order goes. `lost` is what was started and is not there any more, without an answer: it may be started
    again, a few times, and as often as one likes where `is_stopped` says that the service itself had ended it. `reason`
    says why it failed or was lost, in words for the person who must act.
    """

    state: State
    reason: str = ""
    checkpoints: tuple[Checkpoint, ...] = ()
    is_stopped: bool = False


class OrderDiffers(TrainingError):
    """Another order of this name was started before, with other files."""

    def __init__(self, name: str, expected: str, seen: str) -> None:
        super().__init__(f"the order {name} was started with files of digest {seen[:12]}…, not {expected[:12]}…")
        self.name = name


class LaunchFailed(TrainingError):
    """An order could not be started; it is tried again until its deadline."""


class Launcher(Protocol):
    """Where orders are carried out. No verb waits for the training; each may be called again after any crash, by
    another process, and by one that was stopped for long and does not know that its order is over.
    """

    def launch(self, order: Order) -> None:
        """Start it; one that runs, has ended or was cancelled is left alone. What was lost is started again.

        Raises:
            OrderDiffers: another order of this name was started.
            LaunchFailed: it could not be started, and another try may succeed.
        """

    def look(self, order: Order) -> Progress:
        """How it goes now; an answer that has come is in the folder when this says `succeeded`.

        An order that was never started is `lost`. What cannot be asked now raises LaunchFailed: it is asked again.
        """

    def cancel(self, order: Order) -> None:
        """End it, if it runs; what has ended stays as it is."""
