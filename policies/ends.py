"""When a hold ends by itself: the moment from which it no longer stands if nothing else happens."""

from datetime import datetime, timedelta

from policies.decision import Reason
from policies.hold import Moment

# Their two numbers are seconds: how long it has lasted, and how long it has to; for a refusal what is left, and 0.
_TIMED = ("cooling_down", "data_fault", "awaiting_approval")


def ends_at(hold: Reason, moment: Moment) -> datetime | None:
    """The end of a hold that stands, where time alone ends it; None where something has to happen first."""
    if not hold.met:
        return None
    if hold.code == "budget_spent":
        return _budget_returns(moment)
    if hold.code == "frozen":
        return _freeze_ends(moment)
    # A fault that is open names its segment, and lasts until somebody mends the feed.
    if hold.code not in _TIMED or hold.segment is not None or hold.observed is None or hold.limit is None:
        return None
    return moment.now + timedelta(seconds=abs(hold.limit - hold.observed))


def _budget_returns(moment: Moment) -> datetime | None:
    """When so many of the counted starts are old enough that one more is allowed."""
    budget = moment.policy.retrain.budget
    if budget is None:
        return None
    since = moment.now - budget.per
    starts = sorted(a.started_at for a in moment.history.retrainings if a.started_at > since)
    return starts[len(starts) - budget.count] + budget.per


def _freeze_ends(moment: Moment) -> datetime | None:
    """The end of the period, and of those that follow on it; a signal ends when its sender says so."""
    if moment.history.signal:
        return None
    end, periods = moment.now, (*moment.policy.retrain.freeze, *(order.period for order in moment.history.freezes))
    while covering := [period for period in periods if period.covers(end)]:
        end = max(period.end for period in covering)
    return end
