"""The conditions of a trigger, answered one by one in words and numbers."""

import math

import numpy as np

from monitors.readings import IntArray, Readings
from policies.assessment import MIN_LABELLED, MIN_ROWS, Assessment
from policies.decision import Reason
from policies.file.policy import Policy
from policies.triggers import Case

MOST_SEGMENTS = 5  # a decision is read by people; the rest is in the states and the readings


def answer_case(case: Case, policy: Policy, readings: Readings, assessment: Assessment) -> list[Reason]:
    """The answers for the segments worth reading: the five that come nearest to firing, one at the least."""
    return [
        reason
        for segment in nearest(case)
        for reason in answer_segment(case, int(segment), policy, readings, assessment)
    ]


def answer_segment(case: Case, at: int, policy: Policy, readings: Readings, assessment: Assessment) -> list[Reason]:
    """Every condition of one trigger on the segment with index `at`: the trigger itself, then each of its parts."""
    segment, column, measure = readings.segments[at], case.columns[at], case.measures[at]
    size, limit, evidence = float(case.size[at]), float(case.limit[at]), float(case.evidence_ln[at])
    run, persist = int(case.run[at]), int(case.persist[at])
    labelled, needed = int(case.labelled[at]), int(case.needed[at])
    verb = "asks" if case.firing[at] else "does not ask"
    why = f"{_needs(case, at, policy, assessment)}{_unheard(case, at, readings, assessment)}"
    asked = f"{case.name} {verb} for a retraining{why}"
    sized = f"the {measure} is {say(size)}, {say(limit)} is the smallest of interest"
    proven = f"the evidence (ln e) for this change is {say(evidence)} of the {say(case.bar)} needed"
    lasting = f"size and evidence were there on {run} of the {persist} evaluations in a row needed"
    labels = f"{labelled} of the {needed} labelled rows needed are there"
    rows = (
        (case.code, case.firing[at], column, *_asked(case, at, assessment), asked),
        ("size_below_threshold", not case.over[at], column, size, limit, sized),
        ("evidence_below_threshold", not case.evident[at], None, evidence, case.bar, proven),
        ("not_persistent", run < persist, None, run, persist, lasting),
        ("insufficient_labels", labelled < needed, None, labelled, needed, labels),
    )
    answers = [
        Reason(code, bool(met), segment, where, finite(observed), finite(bound), f"{segment}: {text}")
        for code, met, where, observed, bound, text in rows
    ]
    if case.code == "drift_with_estimated_drop" and at > 0:
        answers.append(answer_rows(readings, assessment, at))
    return answers


def answer_rows(readings: Readings, assessment: Assessment, at: int) -> Reason:
    """Whether the rows of a segment are too few for its inputs to tell anything."""
    rows, baseline = int(readings.rows[at]), int(readings.baseline_rows[at])
    is_unread = bool(np.isnan(readings.drift.segment_evidence_ln[at]))
    text = f"{readings.segments[at]}: {rows} rows in the longest window ({MIN_ROWS} needed), {baseline} in the baseline"
    text += ", where no column can be read" if is_unread and rows else ""
    met = bool(assessment.insufficient[at])
    return Reason("insufficient_rows", met, readings.segments[at], None, float(rows), float(MIN_ROWS), text)


def finite(value: float) -> float | None:
    """A plain float; None where it is unknown or has no end."""
    return float(value) if math.isfinite(value) else None


def say(value: float) -> str:
    """A number for people: three digits, or `unknown`."""
    return "unknown" if math.isnan(value) else f"{value:.3g}"


def _asked(case: Case, at: int, assessment: Assessment) -> tuple[float, float]:
    """The two numbers of the trigger itself: the estimated drop where it asks for one, else the size."""
    if case.estimated_drop is None:
        return float(case.size[at]), float(case.limit[at])
    return float(case.estimated_drop[at]), float(assessment.limits.drop[at])


def _needs(case: Case, at: int, policy: Policy, assessment: Assessment) -> str:
    parts = []
    if case.estimated_drop is not None:
        drop, limit = say(case.estimated_drop[at]), say(assessment.limits.drop[at])
        parts.append(f"the estimated drop of {policy.performance.metric} is {drop}, {limit} is needed")
    elif case.code == "drift_with_estimated_drop":
        parts.append("the policy asks for no estimated drop")
    if case.breadth > 1:
        lasting = np.count_nonzero(case.exceeded & (case.run >= case.persist))
        parts.append(f"{lasting} of the {case.breadth} segments needed persist")
    return f" ({'; '.join(parts)})" if parts else ""


def _unheard(case: Case, at: int, readings: Readings, assessment: Assessment) -> str:
    """Why numbers that look large enough do not count, if so."""
    if assessment.silent[at]:
        return "; the segment is silenced"
    if assessment.blind[at]:
        return "; the segment has no rows"
    if case.code == "performance_drop" and readings.performance.labelled[at] < MIN_LABELLED:
        return f"; fewer than {MIN_LABELLED} labels in the window tell nothing"
    return ""


def nearest(case: Case) -> IntArray:
    """Indexes of the segments worth reading: those nearest to firing, nearest first, ties in order of the readings."""
    evidence = np.where(np.isnan(case.evidence_ln), -np.inf, case.evidence_ln)
    rank = case.ready * 8 + case.firing * 4 + case.exceeded * 2 + case.leaning
    order = np.lexsort((-evidence, -rank))
    return order[: max(1, min(MOST_SEGMENTS, int(np.count_nonzero(rank))))]
