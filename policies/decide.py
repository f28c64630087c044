"""What to do, and why: (policy, readings, history, now) → Decision. No clock, no file, no chance."""

from datetime import UTC, datetime

import numpy as np

from monitors.readings import Readings
from policies.answers import answer_case
from policies.decision import CODES, Attempt, Decision, History, ManualRequest, Reason
from policies.file.parse import digest
from policies.file.policy import Breadth, DriftTrigger, PerformanceTrigger, Policy, Trigger
from policies.hold import fault_quiet_since
from policies.silences import answer_silences, name_heard_states
from policies.weighing import Weighing, open_cases, weigh

__all__ = ["CODES", "Attempt", "Decision", "History", "ManualRequest", "Reason", "decide"]

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
    weighing = weigh(policy, readings, history, now)
    moment = weighing.moment
    answers = [r for case in weighing.cases for r in answer_case(case, moment.policy, readings, moment.assessment)]
    return Decision(
        model=readings.model,
        version=readings.version,
        at=now,
        action=weighing.action,
        reasons=(*answers, weighing.manual(), *weighing.all_holds(), *answer_silences(moment)),
        states=name_heard_states(moment),
        runs=_next_runs(weighing),
        triggers=weighing.segments,
        change_started=_started(weighing),
        policy=digest(policy),
        baseline=readings.baseline,
        fault_open=bool(moment.assessment.quality.fault.any()),
        fault_quiet_since=fault_quiet_since(moment),
        proposal=weighing.proposal,
    )


def _started(weighing: Weighing) -> datetime | None:
    """The earliest start of the strongest windows of the segments that ask."""
    windows = [case.started[mask] for case, mask in zip(weighing.cases, weighing.asking, strict=True)]
    starts = np.concatenate([np.empty(0, "datetime64[s]"), *windows])
    known = starts[~np.isnat(starts)].astype("datetime64[s]").astype(np.int64)
    return datetime.fromtimestamp(int(known.min()), UTC) if len(known) else None


def _next_runs(weighing: Weighing) -> dict[str, int]:
    segments = weighing.moment.readings.segments
    return {
        f"{case.name}:{segments[at]}": int(case.run[at])
        for case in [*open_cases(_ALWAYS, weighing.moment), *weighing.cases]
        for at in np.flatnonzero(case.run)
    }
