"""Evidence that a challenger is worse than a policy allows, from paired rows; and how many rows would show it."""

import math

import numpy as np

from monitors.readings import FloatArray

ENOUGH_LN = math.log(20)
# Stakes as shares of the largest safe one; the mixture needs no guess of how large the drop is. Of nine cases (drops
# of 4 to 40 points on 50 to 2,000 rows) these five found the most: 10 points on 300 rows in 72 %, 16 finer ones 67 %.
STAKES = np.geomspace(0.1, 0.8, 5)


def worse_evidence_ln(champion: FloatArray, challenger: FloatArray, allowed: float, kind: str) -> float:
    """Log e-value against "the challenger is worse by no more than `allowed`", from n paired rows.

    A row's loss y is at most 0 on average under that null, and never below -b:
    classification y = champion - challenger - allowed, b = 1 + allowed;
    regression y = (c - d) / (c + d) with c = challenger's error, d = (1 + allowed) * champion's error, b = 1: the
    typical row, so that a few large errors cannot decide.
    e = mean over stakes s of prod (1 + s y / b). Each factor is at least 0 and at most 1 on average, so that e > 20
    comes up by chance at most once in 20; the order of rows does not matter. Above ln 20 = 3.0 the drop is real.
    Source: Waudby-Smith & Ramdas, Estimating means of bounded random variables by betting, 2024.

    >>> right, wrong = np.ones(400), np.repeat([1.0, 0.0], [320, 80])
    >>> worse_evidence_ln(right, wrong, 0.02, "classification") > ENOUGH_LN
    True
    >>> worse_evidence_ln(right, right, 0.02, "classification") < 0
    True
    """
    losses, largest = losses_of(champion, challenger, allowed, kind)
    growth = np.log1p(STAKES[:, None] * np.sort(losses) / largest).sum(axis=1)
    return float(np.logaddexp.reduce(growth) - math.log(len(STAKES)))


def labels_to_settle(
    champion: FloatArray, challenger: FloatArray, allowed: float, kind: str, bar_ln: float = ENOUGH_LN
) -> int:
    """How many more rows like these would bring e to the bar: the best stake grows about mean^2 / (2 mean of squares) a
    row. Where the mean of the losses shows no drop, though the mean error does, twice the rows are asked for.
    """
    losses, _ = losses_of(champion, challenger, allowed, kind)
    mean, square = float(losses.mean()), float(np.square(losses).mean())
    if mean <= 0:
        return len(losses)
    total = (bar_ln + math.log(len(STAKES))) * 2 * square / mean**2
    return max(1, math.ceil(min(total, 1e9)) - len(losses))


def fewest_labels(allowed: float, bar_ln: float = ENOUGH_LN) -> int:
    """With fewer rows than this not even a champion that is always right and a challenger that never is reach the bar.

    >>> fewest_labels(0.02), fewest_labels(0.1)
    (8, 9)
    """
    rows = 1
    while worse_evidence_ln(np.ones(rows), np.zeros(rows), allowed, "classification") < bar_ln and rows < 10_000:
        rows += 1
    return rows


def losses_of(champion: FloatArray, challenger: FloatArray, allowed: float, kind: str) -> tuple[FloatArray, float]:
    """What each row lost beyond what is allowed, and the largest that a row could gain."""
    if kind == "classification":
        return champion - challenger - allowed, 1 + allowed
    bar = (1 + allowed) * champion
    total = challenger + bar
    return np.divide(challenger - bar, total, out=np.zeros_like(total), where=total > 0), 1.0
