"""Was quality really lost where a decision asked for a retraining? Answered by labels, which may come days later."""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np

from monitors.baseline.baselines import Baseline
from monitors.counting.scores import METRICS, Metric, loss_sums
from monitors.counting.windows import rung_of
from monitors.reading.rises import rose_less_ln, rose_ln
from monitors.readings import FloatArray
from monitors.statistics.loss_evidence import Sums
from policies.answers import finite, say
from policies.assessment import MIN_LABELLED
from policies.bars import BoolArray
from policies.file.policy import Policy
from policies.limits import limits_of

OUTCOMES = ("confirmed", "unfounded", "open")
BAR_LN = math.log(20)
"""A question asked of one span needs less than a watch that looks at every segment all year."""


@dataclass(frozen=True)
class Confirmation:
    """What the labels of the span say of a trigger; the numbers are of `segment`, the one that tells most.

    `drop` is what was lost there against before the change, `limit` the smallest that the policy is interested in.
    `evidence_ln` is the evidence that quality was lost, `against_ln` that less than `limit` was. `settled_at` is by
    when labels that come after the policy's `label_delay` settled it: None while it is open.
    """

    outcome: str
    segment: str | None
    labelled: int
    drop: float | None
    limit: float | None
    evidence_ln: float | None
    against_ln: float | None
    settled_at: datetime | None
    text: str


@dataclass(frozen=True, eq=False)
class _Span:
    """What the labels of the first 1 .. T slices of the span say of the S segments that asked [T, S].

    `limit` [S] is the policy's for each of them, `ends` [T] in unix seconds; `lost` and `spared` say where it is so
    beyond doubt.
    """

    ends: Sequence[int]
    labelled: FloatArray
    limit: FloatArray
    drop: FloatArray
    evidence_ln: FloatArray
    against_ln: FloatArray
    lost: BoolArray
    spared: BoolArray


def confirm(
    policy: Policy,
    baseline: Baseline,
    labelled: Mapping[int, FloatArray],
    segments: Sequence[str],
    change_started: datetime,
    until: datetime,
    now: datetime,
    left_out: Collection[int] = (),
) -> Confirmation:
    """What labels say at `now` of a trigger that fired in `segments` at `until`, for a change since `change_started`.

    - confirmed: in one of the S segments the predictions of that span lost the policy's `max_drop` or more against all
      before it, with an evidence of ln 20 S, on 30 labels or more.
    - unfounded: in none of them; in each the evidence that less was lost is ln 20, and `label_delay` has passed, so
      that the labels are not only those that came first.
    - open: neither yet.

    Args:
        policy: with the metric, the limit and the label delay.
        baseline: of the version that made the predictions.
        labelled: labelled profiles [S, labelled_width] by slice start in unix seconds: the span's and older ones.
        segments: those that asked; names that the baseline does not know are passed over.
        change_started: aware; what is older is what was usual.
        until: aware; when the decision was taken.
        now: aware.
        left_out: slices that are not the model's fault.
    """
    delay = policy.window.label_delay
    asked = [name for name in segments if name in baseline.layout.segments]
    span = _read(policy, baseline, labelled, asked, (change_started, until), left_out)
    if span is None:
        text = "no label of the span has come yet" if asked else "the baseline knows none of its segments"
        return Confirmation("open", None, 0, None, None, None, None, None, text)
    if span.lost[-1].any():
        first = int(np.argmax(span.lost.any(axis=1)))
        return _told("confirmed", policy, asked, span, datetime.fromtimestamp(span.ends[first], UTC) + delay)
    if span.spared[-1].all() and now >= until + delay:
        return _told("unfounded", policy, asked, span, until + delay)
    return _told("open", policy, asked, span, None)


def _read(
    policy: Policy,
    baseline: Baseline,
    labelled: Mapping[int, FloatArray],
    asked: Sequence[str],
    between: tuple[datetime, datetime],
    left_out: Collection[int],
) -> _Span | None:
    since, until = (at.timestamp() for at in between)
    starts = sorted(s for s in labelled if since <= s < until and s not in left_out)
    if not starts or not asked:
        return None
    at = [baseline.layout.segments.index(name) for name in asked]
    cells, how = baseline.layout.labelled_cells, METRICS[policy.performance.metric]
    older = [labelled[s][at] for s in labelled if s < since and s not in left_out]
    usual = sum(older, start=baseline.labelled[at])
    now = np.cumsum([labelled[s][at] for s in starts], axis=0)
    sums, usually = (loss_sums(cells, profile[..., : cells.totals], how.evidence) for profile in (now, usual))
    wobble = baseline.error_wobble[rung_of(np.arange(1, len(starts) + 1), baseline.rungs)][:, at]
    limit = limits_of(policy, tuple(asked), ()).drop
    drop = how.drop(how.score(cells, usual), how.score(cells, now))
    evidence = rose_ln(sums, usually, wobble, how.evidence)
    against = rose_less_ln(sums, usually, wobble, how.evidence, _rise(how, usually, limit))
    enough = (sums[0] >= MIN_LABELLED) & (usually[0] >= MIN_LABELLED)
    return _Span(
        ends=[s + baseline.slice_seconds for s in starts],
        labelled=sums[0],
        limit=limit,
        drop=drop,
        evidence_ln=evidence,
        against_ln=against,
        lost=enough & (drop >= limit) & (evidence >= _lost_bar(asked)),
        spared=enough & (drop < limit) & (against >= BAR_LN),
    )


def _lost_bar(asked: Sequence[str]) -> float:
    """Of several segments one shows a loss by chance more easily."""
    return BAR_LN + math.log(len(asked))


def _rise(how: Metric, usual: Sums, limit: FloatArray) -> FloatArray:
    """How much the mean loss behind a metric rises with a drop of `limit`, about so where the metric is no mean."""
    if how.worse == "relative" or how.evidence == "absolute":
        return np.asarray(limit * usual[1] / np.maximum(usual[0], 1))
    return limit


def _told(outcome: str, policy: Policy, asked: Sequence[str], span: _Span, settled_at: datetime | None) -> Confirmation:
    """The numbers of the segment that tells most: that lost most surely, or leaves most doubt that it did not."""
    is_lost = outcome == "confirmed"
    ranked = np.where(span.lost[-1], span.evidence_ln[-1], -np.inf) if is_lost else -span.against_ln[-1]
    at = int(np.argmax(ranked))
    labelled, limit = int(span.labelled[-1, at]), float(span.limit[at])
    drop, evidence, against = (float(each[-1, at]) for each in (span.drop, span.evidence_ln, span.against_ln))
    what = f"{asked[at]}: {labelled} labels of the span say a drop of {policy.performance.metric} of {say(drop)}"
    loss, less = f"{say(evidence)} for a loss", f"{say(against)} for less than that"
    bar = _lost_bar(asked) if is_lost else BAR_LN
    told = {"confirmed": loss, "unfounded": less, "open": f"{loss}, {less}"}[outcome]
    text = f"{what}, {say(limit)} is the smallest of interest; the evidence (ln e) is {told}; {say(bar)} is needed"
    return Confirmation(
        outcome, asked[at], labelled, finite(drop), limit, finite(evidence), finite(against), settled_at, text
    )
