"""Aftermath: did what triggered a retraining clear with its release, and what of the outcome that users see?"""

import logging
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from policies.file.policy import Policy
from policies.limits import policy_for
from service.house import House
from service.intake.joining import outcomes
from service.ledger.ledger import Ledger
from service.ledger.records import Aftermath, Evaluation, Retraining, Watch

PERFORMANCE, TWIN = "performance_drop", "twin_better"
DRIFT = "drift_with_estimated_drop"
_CLEARED, _NOT_CLEARED, _NOT_YET, _NOTHING = "cleared", "not_cleared", "not_enough_yet", "nothing_to_clear"
_log = logging.getLogger(__name__)
_ERRORS = ("mae", "rmse", "log_loss", "brier", "calibration")


def look_back(house: House, policy: Policy, watch: Watch) -> Aftermath:
    """What became of what the watched release was for, as known now; stored with the release. Where a person alone had
    asked, or the version was made outside, there is nothing to clear. An outcome that became worse is told.
    """
    model = policy.model
    release = next((r for r in reversed(house.ledger.releases(model)) if r.version == watch.version), None)
    retraining = house.ledger.retraining(model, release.retraining) if release and release.retraining else None
    segments: tuple[dict[str, Any], ...] = ()
    if retraining is not None and not set(retraining.reasons) <= {"manual"}:
        names = retraining.segments or ("all",)
        segments = tuple(_of_segment(house, policy, watch, retraining, name) for name in names)
    outcome, before = _outcome(house, policy, watch), house.ledger.aftermaths(model).get(watch.version)
    if outcome.get("is_worse") and not (before and before.outcome.get("is_worse")):
        _log.warning("%s: %s is worse since version %s: %s", model, outcome["field"], watch.version, outcome)
    found = Aftermath(model, watch.version, house.clock(), _together(segments), segments, outcome)
    house.ledger.save_aftermath(found)
    return found


def between_regressions(ledger: Ledger, model: str, now: datetime) -> float | None:
    """Mean seconds between releases that were found worse: the time since the first release, for each of them. None
    where there was none.
    """
    releases, found = ledger.releases(model), len(ledger.regressions(model))
    return (now - releases[0].at).total_seconds() / found if releases and found else None


def _of_segment(house: House, policy: Policy, watch: Watch, retraining: Retraining, name: str) -> dict[str, Any]:
    standing = next((s for s in watch.verdict.get("segments", ()) if s["name"] == name), None)
    answers = []
    if PERFORMANCE in retraining.reasons:
        answers.append(_performance(house, policy, retraining, name, standing))
    if TWIN in retraining.reasons:
        answers.append(_gain(policy, name, standing))
    if DRIFT in retraining.reasons:
        answers.append(_drift(house.ledger.evaluation(policy.model), watch.version, name))
    answers = answers or [(_NOT_YET, "nothing that can be read again asked for it")]
    order = (_NOT_CLEARED, _NOT_YET, _CLEARED)
    answer = min((said for said, _ in answers), key=order.index)
    return {"segment": name, "answer": answer, "text": "; ".join(text for _, text in answers)}


def _performance(
    house: House, policy: Policy, retraining: Retraining, name: str, standing: Mapping[str, Any] | None
) -> tuple[str, str]:
    """Performance is back when it is no more than `performance.max_drop` below what it was before the drop."""
    decision, own = house.ledger.decision(policy.model, retraining.decision), policy_for(policy, name)
    read = next((r for r in (decision.readings if decision else ()) if r["segment"] == name), None)
    metric, before = policy.performance.metric, read["performance"]["expected"] if read else None
    now, n = _now(house, policy, retraining, name, standing)
    if before is None or now is None or n < own.gate.min_segment_labels:
        return _NOT_YET, f"{metric} is known of {n} labels since the release, {own.gate.min_segment_labels} are needed"
    drop = (now - before) / before if metric in _ERRORS and before else before - now
    text = f"{metric} {now:.4g} on {n} labels since the release, {before:.4g} before it dropped"
    return (_CLEARED if drop <= own.performance.max_drop else _NOT_CLEARED), text


def _now(
    house: House, policy: Policy, retraining: Retraining, name: str, standing: Mapping[str, Any] | None
) -> tuple[float | None, int]:
    """The metric since the release, and of how many labels. What is no mean of rows is read by the evaluation."""
    if policy.performance.metric in {"accuracy", "mae"}:
        return (standing["challenger"], standing["n"]) if standing else (None, 0)
    last = house.ledger.evaluation(policy.model)
    read = next((r for r in last.segments if r["segment"] == name and last.version == retraining.version), None)
    return (read["performance"]["value"], read["performance"]["labelled"]) if read else (None, 0)


def _gain(policy: Policy, name: str, standing: Mapping[str, Any] | None) -> tuple[str, str]:
    """A fresh model was said to be better: is it?"""
    least = policy_for(policy, name).gate.min_segment_labels
    if standing is None or standing["gain"] is None or standing["n"] < least:
        return _NOT_YET, f"{standing['n'] if standing else 0} labels since the release, {least} are needed"
    text = f"a gain of {standing['gain']:+.4f} over version before on {standing['n']} labels"
    return (_CLEARED if standing["gain"] > 0 else _NOT_CLEARED), text


def _drift(last: Evaluation, version: str, name: str) -> tuple[str, str]:
    read = next((r for r in last.segments if r["segment"] == name), None)
    if last.version != version or read is None or read["state"] in {"insufficient", "blind", "fault"}:
        return _NOT_YET, "too few rows since the release to read its drift"
    drifts = read["state"] == "drifting"
    return (_NOT_CLEARED if drifts else _CLEARED), f"the segment is {read['state']} against the new baseline"


def _together(segments: tuple[Mapping[str, Any], ...]) -> str:
    answers = {each["answer"] for each in segments}
    return next((a for a in (_NOT_CLEARED, _NOT_YET, _CLEARED) if a in answers), _NOTHING)


def _outcome(house: House, policy: Policy, watch: Watch) -> dict[str, Any]:
    """The mean of the policy's outcome under both versions. Fewer good ends are told; no test is made of it: the two
    served other rows.
    """
    field, least = policy.task.outcome or "", policy.gate.min_segment_labels
    read = {}
    for name, version in (("before", watch.previous), ("now", watch.version)):
        baseline = house.ledger.baseline(policy.model, version)
        read[name] = outcomes.read(house.store, baseline, field, 0).get("all") if baseline and field else None
    before, now = read["before"], read["now"]
    if before is None or now is None or before.mean is None or now.mean is None or min(before.rows, now.rows) < least:
        return {}
    is_worse = before.mean - now.mean > policy.gate.max_segment_drop
    said = {name: {"mean": each.mean, "rows": each.rows} for name, each in (("before", before), ("now", now))}
    return {"field": field, **said, "is_worse": is_worse}
