"""Why it would or would not retrain now: each condition with how far it is, and what is missing in one sentence.

Read off the same weighing as a decision, so that nothing is missing exactly where the decision is to retrain.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from monitors.readings import Readings
from policies.answers import nearest
from policies.conditions import Condition, as_condition, conditions_of, show_moment
from policies.decision import History
from policies.errors import SegmentUnknown
from policies.file.parse import digest
from policies.file.policy import Policy
from policies.silences import name_heard_states
from policies.weighing import Weighing, weigh

# These follow from the others, or from waiting: they say nothing about how near a segment is to a change that counts.
_FOLLOWING = ("not_persistent", "insufficient_labels")


@dataclass(frozen=True)
class Prospect:
    """One trigger on one segment, with all that it needs; `ready` where it asks for a retraining and can have one."""

    trigger: str
    code: str
    segment: str
    state: str
    column: str | None
    ready: bool
    conditions: tuple[Condition, ...]


@dataclass(frozen=True)
class Explanation:
    """What a decision at this moment would be, and what is missing for a retraining.

    `prospects` are the segment that was asked for, or the nearest ones of each trigger; `holds` the reasons to wait, in
    order; `missing` what has to change, in words: empty exactly where the answer is to retrain (for one segment: where
    that segment would be enough). `nearest` is the prospect of which `missing` and `summary` speak.
    """

    model: str
    version: str
    at: datetime
    policy: str
    baseline: str
    action: str
    segment: str | None
    prospects: tuple[Prospect, ...]
    manual: str
    holds: tuple[Condition, ...]
    nearest: Prospect | None
    missing: tuple[str, ...]
    summary: str


def explain(
    policy: Policy, readings: Readings, history: History, now: datetime, segment: str | None = None
) -> Explanation:
    """The explanation at `now`: of one segment, however far it is from anything, or of those nearest to a retraining.

    Raises:
        ReadingsMismatch: the readings are of another model.
        SegmentUnknown: the readings have no such segment.
    """
    weighing = weigh(policy, readings, history, now)
    if segment is not None and segment not in readings.segments:
        raise SegmentUnknown(segment, readings.segments)
    states = name_heard_states(weighing.moment)
    prospects = tuple(_prospects(weighing, segment, states))
    closest = max(prospects, key=_nearness, default=None)
    holds = tuple(as_condition(hold, weighing.moment) for hold in (*weighing.holds, weighing.approval(proposed=True)))
    missing = (*_unasked(weighing, closest, segment), *_held(closest, holds))
    return Explanation(
        model=readings.model,
        version=readings.version,
        at=now,
        policy=digest(policy),
        baseline=readings.baseline,
        action=weighing.action,
        segment=segment,
        prospects=prospects,
        manual=weighing.manual().text,
        holds=holds,
        nearest=closest,
        missing=missing,
        summary=_summary(weighing, closest, missing),
    )


def _prospects(weighing: Weighing, segment: str | None, states: dict[str, str]) -> Iterator[Prospect]:
    moment = weighing.moment
    segments = moment.readings.segments
    for trigger, case in zip(moment.policy.retrain.when, weighing.cases, strict=True):
        chosen = nearest(case).tolist() if segment is None else [segments.index(segment)]
        for at in chosen:
            # The twin is a test of the whole model: a smaller segment has none.
            if at < len(case.size):
                conditions = tuple(conditions_of(trigger, case, at, moment))
                ready, name, column = bool(case.ready[at]), segments[at], case.columns[at]
                yield Prospect(case.name, case.code, name, states[name], column, ready, conditions)


def _nearness(prospect: Prospect) -> tuple[bool, float, float]:
    """Ready ones first; then by the weakest part of the change itself; then by what follows from it."""
    change = [part.progress for part in prospect.conditions if part.code not in _FOLLOWING]
    following = [part.progress for part in prospect.conditions if part.code in _FOLLOWING]
    return prospect.ready, min(change), sum(following) / len(following)


def _unasked(weighing: Weighing, closest: Prospect | None, segment: str | None) -> Iterator[str]:
    """What is missing before anything asks for a retraining."""
    if weighing.is_asked:
        return
    if closest is None:
        yield f"no trigger of the policy looks at {segment}" if segment else "the policy has no trigger"
    elif not closest.ready:
        yield from (part.text for part in closest.conditions if not part.fulfilled)


def _held(closest: Prospect | None, holds: Sequence[Condition]) -> Iterator[str]:
    """What waits besides; of `all` too few rows are told already."""
    told = {part.code for part in closest.conditions if not part.fulfilled} if closest else set()
    for hold in holds:
        if not hold.fulfilled and not (closest and closest.segment == "all" and hold.code in told):
            yield f"{hold.code.replace('_', ' ')} until {show_moment(hold.until)}" if hold.until else hold.text


def _summary(weighing: Weighing, closest: Prospect | None, missing: Sequence[str]) -> str:
    who = weighing.manual().text if weighing.is_asked else ""
    where = who or (f"{closest.trigger} in {closest.segment}" if closest else "nothing")
    if not missing:
        return f"nothing is missing: {where} is enough" if not who else f"nothing is missing: {who}"
    return f"nearest to a retraining: {where}; missing: {'; '.join(missing)}"
