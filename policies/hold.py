"""The reasons to wait: one small function each, what was known in, an answer out.

After the habit of Alertmanager's `needsUpdate`: state, limits and time in, a named reason out.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import numpy as np

from monitors.readings import FAULT_KINDS, Readings
from policies.answers import answer_rows
from policies.assessment import Assessment
from policies.decision import History, Reason
from policies.file.kinds import format_span
from policies.file.policy import Policy
from policies.proposals import Proposal, agrees, refuses

QUIET_SLICES = 5  # closed slices without a fault before its rows are out of the short windows
TWIN_LABELS = 200


@dataclass(frozen=True, eq=False)
class Moment:
    """All that a hold may look at."""

    policy: Policy
    readings: Readings
    assessment: Assessment
    history: History
    now: datetime


def insufficient_rows(moment: Moment) -> Reason:
    """Too few rows in `all`, which has no parent left that could decide."""
    return answer_rows(moment.readings, moment.assessment, 0)


def blind(moment: Moment) -> Reason:
    """Nothing comes in."""
    is_blind, last = bool(moment.assessment.blind[0]), moment.readings.last_row_at
    seen = f"the last row came at {last.isoformat()}" if last else "no row ever came"
    text = f"nothing can be seen: {seen}" if is_blind else f"rows come in, {seen}"
    return Reason("blind", is_blind, "all", None, float(moment.readings.rows[0]), 1.0, text)


def data_fault(moment: Moment) -> Reason:
    """Broken data now in any segment, or not quiet for long enough."""
    quality, check = moment.readings.quality, moment.assessment.quality
    segments, history = moment.readings.segments, moment.history
    if check.cells.any():
        excess = np.where(check.cells, quality.share - quality.expected, -np.inf)
        segment, column, kind = np.unravel_index(int(np.argmax(excess)), excess.shape)
        share, expected = quality.share[segment, column, kind], quality.expected[segment, column, kind]
        text = (
            f"{segments[segment]}: {share:.0%} of {quality.columns[column]} is {FAULT_KINDS[kind].replace('_', ' ')}, "
            f"{expected:.0%} in the baseline; {np.count_nonzero(check.fault)} segment(s) have broken data"
        )
        return Reason(
            "data_fault", True, segments[segment], quality.columns[column], float(share), float(expected), text
        )
    if check.fault.any():
        return Reason("data_fault", True, "all", None, 0.0, moment.policy.data_quality.volume, "traffic stopped")
    wait = QUIET_SLICES * moment.policy.window.slice + moment.policy.window.label_delay
    ended = moment.now if history.fault_open else history.fault_quiet_since
    if ended is None:
        return Reason("data_fault", False, None, None, None, None, "no fault in the data is known")
    quiet = moment.now - ended
    text = f"the last fault ended {_rough(quiet)} ago, {format_span(wait)} of quiet are needed"
    return Reason("data_fault", quiet < wait, None, None, quiet.total_seconds(), wait.total_seconds(), text)


def in_flight(moment: Moment) -> Reason:
    """One retraining at a time."""
    running = moment.history.in_flight
    text = f"retraining {running} is running" if running else "no retraining is running"
    return Reason("in_flight", running is not None, None, None, float(running is not None), 1.0, text)


def cooling_down(moment: Moment) -> Reason:
    """Rest after the last retraining, however it ended."""
    cooldown, ended = moment.policy.retrain.cooldown, moment.history.last_finished_at
    if ended is None:
        text = "no retraining has finished yet"
        return Reason("cooling_down", False, None, None, None, cooldown.total_seconds(), text)
    rest = moment.now - ended
    text = f"the last retraining finished {_rough(rest)} ago, the policy asks for {format_span(cooldown)} of rest"
    return Reason("cooling_down", rest < cooldown, None, None, rest.total_seconds(), cooldown.total_seconds(), text)


def budget_spent(moment: Moment) -> Reason:
    """Retrainings started within the budget's span, against its count."""
    budget = moment.policy.retrain.budget
    if budget is None:
        return Reason("budget_spent", False, None, None, None, None, "the policy sets no budget")
    spent = sum(1 for attempt in moment.history.retrainings if attempt.started_at > moment.now - budget.per)
    text = f"{spent} of {budget.count} retrainings were started in the last {format_span(budget.per)}"
    return Reason("budget_spent", spent >= budget.count, None, None, float(spent), float(budget.count), text)


def frozen(moment: Moment) -> Reason:
    """A period in which nothing is retrained, by the policy or by a person; or a signal that asks for one."""
    if moment.history.signal:
        return Reason("frozen", True, None, None, None, None, f"frozen by a signal: {moment.history.signal}")
    ordered = [(each.period, f"frozen by {each.who}", f": {each.why}") for each in moment.history.freezes]
    written = [(period, "the policy is frozen", "") for period in moment.policy.retrain.freeze]
    now = [each for each in (*ordered, *written) if each[0].covers(moment.now)]
    if not now:
        return Reason("frozen", False, None, None, None, None, "no freeze is on")
    period, said, why = max(now, key=lambda each: each[0].end)
    left = (period.end - moment.now).total_seconds()
    return Reason("frozen", True, None, None, left, 0.0, f"{said} until {period.end.isoformat()}{why}")


def no_expected_gain(moment: Moment) -> Reason:
    """The last attempt brought nothing and little is new since; or a fresh twin is clearly worse than the stale one."""
    since, needed = moment.history.labels_since_attempt, moment.policy.retrain.requires.labelled_rows
    if since is not None and since < needed:
        text = f"the last attempt brought no better model; {since} of {needed} new labels have come since"
        return Reason("no_expected_gain", True, None, None, float(since), float(needed), text)
    twin = moment.readings.twin
    if twin is None or twin.labelled < TWIN_LABELS:
        seen = float(twin.labelled) if twin else None
        text = f"no fresh twin was judged on {TWIN_LABELS} labels yet"
        return Reason("no_expected_gain", False, None, None, seen, float(TWIN_LABELS), text)
    behind, margin = twin.losses - twin.wins, 2 * math.sqrt(twin.wins + twin.losses)
    # Clearly: more losses than wins by two standard errors.
    text = f"a fresh twin won {twin.wins} and lost {twin.losses} rows; {margin:.0f} more losses than wins would say no"
    return Reason("no_expected_gain", behind > margin, None, None, float(behind), margin, text)


HOLDS: tuple[Callable[[Moment], Reason], ...] = (
    insufficient_rows,
    blind,
    data_fault,
    in_flight,
    cooling_down,
    budget_spent,
    frozen,
    no_expected_gain,
)


def awaiting_approval(moment: Moment, proposal: Proposal | None, *, proposed: bool) -> Reason:
    """A person has to agree, or has refused; counts only where everything else is in favour (`proposed`)."""
    history, now = moment.history, moment.now
    no, yes = history.refusal, history.approval
    if proposed and no is not None and refuses(no, proposal, now):
        left = (no.until - now).total_seconds()
        text = f"{no.who} refused this retraining until {no.until.isoformat()}: {no.why}"
        return Reason("awaiting_approval", True, None, None, left, 0.0, text)
    if moment.policy.retrain.approval == "automatic":
        return Reason("awaiting_approval", False, None, None, None, None, "the policy needs no approval")
    if yes is not None and agrees(yes, proposal, now):
        left = (yes.until - now).total_seconds()
        text = f"the policy asks for an approval, which {yes.who} gave: {yes.why}"
        return Reason("awaiting_approval", False, None, None, left, 0.0, text)
    text = "the policy asks for an approval" + ("" if proposed else "; there is nothing to approve now")
    return Reason("awaiting_approval", proposed, None, None, None, None, text)


def waive(reason: Reason) -> Reason:
    """A hold that a person's request overrules: answered, but not counted."""
    return (
        replace(reason, met=False, text=f"{reason.text}; a person asked, so this does not count")
        if reason.met
        else reason
    )


def fault_quiet_since(moment: Moment) -> datetime | None:
    """When the last fault ended, as of now; None while one is open, or where none is known."""
    if moment.assessment.quality.fault.any():
        return None
    return moment.now if moment.history.fault_open else moment.history.fault_quiet_since


def _rough(span: timedelta) -> str:
    """A span as a person says it: `10d6h` rather than `10d6h3m7s532ms`."""
    grain = next((g for g in (timedelta(hours=1), timedelta(minutes=1), timedelta(seconds=1)) if span >= 10 * g), None)
    return format_span(span - span % grain if grain else span)
