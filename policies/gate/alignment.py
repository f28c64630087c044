"""Does being right help the user? The outcome that came after right predictions, beside that after wrong ones."""

import math
from dataclasses import dataclass

import numpy as np

from monitors.readings import FloatArray
from policies.decision import Reason

ALIGNED, NOT_ALIGNED, NOT_ENOUGH = "aligned", "not_aligned", "not_enough_outcomes"
LEAST_EACH = 10
ENOUGH_EACH = 100
"""With so many on either side and no difference to be seen, there is none that would count."""
_Z = 1.96


@dataclass(frozen=True)
class Alignment:
    """Mean outcomes after right and after wrong predictions; of a regression after the closer and the farther half.

    `low` to `high` is the 95 % interval of `difference`, right less wrong; None with too few rows.
    """

    outcome: str
    right_rows: int
    wrong_rows: int
    right_mean: float | None
    wrong_mean: float | None
    difference: float | None
    low: float | None
    high: float | None
    answer: str


def align(outcome: str, right: FloatArray, outcomes: FloatArray) -> Alignment:
    """Whether the outcome is better after right predictions. `right` (N) is 1 or 0, `outcomes` (N) larger for better.

    Difference of means with Welch's standard error: sqrt(s1^2 / n1 + s0^2 / n0). Aligned where the interval is above 0;
    not aligned where it is below, or holds 0 with at least 100 rows on either side. Source: Welch, 1947.

    >>> align("resolved", np.repeat([1.0, 0.0], 50), np.tile([1.0, 1.0, 1.0, 1.0, 0.0], 20)).answer
    'not_enough_outcomes'
    >>> align("resolved", np.repeat([1.0, 0.0], 50), np.repeat([1.0, 0.0, 1.0, 0.0], [45, 5, 5, 45])).answer
    'aligned'
    """
    good, bad = np.sort(outcomes[right == 1]), np.sort(outcomes[right == 0])
    after_right, after_wrong = (float(each.mean()) if len(each) else None for each in (good, bad))
    fewest = min(len(good), len(bad))
    if fewest < LEAST_EACH or after_right is None or after_wrong is None:
        return Alignment(outcome, len(good), len(bad), after_right, after_wrong, None, None, None, NOT_ENOUGH)
    difference = after_right - after_wrong
    half = _Z * math.sqrt(good.var(ddof=1) / len(good) + bad.var(ddof=1) / len(bad))
    low, high = difference - half, difference + half
    is_against = high < 0 or fewest >= ENOUGH_EACH
    answer = ALIGNED if low > 0 else NOT_ALIGNED if is_against else NOT_ENOUGH
    return Alignment(outcome, len(good), len(bad), after_right, after_wrong, difference, low, high, answer)


def answer_alignment(found: Alignment) -> Reason:
    """The reason that it gives."""
    counts = f"{found.outcome} after {found.right_rows} right and {found.wrong_rows} wrong predictions"
    if found.difference is None:
        text = f"{counts}: {LEAST_EACH} of each are needed to say whether being right helps"
        return Reason("not_measured", True, None, "outcome", None, 0.0, text)
    change = (
        f"{counts} is {found.right_mean:.4f} and {found.wrong_mean:.4f} on average, a difference of "
        f"{found.difference:+.4f} ({found.low:+.4f} to {found.high:+.4f} in 95 of 100 cases)"
    )
    if found.answer == NOT_ENOUGH:
        text = f"{change}: too few to say whether being right helps"
        return Reason("not_measured", True, None, "outcome", found.difference, 0.0, text)
    says = "being right helps" if found.answer == ALIGNED else "being right does not show in it"
    is_against = found.answer == NOT_ALIGNED
    return Reason("outcome_not_aligned", is_against, None, "outcome", found.difference, 0.0, f"{change}: {says}")
