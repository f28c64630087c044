"""Evidence that the mean loss of a window rose against the usual one, or that it rose by less than was asked."""

import numpy as np

from monitors.readings import FloatArray
from monitors.statistics.evidence import rise_evidence_ln, stiffness
from monitors.statistics.loss_evidence import INFLATION, Sums, loss_evidence_ln


def rose_ln(now: Sums, usual: Sums, wobble: FloatArray, loss: str) -> FloatArray:
    """One-sided evidence [...] that the mean loss of a window is above the usual one.

    `now` and `usual` are sums [...] as of `loss_sums`, `wobble` [...] the variance of the mean beyond sampling in
    windows of this length, `loss` as in `Metric.evidence`. How many rows it takes is for the caller to say.
    """
    if loss == "error":
        return _errors_rose_ln(now, usual, wobble, (usual[1] + 0.5) / (usual[0] + 1))
    return loss_evidence_ln(now, usual, wobble)


def rose_less_ln(now: Sums, usual: Sums, wobble: FloatArray, loss: str, rise: FloatArray) -> FloatArray:
    """One-sided evidence [...] that the mean loss of a window is below the usual one raised by `rise` [...].

    The same evidence in a mirror: that more rows are right than would be, or that losses, reflected at the raised mean,
    lie above it.

    >>> import numpy as np
    >>> def rows(n, wrong):
    ...     return tuple(np.array(float(v)) for v in (n, wrong, wrong))
    >>> usual, quiet, rise = rows(5000, 500), np.array(0.0), np.array(0.1)
    >>> [round(float(rose_less_ln(rows(400, wrong), usual, quiet, "error", rise)), 1) for wrong in (40, 60, 80)]
    [7.7, 1.3, -0.7]
    """
    if loss == "error":
        right = now[0] - now[1]
        share = (usual[1] + 0.5) / (usual[0] + 1) + rise
        return _errors_rose_ln((now[0], right, right), usual, wobble, 1 - share)
    mean = usual[1] / np.maximum(usual[0], 1)
    # Reflected at half the rise the usual losses come out raised by all of it.
    return loss_evidence_ln(_reflect(now, mean + rise), _reflect(usual, mean + rise / 2), wobble)


def _errors_rose_ln(now: Sums, usual: Sums, wobble: FloatArray, share: FloatArray) -> FloatArray:
    kappa = stiffness(usual[0], 1, (INFLATION - 1) / np.maximum(now[0] - 1, 1) + wobble)
    return rise_evidence_ln(now[1], now[0], share, kappa)


def _reflect(sums: Sums, at: FloatArray) -> Sums:
    """The sums of 2 `at` less each loss."""
    rows, total, squares = sums
    return rows, 2 * at * rows - total, 4 * at**2 * rows - 4 * at * total + squares
