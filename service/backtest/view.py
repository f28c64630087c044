"""A backtest as plain values: what the route answers, the command prints, and the picture is drawn from."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from policies.file.kinds import format_span
from policies.file.parse import digest
from policies.file.policy import Policy, TwinTrigger
from policies.past.course import Course, Stretch, WouldBe, differ, pair
from policies.past.past import Assumed, Past

MOST_STRETCHES = 200
"""Of one kind; the picture and the table show no more."""
_KINDS = ("held", "watch", "fault")


def view(
    past: Past, named: Sequence[tuple[str, Policy]], courses: Sequence[Course], assumed: Assumed, cpu_seconds: float
) -> dict[str, Any]:
    """What one policy or two would have done, with what was so in fact and what had to be assumed."""
    told = [_course(name, policy, course) for (name, policy), course in zip(named, courses, strict=True)]
    return {
        "model": past.model,
        "since": _time(past.since),
        "until": _time(past.until),
        "looked_from": _time(past.reigns[0].since),
        "slice_seconds": past.reigns[0].baseline.slice_seconds,
        "versions": [
            {"version": r.baseline.version, "since": _time(r.since), "until": _time(r.until)} for r in past.reigns
        ],
        "retrainings": [
            {
                "opened_at": _time(k.opened_at),
                "finished_at": _time(k.finished_at),
                "champion": k.champion,
                "outcome": k.outcome,
            }
            for k in past.retrainings
            if past.since <= k.opened_at <= past.until
        ],
        "assumed": {
            "label_delay_seconds": None if assumed.label_delay is None else assumed.label_delay.total_seconds(),
            "training_seconds": assumed.training.total_seconds(),
        },
        "notes": [*past.notes, *_notes(past, [policy for _, policy in named], assumed)],
        "policies": told,
        "same": not any(differ(courses[0], other) for other in courses[1:]),
        "pairs": _pairs(*courses),
        "cost": {"cpu_seconds": round(cpu_seconds, 3)},
    }


def _course(name: str, policy: Policy, course: Course) -> dict[str, Any]:
    budget = policy.retrain.budget
    outcomes = [each.confirmation for each in course.retrainings]
    return {
        "name": name,
        "digest": digest(policy),
        "evaluations": course.evaluations,
        "retrainings": [_would_be(each) for each in course.retrainings],
        **{kind: [_stretch(s) for s in course.stretches if s.kind == kind][:MOST_STRETCHES] for kind in _KINDS},
        "releases": [{"at": _time(r.at), "version": r.version, "stood": r.stood} for r in course.releases],
        "confirmed": outcomes.count("confirmed"),
        "unfounded": outcomes.count("unfounded"),
        "open": outcomes.count("open"),
        "budget": budget
        and {"count": budget.count, "per_seconds": budget.per.total_seconds(), "most_spent": course.budget_spent},
        "needs_approval": policy.retrain.approval == "required",
    }


def _would_be(each: WouldBe) -> dict[str, Any]:
    return {
        "at": _time(each.at),
        "version": each.version,
        "reasons": list(each.reasons),
        "segments": list(each.segments),
        "change_started": _time(each.change_started),
        "finished_at": _time(each.finished_at),
        "outcome": each.outcome,
        "known": each.is_known,
        "confirmation": each.confirmation,
        "settled_at": _time(each.settled_at),
        "lead_seconds": None if each.lead is None else each.lead.total_seconds(),
    }


def _stretch(each: Stretch) -> dict[str, Any]:
    return {
        "since": _time(each.since),
        "until": _time(each.until),
        "evaluations": each.evaluations,
        "reasons": _most_first(each.reasons),
        "segments": _most_first(each.segments),
    }


def _most_first(counts: Mapping[str, int]) -> dict[str, int]:
    return dict(sorted(counts.items(), key=lambda item: -item[1]))


def _notes(past: Past, policies: Sequence[Policy], assumed: Assumed) -> list[str]:
    """What this backtest cannot know, or had to assume."""
    baseline = past.reigns[-1].baseline
    cuts = {frozenset(cut.names) for cut in baseline.layout.cuts}
    delays = {assumed.label_delay if assumed.label_delay is not None else p.window.label_delay for p in policies}
    late = " or ".join(sorted(format_span(delay) for delay in delays))
    lasting = format_span(_whole(assumed.training))
    notes = [
        f"labels are taken to have come evenly, {late} after the predictions: when they really came is not kept",
        f"retrainings are taken to last {lasting} and to be released, where there was none in fact",
    ]
    if any(policy.window.slice.total_seconds() != baseline.slice_seconds for policy in policies):
        length = format_span(timedelta(seconds=baseline.slice_seconds))
        notes.append(f"rows were counted in slices of {length}: another `window.slice` begins with the next baseline")
    if any({frozenset(cut) for cut in policy.segments} != cuts for policy in policies):
        counted = ", ".join(sorted("+".join(sorted(cut)) for cut in cuts)) or "no column"
        notes.append(f"rows were counted by {counted} (and all): other `segments` begin with the next baseline")
    if not any(reign.twins for reign in past.reigns) and any(_asks_twin(policy) for policy in policies):
        notes.append("no test of a fresh twin is kept: the `twin` trigger is not a part of this")
    if any(policy.retrain.approval == "required" for policy in policies):
        notes.append("who has to approve is taken to approve at once")
    return notes


def _asks_twin(policy: Policy) -> bool:
    return any(isinstance(trigger, TwinTrigger) for trigger in policy.retrain.when)


def _whole(duration: timedelta) -> timedelta:
    return timedelta(seconds=round(duration.total_seconds()))


def _pairs(first: Course, second: Course | None = None) -> list[list[str | None]]:
    """When each of the two would have retrained for the same change; None where one of them would not have."""
    return [[_time(each.at) if each else None for each in both] for both in pair(first, second)] if second else []


def _time(at: datetime | None) -> str | None:
    return f"{at:%Y-%m-%dT%H:%M:%SZ}" if at else None
