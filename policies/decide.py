"""What to do, and why: (policy, readings, history, now) → Decision. No clock, no file, no chance."""

from collections.abc import Sequence
from datetime import UTC, datetime

import numpy as np

from monitors.readings import Readings
from policies.answers import answer_case, answer_segment
from policies.assessment import assess
from policies.decision import CODES, Attempt, Decision, History, ManualRequest, Reason
from policies.errors import ReadingsMismatch
from policies.hold import HOLDS, Moment, awaiting_approval, fault_quiet_since, waive
from policies.parse import digest
from policies.policy import Breadth, DriftTrigger, PerformanceTrigger, Policy, Trigger
from policies.silences import answer_silences, name_heard_states
from policies.triggers import Case, open_case

__all__ = ["CODES", "Attempt", "Decision", "History", "ManualRequest", "Reason", "decide", "examine", "explain"]

# A person may overrule prudence, but not physics: one job at a time, no broken data, no retraining in a freeze.
HOLDS_FOR_PERSONS = ("in_flight", "frozen", "data_fault")
# These runs are counted whatever the policy triggers on, since states need them.
_ALWAYS: tuple[Trigger, ...] = (PerformanceTrigger(), DriftTrigger(Breadth()))


def decide(policy: Policy, readings: Readings, history: History, now: datetime) -> Decision:
    """The decision at `now` (aware), with every condition answered: triggers first, then every reason to wait.

    - retrain: a trigger fires (size, evidence, persistence), labels suffice in one of its segments, no hold stands;
      or a person asks, and nothing runs, is frozen or broken.
    - watch: a trigger fires or comes near (evidence, a size from e = 20 on, not persistent yet), or a person asks,
      but something speaks against it.
    - hold: nothing asks.

    Labels suffice by `labelled_since_change`: the policy's figure for `all`, a smaller segment's share of it (see
    `needed_labels`). The same arguments give the same decision. Raises ReadingsMismatch for another model's readings.
    """
    if readings.model != policy.model:
        raise ReadingsMismatch(policy.model, readings.model)
    assessment = assess(policy, readings, now)
    moment = Moment(policy, readings, assessment, history, now)
    cases = _open_cases(policy.retrain.when, moment)
    ready, asked = any(case.ready.any() for case in cases), history.manual is not None
    holds = _answer_holds(moment, wanted=ready or asked)
    near = asked or any((case.firing | case.exceeded | case.leaning).any() for case in cases)
    go = (ready or asked) and not any(reason.met for reason in holds)
    answers = [reason for case in cases for reason in answer_case(case, policy, readings, assessment)]
    triggers, started = _find_change(cases, readings)
    return Decision(
        model=readings.model,
        version=readings.version,
        at=now,
        action="retrain" if go else "watch" if near else "hold",
        reasons=(*answers, _answer_manual(history), *holds, *answer_silences(moment)),
        states=name_heard_states(moment),
        runs=_next_runs(cases, moment),
        triggers=triggers,
        change_started=started,
        policy=digest(policy),
        baseline=readings.baseline,
        fault_open=bool(assessment.quality.fault.any()),
        fault_quiet_since=fault_quiet_since(moment),
    )


def examine(policy: Policy, readings: Readings, history: History, now: datetime, segment: str) -> tuple[Reason, ...]:
    """Every condition of every trigger for one segment, also where it is far from firing; empty if unknown."""
    if segment not in readings.segments:
        return ()
    moment = Moment(policy, readings, assess(policy, readings, now), history, now)
    at = readings.segments.index(segment)
    cases = [case for case in _open_cases(policy.retrain.when, moment) if at < len(case.size)]
    return tuple(reason for case in cases for reason in answer_segment(case, at, policy, readings, moment.assessment))


def explain(decision: Decision) -> list[str]:
    """The decision as lines for people: what, where, then each condition with `yes` where it is so."""
    lines = [f"{decision.model} {decision.version}: {decision.action} at {decision.at.isoformat()}"]
    lines += [f"  state {state}: {name}" for name, state in decision.states.items() if state != "ok"]
    if decision.change_started:
        lines.append(f"  change began about {decision.change_started.isoformat()} in {', '.join(decision.triggers)}")
    return lines + [f"  {'yes' if r.met else 'no ':3} {r.code}: {r.text}" for r in decision.reasons]


def _open_cases(triggers: Sequence[Trigger], moment: Moment) -> list[Case]:
    runs = moment.history.runs
    return [open_case(trigger, moment.policy, moment.readings, moment.assessment, runs) for trigger in triggers]


def _answer_holds(moment: Moment, *, wanted: bool) -> list[Reason]:
    answers = [hold(moment) for hold in HOLDS]
    if moment.history.manual is not None:
        answers = [answer if answer.code in HOLDS_FOR_PERSONS else waive(answer) for answer in answers]
    approval = awaiting_approval(moment, proposed=wanted and not any(answer.met for answer in answers))
    return [*answers, waive(approval) if moment.history.manual else approval]


def _answer_manual(history: History) -> Reason:
    asked = history.manual
    text = f"{asked.who} asked for a retraining: {asked.why}" if asked else "nobody asked for a retraining"
    return Reason("manual", asked is not None, None, None, None, None, text)


def _find_change(cases: Sequence[Case], readings: Readings) -> tuple[tuple[str, ...], datetime | None]:
    """The segments that fire (those with labels enough, if any) and the earliest start of their strongest windows."""
    some_ready = any(case.ready.any() for case in cases)
    chosen = [case.ready if some_ready else case.firing for case in cases]
    segments = {readings.segments[at] for mask in chosen for at in np.flatnonzero(mask)}
    windows = [case.started[mask] for case, mask in zip(cases, chosen, strict=True)]
    starts = np.concatenate([np.empty(0, "datetime64[s]"), *windows])
    known = starts[~np.isnat(starts)].astype("datetime64[s]").astype(np.int64)
    started = datetime.fromtimestamp(int(known.min()), UTC) if len(known) else None
    return tuple(name for name in readings.segments if name in segments), started


def _next_runs(cases: Sequence[Case], moment: Moment) -> dict[str, int]:
    segments = moment.readings.segments
    return {
        f"{case.name}:{segments[at]}": int(case.run[at])
        for case in [*_open_cases(_ALWAYS, moment), *cases]
        for at in np.flatnonzero(case.run)
    }
