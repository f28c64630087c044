"""Segment by segment: is the challenger better or equal, worse, or are the labels too few to tell?"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from monitors.readings import FloatArray
from policies.bars import BoolArray
from policies.decision import Reason
from policies.errors import HoldoutUnusable
from policies.file.policy import Gate
from policies.gate.evidence import ENOUGH_LN, labels_to_settle, worse_evidence_ln

BETTER_OR_EQUAL, WORSE, NOT_ENOUGH_LABELS = "better_or_equal", "worse", "not_enough_labels"


@dataclass(frozen=True)
class SegmentVerdict:
    """One segment: `champion` and `challenger` are mean accuracies or mean absolute errors over its `n` rows.

    `gain` is in points of accuracy, or the relative fall of the error; None without rows. `answer` is better_or_equal
    (no worse than the policy allows), worse, or not_enough_labels, which `labels_needed` more are expected to settle.
    `evidence_ln` is the log e-value for worse by more than the policy allows. Of a class the rows are those of its
    label, and the means are its recall.
    """

    name: str
    n: int
    champion: float | None
    challenger: float | None
    gain: float | None
    answer: str
    evidence_ln: float
    labels_needed: int


def judge_segment(gate: Gate, name: str, champion: FloatArray, challenger: FloatArray, kind: str) -> SegmentVerdict:
    """The answer for the rows of one segment; see `judge` for what they hold."""
    n = len(champion)
    if not n:
        return SegmentVerdict(name, 0, None, None, None, NOT_ENOUGH_LABELS, 0.0, gate.min_segment_labels)
    gain = gain_of(champion, challenger, kind)
    evidence = worse_evidence_ln(champion, challenger, gate.max_segment_drop, kind)
    needed = 0
    if n < gate.min_segment_labels:
        answer, needed = NOT_ENOUGH_LABELS, gate.min_segment_labels - n
    elif evidence >= ENOUGH_LN:
        answer = WORSE
    elif -gain > gate.max_segment_drop:
        answer, needed = NOT_ENOUGH_LABELS, labels_to_settle(champion, challenger, gate.max_segment_drop, kind)
    else:
        answer = BETTER_OR_EQUAL
    return SegmentVerdict(name, n, float(champion.mean()), float(challenger.mean()), gain, answer, evidence, needed)


def gain_of(champion: FloatArray, challenger: FloatArray, kind: str) -> float:
    """In points of accuracy, or the relative fall of the mean error."""
    if kind == "classification":
        return float((challenger.sum() - champion.sum()) / len(champion))
    before, after = float(champion.sum()), float(challenger.sum())
    if before == 0:
        return 0.0 if after == 0 else -1.0
    return (before - after) / before


def answer_segment(gate: Gate, segment: SegmentVerdict) -> Reason:
    """The reason that a segment gives."""
    shown = "unknown" if segment.gain is None else f"{segment.gain:+.4f}"
    change = f"{segment.name}: the gain on {segment.n} rows is {shown}"
    if segment.answer == NOT_ENOUGH_LABELS:
        text = f"{change}; about {segment.labels_needed} more labels are needed to settle it"
        enough = float(segment.n + segment.labels_needed)
        return Reason("not_enough_labels", True, segment.name, None, float(segment.n), enough, text)
    text = f"{change}; a drop of {gate.max_segment_drop:.4f} is allowed"
    worse = segment.answer == WORSE
    return Reason("segment_worse", worse, segment.name, None, segment.gain, -gate.max_segment_drop, text)


def check_rows(
    champion: FloatArray, challenger: FloatArray, segments: Sequence[str], members: BoolArray | None, kind: str
) -> Mapping[str, BoolArray]:
    """Which rows each segment has, after the rows were found usable. Raises HoldoutUnusable."""
    n = len(champion)
    shape = (len(segments), n)
    given = np.zeros(shape, bool) if members is None else np.asarray(members, bool)
    if not n:
        raise HoldoutUnusable("the holdout has no labelled rows: wait for labels before judging")
    if champion.shape != (n,) or challenger.shape != (n,):
        raise HoldoutUnusable(f"expected paired rows, saw shapes {champion.shape} and {challenger.shape}")
    if given.shape != shape or (members is None and segments):
        raise HoldoutUnusable(f"expected members of shape {shape} (segments x rows), saw {given.shape}")
    for name, values in (("champion", champion), ("challenger", challenger)):
        bad = np.flatnonzero(~np.isfinite(values) | (values < 0) | ((values > 1) & (kind == "classification")))
        if len(bad):
            allowed = "a number from 0 to 1" if kind == "classification" else "a finite absolute error"
            raise HoldoutUnusable(f"{name}, row {bad[0]}: expected {allowed}, saw {values[bad[0]]}")
    return dict(zip(segments, given, strict=True)) | {"all": np.ones(n, bool)}
