"""Champion against challenger on the same unseen rows, for each segment: may the challenger be released?"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from types import MappingProxyType

import numpy as np

from monitors.readings import FloatArray
from policies.bars import BoolArray
from policies.decision import Reason
from policies.errors import HoldoutUnusable
from policies.file.kinds import format_span
from policies.file.policy import Gate

ENOUGH_LN = math.log(20)
# Stakes as shares of the largest safe one; the mixture needs no guess of how large the drop is. Of nine cases (drops
# of 4 to 40 points on 50 to 2,000 rows) these five found the most: 10 points on 300 rows in 72 %, 16 finer ones 67 %.
STAKES = np.geomspace(0.1, 0.8, 5)


@dataclass(frozen=True)
class SegmentVerdict:
    """One segment: `champion` and `challenger` are mean accuracies or mean absolute errors over its `n` rows.

    `gain` is in points of accuracy, or the relative fall of the error; None without rows. `answer` is better_or_equal
    (no worse than the policy allows), worse, or not_enough_labels, which `labels_needed` more are expected to settle.
    `evidence_ln` is the log e-value for worse by more than the policy allows.
    """

    name: str
    n: int
    champion: float | None
    challenger: float | None
    gain: float | None
    answer: str
    evidence_ln: float
    labels_needed: int


@dataclass(frozen=True)
class Verdict:
    """Whether the challenger passes, each segment's answer, and every condition of the gate.

    Reason codes: gain_below_minimum, segment_worse, not_enough_labels, edge_cases_failed, too_slow. Of those, a met
    not_enough_labels does not refuse: such segments go to the canary, or wait for labels.
    """

    passed: bool
    segments: tuple[SegmentVerdict, ...]
    reasons: tuple[Reason, ...]

    @property
    def unsettled(self) -> tuple[str, ...]:
        """Segments on which the labels do not suffice for an answer."""
        return tuple(segment.name for segment in self.segments if segment.answer == "not_enough_labels")


def judge(
    gate: Gate,
    champion: FloatArray,
    challenger: FloatArray,
    segments: Sequence[str] = (),
    members: BoolArray | None = None,
    *,
    own: Mapping[str, Gate] = MappingProxyType({}),
    kind: str = "classification",
    failed_cases: int = 0,
    latency_p95: timedelta | None = None,
) -> Verdict:
    """The verdict on N paired rows that neither model was trained on.

    `champion` and `challenger` (N): for classification 1 where right and 0 where wrong, for regression absolute
    errors. `members` (S x N) says which rows belong to each of the S `segments`; `all` is always judged, first.
    `own` are the gates of segments that differ: their drop allowed, and the labels they need.
    `failed_cases` of the policy's must_pass file and the challenger's measured `latency_p95` are judged along.
    Raises HoldoutUnusable for no rows, other shapes, NaN, infinities, or values that the kind does not have.

    >>> champion, challenger = np.repeat([1.0, 1.0, 0.0], [700, 200, 100]), np.repeat([1.0, 0.0, 1.0], [700, 200, 100])
    >>> verdict = judge(Gate(), champion, challenger)
    >>> verdict.passed, verdict.segments[0].answer, round(verdict.segments[0].gain, 3)
    (False, 'worse', -0.1)
    """
    names = ("all", *(name for name in segments if name != "all"))
    masks = _check_rows(champion, challenger, segments, members, kind)
    gates = {name: own.get(name, gate) for name in names}
    found = tuple(
        _judge_segment(gates[name], name, champion[masks[name]], challenger[masks[name]], kind) for name in names
    )
    reasons = (
        _answer_gain(gate, found[0]),
        *(_answer_segment(gates[segment.name], segment) for segment in found),
        _answer_cases(failed_cases),
        _answer_latency(gate, latency_p95),
    )
    refused = any(reason.met for reason in reasons if reason.code != "not_enough_labels")
    return Verdict(passed=not refused, segments=found, reasons=reasons)


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
    losses, largest = _losses(champion, challenger, allowed, kind)
    growth = np.log1p(STAKES[:, None] * losses / largest).sum(axis=1)
    return float(np.logaddexp.reduce(growth) - math.log(len(STAKES)))


def _judge_segment(gate: Gate, name: str, champion: FloatArray, challenger: FloatArray, kind: str) -> SegmentVerdict:
    n = len(champion)
    if not n:
        return SegmentVerdict(name, 0, None, None, None, "not_enough_labels", 0.0, gate.min_segment_labels)
    gain = _gain(champion, challenger, kind)
    evidence = worse_evidence_ln(champion, challenger, gate.max_segment_drop, kind)
    needed = 0
    if n < gate.min_segment_labels:
        answer, needed = "not_enough_labels", gate.min_segment_labels - n
    elif evidence >= ENOUGH_LN:
        answer = "worse"
    elif -gain > gate.max_segment_drop:
        answer, needed = "not_enough_labels", _labels_to_settle(champion, challenger, gate.max_segment_drop, kind)
    else:
        answer = "better_or_equal"
    return SegmentVerdict(name, n, float(champion.mean()), float(challenger.mean()), gain, answer, evidence, needed)


def _gain(champion: FloatArray, challenger: FloatArray, kind: str) -> float:
    if kind == "classification":
        return float((challenger.sum() - champion.sum()) / len(champion))
    before, after = float(champion.sum()), float(challenger.sum())
    if before == 0:
        return 0.0 if after == 0 else -1.0
    return (before - after) / before


def _losses(champion: FloatArray, challenger: FloatArray, allowed: float, kind: str) -> tuple[FloatArray, float]:
    if kind == "classification":
        return champion - challenger - allowed, 1 + allowed
    bar = (1 + allowed) * champion
    total = challenger + bar
    return np.divide(challenger - bar, total, out=np.zeros_like(total), where=total > 0), 1.0


def _labels_to_settle(champion: FloatArray, challenger: FloatArray, allowed: float, kind: str) -> int:
    """How many more rows like these would bring e to 20: the best stake grows about mean^2 / (2 mean of squares) a row.

    Where the mean of the losses shows no drop, though the mean error does, twice the rows are asked for.
    """
    losses, _ = _losses(champion, challenger, allowed, kind)
    mean, square = float(losses.mean()), float(np.square(losses).mean())
    if mean <= 0:
        return len(losses)
    total = (ENOUGH_LN + math.log(len(STAKES))) * 2 * square / mean**2
    return max(1, math.ceil(min(total, 1e9)) - len(losses))


def _answer_gain(gate: Gate, whole: SegmentVerdict) -> Reason:
    gain = whole.gain or 0.0
    text = f"the gain on all {whole.n} unseen rows is {gain:+.4f}, at least {gate.min_gain:+.4f} is needed"
    return Reason("gain_below_minimum", gain < gate.min_gain, "all", None, gain, gate.min_gain, text)


def _answer_segment(gate: Gate, segment: SegmentVerdict) -> Reason:
    shown = "unknown" if segment.gain is None else f"{segment.gain:+.4f}"
    change = f"{segment.name}: the gain on {segment.n} rows is {shown}"
    if segment.answer == "not_enough_labels":
        text = f"{change}; about {segment.labels_needed} more labels are needed to settle it"
        enough = float(segment.n + segment.labels_needed)
        return Reason("not_enough_labels", True, segment.name, None, float(segment.n), enough, text)
    text = f"{change}; a drop of {gate.max_segment_drop:.4f} is allowed"
    worse = segment.answer == "worse"
    return Reason("segment_worse", worse, segment.name, None, segment.gain, -gate.max_segment_drop, text)


def _answer_cases(failed: int) -> Reason:
    text = f"{failed} of the cases that must pass came out wrong"
    return Reason("edge_cases_failed", failed > 0, None, None, float(failed), 0.0, text)


def _answer_latency(gate: Gate, measured: timedelta | None) -> Reason:
    limit = gate.latency_p95
    if limit is None or measured is None:
        text = "the policy sets no latency" if limit is None else "no latency was measured"
        return Reason("too_slow", False, None, None, None, limit.total_seconds() if limit else None, text)
    text = f"95 of 100 predictions take up to {measured.total_seconds():.4f} s, {format_span(limit)} is allowed"
    return Reason("too_slow", measured > limit, None, None, measured.total_seconds(), limit.total_seconds(), text)


def _check_rows(
    champion: FloatArray, challenger: FloatArray, segments: Sequence[str], members: BoolArray | None, kind: str
) -> dict[str, BoolArray]:
    """Which rows each segment has, after the rows were found usable."""
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
