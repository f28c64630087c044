"""Here: a training in this process, which `launch` waits for. For replays, the demo and tests."""

from collections.abc import Callable

from service.launching.following import Following
from service.launching.port import Order, Progress
from service.training import train_job
from service.training.checkpoints import Checkpoint
from service.training.train_files import read_outcome
from service.training.training_errors import TrainingError, TrainingFailed

Told = Callable[[Order, Checkpoint], None]


class Here:
    """Runs an order's job to its end; `told` hears each checkpoint. How it went is in the folder, as everywhere."""

    def __init__(self, told: Told = lambda _order, _checkpoint: None) -> None:
        self._told = told
        self._following = Following()

    def launch(self, order: Order) -> None:
        if self.look(order).state != "lost" or (order.folder / "cancel").exists():
            return
        try:
            train_job.run(order.folder, on_checkpoint=lambda checkpoint: self._told(order, checkpoint))
        except TrainingError:
            return  # it is in the folder; `look` says it

    def look(self, order: Order) -> Progress:
        noted = self._following.read(order.folder)
        if not any((order.folder / name).is_file() for name in ("result.json", "error.json")):
            return Progress("lost", "nothing was started", noted)
        try:
            read_outcome(order.folder)
        except TrainingFailed as error:
            return Progress("failed", str(error), noted)
        return Progress("succeeded", checkpoints=noted)

    def cancel(self, order: Order) -> None:
        (order.folder / "cancel").touch()
