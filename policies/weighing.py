"""What speaks for a retraining and what against it at one moment.

A decision and an explanation are both read off it, so that they never differ.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property

import numpy as np

from monitors.readings import Readings
from policies.assessment import assess
from policies.bars import BoolArray
from policies.decision import History, Reason
from policies.errors import ReadingsMismatch
from policies.file.policy import Policy, Trigger
from policies.hold import HOLDS, Moment, awaiting_approval, waive
from policies.orders import with_orders
from policies.proposals import Proposal, renew
from policies.triggers import Case, open_case

# A person may overrule prudence, but not physics: one job at a time, no broken data, no retraining in a freeze.
HOLDS_FOR_PERSONS = ("in_flight", "frozen", "data_fault")


@dataclass(frozen=True, eq=False)
class Weighing:
    """`cases`: each trigger of the policy against every segment. `holds`: every reason to wait but the approval, which
    depends on whether all else is in favour. The moment's policy is as it is heard: with what people ordered.
    """

    moment: Moment
    cases: tuple[Case, ...]
    holds: tuple[Reason, ...]

    @property
    def is_asked(self) -> bool:
        """Whether a person asks for a retraining."""
        return self.moment.history.manual is not None

    @cached_property
    def is_wanted(self) -> bool:
        """Whether a person asks, or a trigger fires with labels enough."""
        return self.is_asked or any(case.ready.any() for case in self.cases)

    @property
    def is_near(self) -> bool:
        """Whether somebody asks or a segment should be looked at."""
        return self.is_asked or any((case.firing | case.exceeded | case.leaning).any() for case in self.cases)

    @cached_property
    def asking(self) -> list[BoolArray]:
        """For each case the segments that ask: those with labels enough, if there is any, else all that fire."""
        some_ready = any(case.ready.any() for case in self.cases)
        return [case.ready if some_ready else case.firing for case in self.cases]

    @cached_property
    def segments(self) -> tuple[str, ...]:
        """The names of the segments that ask, in the order of the readings."""
        names = self.moment.readings.segments
        places = {int(at) for mask in self.asking for at in np.flatnonzero(mask)}
        return tuple(names[at] for at in sorted(places))

    @cached_property
    def proposal(self) -> Proposal | None:
        """What a person would agree to or refuse; None where no trigger fires."""
        return renew(self.moment.history.proposal, self.segments, self.moment.now)

    @cached_property
    def action(self) -> str:
        """hold, watch or retrain."""
        if self.is_wanted and not any(hold.met for hold in self.all_holds()):
            return "retrain"
        return "watch" if self.is_near else "hold"

    def manual(self) -> Reason:
        """Whether a person asks, in words."""
        asked = self.moment.history.manual
        text = f"{asked.who} asked for a retraining: {asked.why}" if asked else "nobody asked for a retraining"
        return Reason("manual", asked is not None, None, None, None, None, text)

    def all_holds(self) -> tuple[Reason, ...]:
        """The holds in order, the approval last: it counts where all else is in favour."""
        return (*self.holds, self.approval(proposed=self.is_wanted and not any(hold.met for hold in self.holds)))

    def approval(self, *, proposed: bool) -> Reason:
        """The answer to who has to agree, or has refused, where a retraining is `proposed`."""
        answer = awaiting_approval(self.moment, self.proposal, proposed=proposed)
        return waive(answer) if self.is_asked else answer


def weigh(policy: Policy, readings: Readings, history: History, now: datetime) -> Weighing:
    """Everything for and against at `now`. Raises ReadingsMismatch for another model's readings."""
    if readings.model != policy.model:
        raise ReadingsMismatch(policy.model, readings.model)
    heard = with_orders(policy, history)
    moment = Moment(heard, readings, assess(heard, readings, now), history, now)
    holds = [hold(moment) for hold in HOLDS]
    if history.manual is not None:
        holds = [hold if hold.code in HOLDS_FOR_PERSONS else waive(hold) for hold in holds]
    return Weighing(moment, open_cases(heard.retrain.when, moment), tuple(holds))


def open_cases(triggers: Sequence[Trigger], moment: Moment) -> tuple[Case, ...]:
    """Each trigger held against every segment, with its runs so far."""
    runs = moment.history.runs
    return tuple(open_case(trigger, moment.policy, moment.readings, moment.assessment, runs) for trigger in triggers)
