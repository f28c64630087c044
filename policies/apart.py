"""Two models that served different rows: per segment, is the one worse than the other by more than is allowed?"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from monitors.readings import FloatArray
from policies.file.policy import Gate
from policies.gate import ENOUGH_LN, worse_evidence_ln


@dataclass(frozen=True)
class Standing:
    """One segment: mean accuracies or mean absolute errors over the champion's `champion_n` rows and the challenger's
    `n`; None where there are none.

    `gain` is in points of accuracy, or the relative fall of the error. `answer` is better_or_equal (no worse than the
    policy allows), worse, or not_enough_labels. `evidence_ln` is the log e-value for worse by more than is allowed, and
    `bar` what it has to reach.
    """

    name: str
    n: int
    champion_n: int
    champion: float | None
    challenger: float | None
    gain: float | None
    answer: str
    evidence_ln: float
    bar: float


Sides = Mapping[str, tuple[FloatArray, FloatArray]]
"""Segment -> what the champion's and the challenger's rows came to, each in the order of time."""


def judge_apart(
    gate: Gate, sides: Sides, looks: int = 1, *, own: Mapping[str, Gate] | None = None, kind: str = "classification"
) -> tuple[Standing, ...]:
    """How each segment stands. Values are 1 where right and 0 where wrong, or absolute errors of a regression.

    `looks` is the how-manieth look at the same trial this is, from 1; `own` are the gates of segments that differ.

    >>> right, half = np.ones(400), np.tile([1.0, 0.0], 200)
    >>> [s.answer for s in judge_apart(Gate(), {"all": (right, half)})], [
    ...     s.answer for s in judge_apart(Gate(), {"all": (half, right)})]
    (['worse'], ['better_or_equal'])
    """
    read = [name for name, (champion, challenger) in sides.items() if len(champion) and len(challenger)]
    bar = bar_of(len(read), looks)
    return tuple(_judge((own or {}).get(name, gate), name, *sides[name], bar, kind) for name in sides)


def bar_of(segments: int, looks: int) -> float:
    """The log e-value that one of so many segments has to reach at this look, from 1.

    ln 20, and ln S for the segments. Rows are paired anew at each look, so that looks are tests of their own: the k-th
    is given 1 / (k (k + 1)) of the chance, which adds up to one.
    """
    return ENOUGH_LN + math.log(max(segments, 1)) + math.log(looks * (looks + 1) / 2)


def pair_up(champion: FloatArray, challenger: FloatArray, kind: str) -> tuple[FloatArray, FloatArray]:
    """As many pairs as the shorter side has rows, both sides in the order of time.

    Of the longer side each pair has a stretch of its rows: their mean for a classification, which has the expectation
    of one row and less noise. Errors of a regression are compared row by row, for a mean of several is no typical row:
    of its stretch the first is taken.

    >>> champion, challenger = pair_up(np.array([1.0, 0.0, 1.0, 1.0]), np.array([1.0, 0.0]), "classification")
    >>> champion.tolist(), challenger.tolist()
    ([0.5, 1.0], [1.0, 0.0])
    """
    pairs = min(len(champion), len(challenger))
    return _shortened(champion, pairs, kind), _shortened(challenger, pairs, kind)


def evidence_apart_ln(champion: FloatArray, challenger: FloatArray, allowed: float, kind: str) -> float:
    """Log e-value against "the challenger is worse by no more than `allowed`", from rows of each side; 0 without any.

    Rows are paired in the order of time, as `pair_up` says. If both sides are like draws from the same traffic, a pair
    loses at most `allowed` on average whenever the champion is better by no more than that, and the factors of
    `worse_evidence_ln` are at most 1 on average.
    Source: Waudby-Smith & Ramdas, Estimating means of bounded random variables by betting, 2024.

    >>> right, wrong = np.ones(2000), np.tile([1.0, 1.0, 1.0, 0.0], 100)
    >>> evidence_apart_ln(right, wrong, 0.02, "classification") > ENOUGH_LN
    True
    """
    if not len(champion) or not len(challenger):
        return 0.0
    return worse_evidence_ln(*pair_up(champion, challenger, kind), allowed, kind)


def _judge(gate: Gate, name: str, champion: FloatArray, challenger: FloatArray, bar: float, kind: str) -> Standing:
    evidence = evidence_apart_ln(champion, challenger, gate.max_segment_drop, kind)
    return stand(gate, name, champion, challenger, evidence, bar, kind)


def stand(
    gate: Gate, name: str, champion: FloatArray, challenger: FloatArray, evidence_ln: float, bar: float, kind: str
) -> Standing:
    """How a segment stands by its rows and the evidence that they gave. The evidence holds on few rows too."""
    before, after = _mean(champion), _mean(challenger)
    gain = None if before is None or after is None else _gain(before, after, kind)
    if evidence_ln >= bar:
        answer = "worse"
    elif gain is None or min(len(champion), len(challenger)) < gate.min_segment_labels:
        answer = "not_enough_labels"
    else:
        answer = "better_or_equal" if gain >= -gate.max_segment_drop else "not_enough_labels"
    return Standing(name, len(challenger), len(champion), before, after, gain, answer, evidence_ln, bar)


def _mean(values: FloatArray) -> float | None:
    return float(values.mean()) if len(values) else None


def _gain(before: float, after: float, kind: str) -> float:
    if kind == "classification":
        return after - before
    return (before - after) / before if before else float(after == 0) - 1.0


def _shortened(values: FloatArray, pairs: int, kind: str) -> FloatArray:
    starts = np.arange(pairs) * len(values) // pairs
    if kind != "classification":
        return values[starts]
    return np.asarray(np.add.reduceat(values, starts) / np.diff([*starts.tolist(), len(values)]))
