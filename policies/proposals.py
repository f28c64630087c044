"""Proposals: what asks for a retraining, for as long as it asks without a break; and a person's yes or no to one."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True)
class Proposal:
    """The segments in which a trigger fires, and since when one has fired without a break."""

    since: datetime
    segments: tuple[str, ...]


@dataclass(frozen=True)
class Answer:
    """A person's yes or no to a proposal as it stood at `at`; it lapses at `until`."""

    proposal: Proposal
    who: str
    why: str
    at: datetime
    until: datetime


def renew(before: Proposal | None, segments: Iterable[str], now: datetime) -> Proposal | None:
    """What is proposed now: the proposal before goes on while some of its segments still ask; None where none asks."""
    asking = tuple(segments)
    if not asking:
        return None
    goes_on = before is not None and not set(asking).isdisjoint(before.segments)
    return Proposal(before.since if before is not None and goes_on else now, asking)


def agrees(yes: Answer | None, proposal: Proposal | None, now: datetime) -> bool:
    """Whether a yes counts now: for the proposal it was given to, while some of what was approved still asks.

    A proposal that vanished takes its yes with it: another one, a week later, has another beginning.
    """
    if yes is None or proposal is None or now >= yes.until:
        return False
    return yes.proposal.since == proposal.since and not set(yes.proposal.segments).isdisjoint(proposal.segments)


def refuses(no: Answer | None, proposal: Proposal | None, now: datetime) -> bool:
    """Whether a no counts now: until its time is over, for nothing beyond what was refused.

    It outlives a break, so that a change which comes and goes is not asked about again and again; a segment that asks
    for the first time is a new question.
    """
    if no is None or proposal is None or now >= no.until:
        return False
    return set(proposal.segments) <= set(no.proposal.segments)
