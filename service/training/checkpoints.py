"""Checkpoints: how good each step of a training is, overall and per segment, and which one is kept."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field

import numpy as np
from numpy.typing import NDArray

from monitors.counting.segments import ALL
from monitors.readings import FloatArray, IntArray

BoolArray = NDArray[np.bool_]
Segments = Mapping[str, BoolArray] | Sequence[str | None]
"""A mask over the validation rows for each segment name (segments may overlap), or one segment name for each row."""

MIN_GAIN = 0.005
"""A step that lowers the loss by less than this share of it is no gain."""
PATIENCE = 1
"""Steps without a gain before training ends. Each step costs as much as all before it, so one is enough."""


@dataclass(frozen=True)
class Checkpoint:
    """One scored step.

    `loss` is on the training rows and `validation_loss` on the validation rows (log loss, or root mean squared error in
    the label's unit); it is None without validation rows. `metrics` maps a segment to its scores there: `rows`, and
    accuracy and macro_f1, or mae and rmse. `is_best` says that it is the best so far, so the last best one is kept.
    `progress` is how much of the whole training is done, 0 to 1, None where nobody knows. Of a trainer that is not
    ours `loss` may be None too, metrics are what it calls them, and `note` says what of it cannot be used.
    """

    step: int
    effort: float
    loss: float | None
    validation_loss: float | None
    metrics: Mapping[str, Mapping[str, float]]
    is_best: bool
    candidate: str = ""
    progress: float | None = None
    note: str = ""

    def to_dict(self) -> dict[str, object]:
        return asdict(self)


@dataclass
class Patience:
    """Whether to go on: remembers the lowest loss and how many steps ago it gained."""

    lowest: float = field(default=float("inf"))
    waited: int = 0

    def take(self, loss: float) -> bool:
        """Take the next step's loss; says whether it is the lowest so far."""
        gained = self.lowest == float("inf") or loss < self.lowest - MIN_GAIN * abs(self.lowest)
        self.waited = 0 if gained else self.waited + 1
        is_best = loss < self.lowest
        self.lowest = min(loss, self.lowest)
        return is_best

    @property
    def is_over(self) -> bool:
        return self.waited >= PATIENCE


def masks_of(segments: Segments | None, rows: int) -> dict[str, BoolArray]:
    """A mask over the rows for each segment, `all` first."""
    masks = {ALL: np.ones(rows, dtype=bool)}
    if segments is None:
        return masks
    if isinstance(segments, Mapping):
        return masks | {name: np.asarray(mask, dtype=bool) for name, mask in segments.items()}
    names = np.asarray([name or "" for name in segments], dtype=np.str_)
    return masks | {str(name): names == name for name in np.unique(names) if name}


def score_classes(truth: IntArray, predicted: IntArray) -> dict[str, float]:
    """Accuracy, and the mean F1 over all labels that are true or predicted at least once. Rows, each a label's number.

    >>> score_classes(np.array([0, 0, 1]), np.array([0, 0, 2]))
    {'rows': 3, 'accuracy': 0.6666666666666666, 'macro_f1': 0.3333333333333333}
    """
    width = int(max(truth.max(), predicted.max())) + 1
    right = np.bincount(truth[truth == predicted], minlength=width)
    either = np.bincount(truth, minlength=width) + np.bincount(predicted, minlength=width)
    shown = either > 0
    f1 = 2 * right[shown] / either[shown]
    return {"rows": len(truth), "accuracy": float(right.sum() / len(truth)), "macro_f1": float(f1.mean())}


def score_numbers(truth: FloatArray, predicted: FloatArray) -> dict[str, float]:
    """Mean absolute and root mean squared error, in the label's unit.

    >>> score_numbers(np.array([1.0, 2.0]), np.array([1.0, 4.0]))
    {'rows': 2, 'mae': 1.0, 'rmse': 1.4142135623730951}
    """
    error = predicted - truth
    return {"rows": len(truth), "mae": float(np.abs(error).mean()), "rmse": float(np.sqrt((error**2).mean()))}
