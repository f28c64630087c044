"""What a notice of each happening says: a title, a few lines for people, facts for programs."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from policies.decision import TRIGGER_CODES
from policies.file.kinds import format_span
from service.ledger.records import Evaluation, Regression, Release, Retraining
from service.notices.notice import Notice, identity
from service.orders.approvals import Awaiting

Reasons = Sequence[Mapping[str, Any]]
_MOST_REASONS = 3


def opened(retraining: Retraining, why: Reasons) -> Notice:
    """A retraining was opened; `why` are the reasons of its decision."""
    reasons = _triggers(why)
    return _notice(
        retraining.model,
        "retraining_opened",
        "retraining.opened",
        retraining.opened_at,
        title="a retraining was opened",
        lines=[*_texts(reasons), _names(retraining)],
        facts={**_plain(retraining), "reasons": reasons},
        key=[retraining.id],
    )


def ended(retraining: Retraining, at: datetime) -> Notice:
    """A retraining came to its end, whichever it was."""
    state, stays = retraining.state, f"{retraining.champion} stays"
    titles = {
        "released": f"version {retraining.version} replaced {retraining.champion}",
        "refused": f"the gate refused the retrained version, {stays}",
        "failed": f"the retraining failed, {stays}",
        "cancelled": f"the retraining was cancelled, {stays}",
    }
    because = f"because of {', '.join(retraining.reasons)} in {_some(retraining.segments)}"
    verdict = retraining.verdict
    judged = next((s for s in verdict.get("segments", ()) if s["name"] == "all" and s["gain"] is not None), None)
    gain = (
        f"on {judged['n']} unseen rows {judged['champion']:.3f} before, {judged['challenger']:.3f} after"
        if judged
        else ""
    )
    return _notice(
        retraining.model,
        "retraining_ended",
        f"retraining.{state}",
        at,
        title=titles[state],
        lines=[because if state == "released" else retraining.note, gain, _names(retraining)],
        facts={**_plain(retraining), "note": retraining.note, "gate": verdict.get("reasons", []), "judged": judged},
        key=[retraining.id],
    )


def rolled_back(release: Release) -> Notice:
    """The version before is the champion again."""
    return _notice(
        release.model,
        "rolled_back",
        "champion.rolled_back",
        release.at,
        title=f"rolled back from version {release.previous} to {release.version}",
        lines=[release.reason],
        facts={"version": release.version, "previous": release.previous, "reason": release.reason},
        key=[release.previous, release.version, release.at.isoformat()],
    )


def regressed(found: Regression) -> Notice:
    """A release is worse than what it replaced, and a person has to say what follows."""
    return _notice(
        found.model,
        "regression",
        "release.regressed",
        found.at,
        title=f"version {found.version} does worse than {found.previous} did",
        lines=[found.reason, f"to go back: tidegate rollback {found.model} --why …"],
        facts={"version": found.version, "previous": found.previous, "reason": found.reason},
        key=[found.version, found.previous],
    )


def approval_awaited(waits: Awaiting, now: datetime) -> Notice:
    """A retraining is in order and needs a yes."""
    return _notice(
        waits.model,
        "awaiting_approval",
        "approval.awaited",
        now,
        title="a retraining waits for approval",
        lines=[
            *waits.reasons[:_MOST_REASONS],
            f"it would {waits.would}",
            f"to agree: tidegate approve {waits.decision} --why …",
        ],
        facts={
            "decision": waits.decision,
            "since": waits.since.isoformat(),
            "segments": waits.segments,
            "reasons": waits.reasons,
            "would": waits.would,
        },
        key=[waits.decision, now.isoformat()],
    )


def fault_opened(last: Evaluation, since: datetime, quiet: timedelta) -> Notice:
    """The input is broken; it is whole again when it was quiet for `quiet`."""
    seen = [str(r["text"]) for r in last.reasons if r["code"] == "data_fault" and r["met"]]
    return _notice(
        last.model,
        "data_fault",
        "fault.opened",
        since,
        title="the input is broken",
        lines=[*seen, f"nothing is retrained meanwhile; it is over when it was quiet for {format_span(quiet)}"],
        facts={"since": since.isoformat(), "faults": last.faults},
        key=[since.isoformat()],
    )


def fault_ended(model: str, since: datetime, quiet_since: datetime, now: datetime) -> Notice:
    """The input is whole again."""
    return _notice(
        model,
        "data_fault",
        "fault.ended",
        now,
        title="the input is whole again",
        lines=[f"quiet since {quiet_since:%Y-%m-%d %H:%M} UTC, it was broken since {since:%Y-%m-%d %H:%M}"],
        facts={"since": since.isoformat(), "quiet_since": quiet_since.isoformat()},
        key=[since.isoformat()],
    )


def blinded(model: str, why: str, now: datetime) -> Notice:
    """Nothing can be read of a model any more."""
    return _notice(
        model,
        "blind",
        "model.blind",
        now,
        title="nothing can be said about it",
        lines=[why],
        facts={"reason": why},
        key=[now.isoformat()],
    )


def policy_refused(model: str, problem: str, now: datetime) -> Notice:
    """An edit of the policy file cannot be used."""
    return _notice(
        model,
        "policy_refused",
        "policy.refused",
        now,
        title="the edited policy cannot be used, the last good one stays in force",
        lines=problem.splitlines()[:_MOST_REASONS],
        facts={"problem": problem},
        key=[problem, now.isoformat()],
    )


def _notice(
    model: str,
    kind: str,
    what: str,
    at: datetime,
    *,
    title: str,
    lines: Sequence[str],
    facts: Mapping[str, Any],
    key: Sequence[str],
) -> Notice:
    said = tuple(line.strip() for line in lines if line.strip())
    return Notice(identity(model, what, key), kind, f"tidegate.{what}", model, at, f"{model}: {title}", said, facts)


def _triggers(reasons: Reasons) -> Reasons:
    return [reason for reason in reasons if reason["met"] and reason["code"] in TRIGGER_CODES]


def _texts(reasons: Reasons) -> list[str]:
    return [str(reason["text"]) for reason in reasons[:_MOST_REASONS]]


def _plain(retraining: Retraining) -> dict[str, Any]:
    return {
        "retraining": retraining.id,
        "decision": retraining.decision,
        "champion": retraining.champion,
        "version": retraining.version,
        "triggers": retraining.reasons,
        "segments": retraining.segments,
        "labelled_rows": retraining.labelled_rows,
    }


def _names(retraining: Retraining) -> str:
    return f"retraining {retraining.id} of decision {retraining.decision}"


def _some(segments: Sequence[str]) -> str:
    shown = ", ".join(segments[:_MOST_REASONS]) or "all"
    return f"{shown} and {len(segments) - _MOST_REASONS} more" if len(segments) > _MOST_REASONS else shown
