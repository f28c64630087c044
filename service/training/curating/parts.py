"""Parts: where training ends, and where the rows begin that choose a model and those that only judge it."""

from dataclasses import dataclass

import numpy as np

from service.training.training_errors import NotEnoughRows

HISTORY = 4
"""The candidate `history` holds this many times the rows of `last_window`."""
MOST_HOLDOUT = 1_000
MOST_VALIDATION = 500
LEAST_HOLDOUT = 30
LEAST_VALIDATION = 20
LEAST_TRAINING = 100


@dataclass(frozen=True)
class Parts:
    """Of `rows` in time order: those before `end` may teach, then come `tried` for validation and `held` held out.

    `began` is the first row after the change, `window` how many rows the candidate `last_window` has.
    """

    rows: int
    began: int
    tried: int
    held: int
    window: int

    @property
    def end(self) -> int:
        return self.rows - self.held - self.tried

    def stretches(self) -> dict[str, int]:
        """How many rows before `end` each candidate is made of; none twice, none too small to learn from."""
        found: dict[str, int] = {}
        for name, length in self._lengths(self.end).items():
            if length >= LEAST_TRAINING and length not in found.values():
                found[name] = length
        return found

    def whole_stretches(self) -> dict[str, int]:
        """The same with nothing held back: rows before the newest."""
        lengths = self._lengths(self.rows)
        return {name: lengths[name] for name in self.stretches()}

    def _lengths(self, end: int) -> dict[str, int]:
        return {
            "after_change": max(0, end - self.began),
            "last_window": min(self.window, end),
            "history": min(HISTORY * self.window, end),
        }


def cut_parts(
    rows: int, began: int, reasons: str, *, holdout_share: float, validation_share: float, window: int
) -> Parts:
    """The parts of so many rows, of which those from `began` on are after the change.

    Raises:
        NotEnoughRows: holdout or validation would be too small; `reasons` say what was left out before.
    """
    after = rows - began
    held = min(round(after * holdout_share), MOST_HOLDOUT)
    tried = min(round((after - held) * validation_share), MOST_VALIDATION)
    if held < LEAST_HOLDOUT or tried < LEAST_VALIDATION:
        for_validation = LEAST_VALIDATION / (validation_share * (1 - holdout_share))
        needed = int(np.ceil(max(LEAST_HOLDOUT / holdout_share, for_validation)))
        raise NotEnoughRows("labelled rows after the change", after, needed, reasons)
    return Parts(rows, began, tried, held, window)
