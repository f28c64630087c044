"""Child: the built-in trainer as a process of this machine, with limits."""

import os
import sys
from pathlib import Path

import service
from service.launching.ends import Exit, why_ended
from service.launching.limits import Limits, clean
from service.launching.port import Order, Progress
from service.launching.processes import Processes, Start
from service.training.train_files import read_outcome
from service.training.training_errors import TrainingFailed

_HOME = Path(service.__file__).parents[1]
"""From where the service's own code is found, installed or not."""


class Child:
    """Launches `service.training.train_job`. Close it where the service ends."""

    def __init__(self, limits: Limits) -> None:
        self._processes = Processes(limits)

    def launch(self, order: Order) -> None:
        """Start it; one that runs, has ended or was cancelled is left alone. Raises OrderDiffers, LaunchFailed."""
        argv = [sys.executable, "-m", "service.training.train_job", str(order.folder.absolute())]
        self._processes.launch(order, Start(argv, _HOME, clean(os.environ)))

    def look(self, order: Order) -> Progress:
        """How it goes; its outcome is in the folder when this says `succeeded`."""
        return self._processes.look(order, _why_failed)

    def cancel(self, order: Order) -> None:
        """End it, if it runs."""
        self._processes.cancel(order)

    def close(self) -> None:
        """End what runs; whoever launches it again has it go on after its last whole candidate."""
        self._processes.close()


def _why_failed(order: Order, ended: Exit) -> str:
    """Its error file says it better than its exit code."""
    if ended.ended != "exited":
        return why_ended(order, ended)
    try:
        read_outcome(order.folder)
    except TrainingFailed as error:
        has_said = (order.folder / "error.json").is_file()
        return str(error) if has_said else why_ended(order, ended) or str(error)
    return why_ended(order, ended)
