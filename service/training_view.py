"""A training while it runs, as pages and metrics show it: how far it is, and what its newest checkpoint says."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from monitors.counting.segments import ALL
from service.ledger.records import Retraining
from service.training.checkpoints import Checkpoint

SCORES = ("accuracy", "macro_f1", "mae", "rmse")
"""Scores that get a series of their own; a trainer may tell others, which are in its checkpoints."""
PARTS = ("training", "validation")


@dataclass(frozen=True)
class TrainingShown:
    """`progress` is the part that is done, 0 to 1, None where the trainer does not say. `best` is the one so far."""

    retraining: str
    progress: float | None
    checkpoints: Sequence[Checkpoint]
    best: Checkpoint | None

    @property
    def newest(self) -> Checkpoint | None:
        """The last one that could be used; None before."""
        return next((each for each in reversed(self.checkpoints) if not each.note), None)

    @property
    def names(self) -> list[str]:
        """What the newest one scores its segments by."""
        scores = self.newest.metrics.values() if self.newest else ()
        return list(dict.fromkeys(name for each in scores for name in each))

    @property
    def losses(self) -> dict[str, float]:
        """The newest one's loss by part of the rows."""
        newest = self.newest
        found = (newest.loss, newest.validation_loss) if newest else ()
        return {part: loss for part, loss in zip(PARTS, found, strict=False) if loss is not None}

    @property
    def scores(self) -> dict[str, float]:
        """The newest one's scores over all validation rows."""
        of_all: Mapping[str, float] = self.newest.metrics.get(ALL, {}) if self.newest else {}
        return {name: of_all[name] for name in SCORES if name in of_all}


def training_of(retrainings: Sequence[Retraining]) -> TrainingShown | None:
    """The training that runs among a model's retrainings; None where none does."""
    running = next((each for each in retrainings if each.state == "training"), None)
    if running is None:
        return None
    checkpoints = [Checkpoint(**each) for each in running.checkpoints]
    told = [each.progress for each in checkpoints if each.progress is not None]
    best = next((each for each in reversed(checkpoints) if each.is_best), None)
    return TrainingShown(running.id, told[-1] if told else None, checkpoints, best)
