"""What the policy's silences hide at this moment, said aloud."""

import numpy as np

from policies.assessment import Assessment, assess
from policies.bars import BoolArray
from policies.decision import Reason
from policies.file.policy import Silence
from policies.hold import Moment
from policies.states import name_states


def answer_silences(moment: Moment) -> list[Reason]:
    """One answer for each segment in which a silence hides a change or a fault; else one that says none does.

    It says why such a segment does not trigger; it does not hold back another segment.
    """
    active = _active(moment)
    told = [_tell(segment, active) for segment in _hidden(moment)] if active else []
    nothing = f"{len(active)} silence(s) on, hiding nothing now"
    return told or [Reason("silenced", False, None, None, float(len(active)), None, nothing)]


def name_heard_states(moment: Moment) -> dict[str, str]:
    """The states of all segments; one that is ok only because it is silenced is `watch`: never a silent ok."""
    readings, runs = moment.readings, moment.history.runs
    states = name_states(readings, moment.assessment, runs)
    if not _active(moment):
        return states
    loud = name_states(readings, _unsilenced(moment), runs)
    return {name: "watch" if state == "ok" and loud[name] != "ok" else state for name, state in states.items()}


def _active(moment: Moment) -> list[Silence]:
    return [silence for silence in moment.policy.silences if moment.now < silence.until]


def _unsilenced(moment: Moment) -> Assessment:
    return assess(moment.policy, moment.readings, moment.now, heed_silences=False)


def _hidden(moment: Moment) -> list[str]:
    """Segments that a silence covers, and that would change or fault without."""
    heard, loud = moment.assessment, _unsilenced(moment)
    lost = (_changed(loud) & ~_changed(heard)) | (loud.quality.fault & ~heard.quality.fault)
    names = np.array(moment.readings.segments)[lost].tolist()
    return [name for name in names if any(silence.covers(name) for silence in _active(moment))]


def _changed(assessment: Assessment) -> BoolArray:
    performance = assessment.performance
    return assessment.drift.drifting.any(axis=1) | (performance.over & performance.evident)


def _tell(segment: str, active: list[Silence]) -> Reason:
    by = next(silence for silence in active if silence.covers(segment))
    text = f"{segment}: silenced by {by.who} until {by.until.isoformat()}: {by.reason}"
    return Reason("silenced", True, segment, by.column, None, None, text)
