"""A release against the version before: is it worse, since its release or since some moment after it?"""

import math
from collections.abc import Mapping

import numpy as np

from monitors.readings import FloatArray
from policies.apart import Sides, Standing, stand
from policies.file.policy import Gate
from policies.gate import ENOUGH_LN, STAKES, worse_evidence_ln
from policies.gate.evidence import losses_of


def judge_lately(
    gate: Gate, sides: Sides, *, own: Mapping[str, Gate] | None = None, kind: str = "classification"
) -> tuple[Standing, ...]:
    """How each segment stands, on the same rows: what the version before and the release made of each, in the order of
    time. `own` are the gates of segments that differ.

    >>> right, half = np.ones(400), np.tile([1.0, 0.0], 200)
    >>> [s.answer for s in judge_lately(Gate(), {"all": (right, half)})]
    ['worse']
    """
    bar, found = bar_of(len(sides)), []
    for name, (before, now) in sides.items():
        of = (own or {}).get(name, gate)
        evidence = regression_ln(before, now, of.max_segment_drop, kind)
        found.append(stand(of, name, before, now, evidence, bar, kind))
    return tuple(found)


def regression_ln(before: FloatArray, now: FloatArray, allowed: float, kind: str) -> float:
    """Log e-value against "the release is worse by no more than `allowed`", from n rows in order of time; 0 for none.

    `before` and `now` (n): what the version before and the release made of the same rows, 1 where right and 0 where
    wrong, or absolute errors. Half of it is `worse_evidence_ln` over all rows, half looks for a change: a release that
    was better at first has much to lose before all its rows together speak against it, as when the world goes back to
    what the old version knew. With the factors L_i of that e-value, e' = (1/n) sum over j of prod_{i >= j} L_i:
    each product is at most 1 on average, so is their mean, and e = (whole + e') / 2.
    Source: Shin, Ramdas & Rinaldo, E-detectors, 2022 (the Shiryaev-Roberts form).

    >>> before = np.concatenate([np.zeros(600), np.ones(150)])
    >>> worse_evidence_ln(before, 1 - before, 0.02, "classification") < 0
    True
    >>> regression_ln(before, 1 - before, 0.02, "classification") > bar_of(1)
    True
    """
    n = len(before)
    if not n:
        return 0.0
    whole = worse_evidence_ln(before, now, allowed, kind)
    return float(np.logaddexp(whole, _changed_ln(before, now, allowed, kind) - math.log(n)) - math.log(2))


def bar_of(segments: int) -> float:
    """The log e-value that one of so many segments has to reach: ln 20 + ln S.

    >>> round(bar_of(1), 3)
    2.996
    """
    return ENOUGH_LN + math.log(max(segments, 1))


def _changed_ln(before: FloatArray, now: FloatArray, allowed: float, kind: str) -> float:
    """The log of the sum over j of prod_{i >= j} L_i: the growth from each row on to the last, over all stakes."""
    growth = np.cumsum(_growth(before, now, allowed, kind), axis=1)
    until = np.concatenate([np.zeros((len(STAKES), 1)), growth[:, :-1]], axis=1)
    since = np.logaddexp.reduce(growth[:, -1:] - until, axis=1)
    return float(np.logaddexp.reduce(since) - math.log(len(STAKES)))


def _growth(before: FloatArray, now: FloatArray, allowed: float, kind: str) -> FloatArray:
    """The log of the factor of each stake and row [stakes, n], as in `worse_evidence_ln`."""
    losses, largest = losses_of(before, now, allowed, kind)
    return np.asarray(np.log1p(STAKES[:, None] * losses / largest))
