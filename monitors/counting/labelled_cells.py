"""What each float of a labelled profile counts: one plan for the fold that writes it and the metrics that read it."""

from dataclasses import dataclass
from functools import cached_property
from math import prod

import numpy as np

from monitors.readings import FloatArray

CROSSED_CLASSES = 10
"""The most frequent classes, whose predictions are counted by confidence too; the rest share one row."""
CONFIDENCE_GROUPS = 5
"""Groups of neighbouring confidence bins in those counts: full bins for every class would double a profile."""

_TOTALS = {
    "classification": ("rows", "correct", "scored", "log_loss", "log_loss_squared", "brier", "brier_squared"),
    "regression": ("rows", "absolute", "squared", "actual", "actual_squared"),
}
_BY_STRATUM = {
    "classification": ("rows", "correct", "confidence", "log_loss", "brier"),
    "regression": ("rows", "absolute", "squared"),
}


@dataclass(frozen=True)
class LabelledCells:
    """The parts of a labelled profile [..., width], by name.

    Totals first (`totals` of them): `rows`, then for a classification `correct`, `scored` (rows with a confidence), the
    sums and sums of squares of `log_loss` and `brier`; for a regression `absolute` and `squared` errors, `actual` and
    its square. Then the same by stratum, as `strata_rows` and so on, [K]: the confidence bins and one for rows without,
    or the leaves of `expected_error`. A classification ends with `predicted`, `actual` and `hit` by class [classes],
    the last one all others, and `crossed_rows` and `crossed_correct` by predicted class x group of confidence.
    """

    task: str
    strata: int
    classes: int

    @cached_property
    def parts(self) -> dict[str, tuple[slice, tuple[int, ...]]]:
        """Where each part is, and its shape."""
        shapes: dict[str, tuple[int, ...]] = dict.fromkeys(_TOTALS[self.task], ())
        shapes |= {f"strata_{name}": (self.strata,) for name in _BY_STRATUM[self.task]}
        if self.task == "classification":
            shapes |= dict.fromkeys(("predicted", "actual", "hit"), (self.classes,))
            shapes |= dict.fromkeys(("crossed_rows", "crossed_correct"), (self.crossed, CONFIDENCE_GROUPS + 1))
        ends = np.cumsum([prod(shape) for shape in shapes.values()]).tolist()
        begins = [0, *ends]
        return {
            name: (slice(begin, end), shape)
            for (name, shape), begin, end in zip(shapes.items(), begins, ends, strict=False)
        }

    @property
    def crossed(self) -> int:
        """Classes that are counted by confidence, the shared one included."""
        return min(self.classes, CROSSED_CLASSES + 1)

    @property
    def totals(self) -> int:
        """How many floats at the beginning are sums over all rows."""
        return len(_TOTALS[self.task])

    @property
    def width(self) -> int:
        return max(int(cells.stop) for cells, _ in self.parts.values())

    def start(self, name: str) -> int:
        """The first cell of a part."""
        return int(self.parts[name][0].start)

    def read(self, profile: FloatArray, name: str) -> FloatArray:
        """One part of profiles [..., width]: [...] for a total, else [..., *its shape].

        >>> import numpy as np
        >>> cells = LabelledCells("regression", strata=2, classes=1)
        >>> profile = np.arange(float(cells.width))
        >>> float(cells.read(profile, "squared")), cells.read(profile, "strata_rows").tolist()
        (2.0, [5.0, 6.0])
        """
        cells, shape = self.parts[name]
        return profile[..., cells].reshape((*profile.shape[:-1], *shape))
