"""How much evidence is asked for: the log e-value that keeps the promised false alarms a year."""

import math
from datetime import timedelta

import numpy as np
from numpy.typing import NDArray

from monitors.readings import FloatArray, TwinReading
from policies.file.policy import Policy

BoolArray = NDArray[np.bool_]

_YEAR = timedelta(days=365.25)
_POOR_DRAWS = 2


def ln_threshold(policy: Policy, segments: int) -> float:
    """Natural log of the e-value to reach: ln(segments x evaluations a year / false alarms a year), at least 0.

    >>> from policies.file.parse import parse
    >>> round(ln_threshold(parse("{model: m, task: {kind: classification}}"), 50), 2)
    14.38
    """
    return math.log(max(1.0, segments * (_YEAR / policy.evaluate) / policy.false_alarms_per_year))


def twin_bar(policy: Policy, twin: TwinReading | None) -> float:
    """The bar of the twin test: `ln_threshold` of one series, with a year's tests in place of a year's evaluations.

    Twins are tried when so many labels have come, and an evaluation between two tests sees nothing new: it is no
    further chance of a false alarm. Twice that, since a stale twin can be a poor draw of its rows. Never below ln 20,
    however few labels a year brings.

    >>> from policies.file.parse import parse
    >>> policy = parse("{model: m, task: {kind: classification}}")
    >>> twins = [TwinReading(60, 30, 6.0, 500, apart=timedelta(hours=hours)) for hours in (0.1, 8, 2_000)]
    >>> [round(twin_bar(policy, twin), 2) for twin in twins]
    [11.16, 7.69, 3.0]
    """
    apart = policy.evaluate if twin is None or twin.apart is None else max(policy.evaluate, twin.apart)
    return math.log(max(_POOR_DRAWS * (_YEAR / apart) / policy.false_alarms_per_year, 20.0))


def e_bh_bar(evidence_ln: FloatArray, threshold_ln: float) -> float:
    """The bar that e-BH sets: threshold / k, for the largest k of which the k-th largest e-value reaches threshold / k.

    `evidence_ln` (S) are log e-values of this moment, never running maxima; NaN counts as no evidence. Where nothing
    reaches its bar, the bar is the threshold itself. Source: Wang & Ramdas, 2022.

    >>> import numpy as np
    >>> round(float(np.exp(e_bh_bar(np.log([60.0, 55.0, 3.0]), np.log(100.0)))), 6)
    50.0
    """
    ordered = np.sort(np.where(np.isnan(evidence_ln), -np.inf, evidence_ln))[::-1]
    reached = np.flatnonzero(ordered >= threshold_ln - np.log(np.arange(1, len(ordered) + 1)))
    return threshold_ln - float(np.log(reached[-1] + 1 if len(reached) else 1))


def e_bh(evidence_ln: FloatArray, threshold_ln: float) -> BoolArray:
    """Which segments pass e-BH (S), given log e-values (S) and the log threshold; NaN never passes."""
    return np.asarray(evidence_ln >= e_bh_bar(evidence_ln, threshold_ln))
