"""Pairs: what champion and challenger said of the same rows, and what was true."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from monitors.readings import FloatArray, IntArray
from policies.bars import BoolArray


@dataclass(frozen=True, eq=False)
class Side:
    """What one model said of N rows: the numbers of classes, or numbers.

    `confidence`, `log_loss` and `brier` (N) as `monitors.columns.losses.class_losses` gives them, NaN in rows without a
    confidence; None where it gives none, and of a regression.
    """

    said: FloatArray
    confidence: FloatArray | None = None
    log_loss: FloatArray | None = None
    brier: FloatArray | None = None

    def right(self, truth: FloatArray) -> FloatArray:
        """1 where it was right."""
        return np.asarray(self.said == truth, dtype=np.float64)

    def take(self, rows: NDArray[np.int64] | BoolArray) -> "Side":
        """Some of its rows."""
        parts = (self.confidence, self.log_loss, self.brier)
        return Side(self.said[rows], *(None if part is None else part[rows] for part in parts))


@dataclass(frozen=True, eq=False)
class Pairs:
    """N rows with their truth and both answers: numbers, or of a classification places in `classes`."""

    kind: str
    truth: FloatArray
    champion: Side
    challenger: Side
    classes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.truth)

    def ordered(self) -> "Pairs":
        """The same rows in an order that depends on nothing but what they hold."""
        sides = (self.champion, self.challenger)
        parts = [part for side in sides for part in (side.said, side.confidence, side.log_loss, side.brier)]
        order = np.lexsort([*(part for part in parts if part is not None), self.truth])
        return self.take(order)

    def with_confidence(self) -> "Pairs":
        """The rows to which both gave a confidence; none where one of them gives none."""
        both = [side.confidence for side in (self.champion, self.challenger)]
        known = [np.zeros(len(self), bool) if each is None else np.isfinite(each) for each in both]
        return self.take(known[0] & known[1])

    def take(self, rows: IntArray | BoolArray) -> "Pairs":
        """Some of its rows."""
        champion, challenger = self.champion.take(rows), self.challenger.take(rows)
        return replace(self, truth=self.truth[rows], champion=champion, challenger=challenger)
