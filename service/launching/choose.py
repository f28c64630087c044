"""Choosing: the launcher for the trainer that a policy names."""

from collections.abc import Callable, Mapping

from policies.file.trainers import Trainer
from service.house import House
from service.launching.child import Child
from service.launching.command import Command
from service.launching.kubernetes import Kubernetes
from service.launching.limits import Limits
from service.launching.port import Launcher
from service.launching.webhook import Webhook
from service.training.training_errors import TrainingError

LauncherOf = Callable[[Trainer], Launcher]
"""The launcher for a trainer. Raises NotLaunched."""


class NotLaunched(TrainingError):
    """This process launches no trainers of a kind."""

    def __init__(self, kind: str, known: Mapping[str, Launcher]) -> None:
        super().__init__(
            f"trainers of kind {kind} are not launched here; retrain.trainer may be {', '.join(sorted(known))}"
        )


def by_kind(launchers: Mapping[str, Launcher]) -> LauncherOf:
    """Chooses among launchers by the kind of a trainer."""

    def launcher_of(trainer: Trainer) -> Launcher:
        if trainer.kind not in launchers:
            raise NotLaunched(trainer.kind, launchers)
        return launchers[trainer.kind]

    return launcher_of


class Launchers:
    """The launchers of a process, by kind. Close it where the process ends."""

    def __init__(self, house: House) -> None:
        limits = Limits.of(house.settings)
        self._here: dict[str, Child | Command] = {"builtin": Child(limits), "command": Command(limits)}
        self._kubernetes = Kubernetes(house)
        self._of = by_kind({**self._here, "kubernetes": self._kubernetes, "webhook": Webhook(house)})

    def __call__(self, trainer: Trainer) -> Launcher:
        return self._of(trainer)

    def rest(self) -> None:
        """End the trainings that this process has started or seen on this machine; who leads next begins them again."""
        for launcher in self._here.values():
            launcher.close()

    def close(self) -> None:
        """Close connections; what runs goes on."""
        self._kubernetes.close()
