"""The metrics of the gate: which there are for each task, and how much worse each may be."""

from collections.abc import Mapping
from types import MappingProxyType

Drops = tuple[tuple[str, float | None], ...]

GATE_METRICS: Mapping[str, Mapping[str, float | None]] = MappingProxyType(
    {
        "classification": MappingProxyType(
            {
                "accuracy": 0.02,
                "macro_f1": 0.03,
                "class_recall": 0.1,
                "log_loss": 0.2,
                "brier": 0.1,
                "calibration": None,
            }
        ),
        "regression": MappingProxyType({"mae": 0.02, "rmse": 0.05, "r2": 0.05}),
    }
)
"""The largest drops allowed: points of a score and of calibration, the relative rise of a loss or an error.

Calibration is measured and not judged: it is a part of the Brier score, and where that is no worse it is paid for. On a
stream of two concepts it alone would have refused a model that was 6 points more accurate.
"""


def settled_drops(said: Drops, task: str) -> Drops:
    """The drops of all metrics of a task: as said, else as usual; None for one that is not judged. What is said of
    metrics that the task does not have is kept, for whoever checks.

    >>> settled_drops((("rmse", None), ("mae", 0.0)), "regression")
    (('mae', 0.0), ('rmse', None), ('r2', 0.05))
    """
    return tuple((dict(GATE_METRICS[task]) | dict(said)).items())
