"""What a retraining needs, one condition each: whether it is so, how far it is, and when it will be by itself."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

import numpy as np

from policies.answers import answer_rows, answer_segment, say
from policies.assessment import MIN_LABELLED
from policies.decision import Reason
from policies.ends import ends_at
from policies.file.policy import DriftTrigger, Trigger
from policies.hold import Moment
from policies.triggers import Case

_NUMBERS = ("size_below_threshold", "evidence_below_threshold")
# Their sentences name the moment already.
_SAY_UNTIL = ("frozen", "awaiting_approval")


@dataclass(frozen=True)
class Condition:
    """One thing that a retraining needs. `code` is the reason that speaks against one while it is not `fulfilled`.

    `observed` and `limit` are the two numbers compared, where there are two, and `progress` (0 to 1) how far it is.
    `until` is when time alone fulfils it; None where something has to happen, or nothing has to.
    """

    code: str
    fulfilled: bool
    observed: float | None
    limit: float | None
    progress: float
    until: datetime | None
    text: str


def conditions_of(trigger: Trigger, case: Case, at: int, moment: Moment) -> Iterator[Condition]:
    """All that one trigger needs in the segment with index `at`: it is ready exactly where each is fulfilled."""
    readings, assessment = moment.readings, moment.assessment
    asked, *parts = answer_segment(case, at, moment.policy, readings, assessment)
    yield from _unheard(case, at, moment)
    if isinstance(trigger, DriftTrigger) and not any(part.code == "insufficient_rows" for part in parts):
        parts.append(answer_rows(readings, assessment, at))
    for part in parts:
        # By the two numbers that are told; what else keeps them from counting has a condition of its own.
        reached = _is_reached(part.observed, part.limit) if part.code in _NUMBERS else not part.met
        yield _condition(part.code, part.observed, part.limit, _words(part, case, at), fulfilled=reached)
    if isinstance(trigger, DriftTrigger):
        yield from _together(trigger, case, at, moment)
    if case.estimated_drop is not None:
        text = f"estimated drop of {readings.performance.metric} {_of_size(asked.observed, asked.limit)}"
        yield _condition("size_below_threshold", asked.observed, asked.limit, text)
    if case.breadth > 1:
        lasting = int(np.count_nonzero(case.exceeded & (case.run >= case.persist)))
        text = f"{lasting} of {case.breadth} segments in which it persists"
        yield _condition("not_persistent", lasting, case.breadth, text)


def as_condition(hold: Reason, moment: Moment) -> Condition:
    """A reason to wait as what has to end, with its end where time alone ends it."""
    until = ends_at(hold, moment)
    text = f"{hold.text}: until {show_moment(until)}" if until and hold.code not in _SAY_UNTIL else hold.text
    return Condition(hold.code, not hold.met, hold.observed, hold.limit, 0.0 if hold.met else 1.0, until, text)


def show_moment(at: datetime) -> str:
    """Minutes are enough for people."""
    return f"{at:%Y-%m-%d %H:%M} UTC"


def _unheard(case: Case, at: int, moment: Moment) -> Iterator[Condition]:
    """What keeps numbers from counting at all, where something does."""
    assessment, name = moment.assessment, moment.readings.segments[at]
    if assessment.silent[at]:
        active = [s for s in moment.policy.silences if moment.now < s.until and s.column is None and s.covers(name)]
        last = max(active, key=lambda silence: silence.until)
        text = f"silenced by {last.who} until {show_moment(last.until)}: {last.reason}"
        yield Condition("silenced", False, None, None, 0.0, last.until, text)
    if assessment.blind[at]:
        yield _condition("blind", 0, 1, "no row in the longest window")
    labelled = int(moment.readings.performance.labelled[at])
    if case.code == "performance_drop" and labelled < MIN_LABELLED:
        text = f"{labelled} of {MIN_LABELLED} labels in the window, below which it tells nothing"
        yield _condition("insufficient_labels", labelled, MIN_LABELLED, text)


def _together(trigger: DriftTrigger, case: Case, at: int, moment: Moment) -> Iterator[Condition]:
    """Size and evidence have to be in the same columns: told where several are needed, or where they are apart."""
    drifting, needed = int(np.count_nonzero(moment.assessment.drift.drifting[at])), trigger.drift.columns
    is_apart = case.size[at] >= case.limit[at] and case.evidence_ln[at] >= case.bar and drifting < needed
    if needed > 1 or is_apart:
        text = f"{drifting} of {needed} columns with both size and evidence"
        yield _condition("evidence_below_threshold", drifting, needed, text)


def _condition(
    code: str, observed: float | None, limit: float | None, text: str, *, fulfilled: bool | None = None
) -> Condition:
    reached = _is_reached(observed, limit) if fulfilled is None else fulfilled
    part = 1.0 if reached else _part(observed, limit)
    return Condition(code, reached, observed, limit, part, None, text)


def _is_reached(observed: float | None, limit: float | None) -> bool:
    return observed is not None and limit is not None and observed >= limit


def _part(observed: float | None, limit: float | None) -> float:
    if observed is None or limit is None or not 0 < observed < limit:
        return 0.0
    return observed / limit


def _words(part: Reason, case: Case, at: int) -> str:
    observed, limit = part.observed, part.limit
    if part.code == "size_below_threshold":
        return f"{case.measures[at]} {_of_size(observed, limit)}"
    if part.code == "evidence_below_threshold":
        return f"evidence (ln e) {_say(observed)} of {_say(limit)}"
    if part.code == "not_persistent":
        return f"{_count(observed)} of {_count(limit)} evaluations in a row"
    if part.code == "insufficient_labels":
        rows = "judged by a fresh twin" if case.code == "twin_better" else "since the change"
        return f"{_count(observed)} of {_count(limit)} labelled rows {rows}"
    return part.text.removeprefix(f"{part.segment}: ")


def _of_size(observed: float | None, limit: float | None) -> str:
    return f"{_say(observed)}, {_say(limit)} is enough"


def _say(value: float | None) -> str:
    return "not known" if value is None else say(value)


def _count(value: float | None) -> str:
    return "an unknown number" if value is None else f"{value:,.0f}"
