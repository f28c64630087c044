"""Backtest: what policies would have done over a stored past."""

from collections.abc import Sequence
from heapq import merge
from itertools import groupby

from monitors.compare import Comparison
from monitors.series import Series
from policies.file.policy import Policy
from policies.past.course import Course
from policies.past.past import Assumed, Past
from policies.past.walk import Bases, Shared, Walk


def backtest(policies: Sequence[Policy], past: Past, assumed: Assumed | None = None) -> list[Course]:
    """The course of each policy over the same past; what policies read alike is read once.

    A champion that was really released is taken as it was, from the moment it was. What another release would have
    changed is in no profile: `policies.past.rebase` says what stands for it.
    """
    walks = [Walk(policy, past, assumed or Assumed()) for policy in policies]
    for reign in past.reigns:
        series, bases = Series(Comparison.to(reign.baseline), reign.profiles, reign.labelled), Bases()
        for walk in walks:
            walk.enter(reign, series, bases)
        due = merge(*([(at, place) for at in walk.times()] for place, walk in enumerate(walks)))
        for at, turn in groupby(due, key=lambda each: each[0]):
            shared = Shared()
            for _, place in turn:
                walks[place].step(at, shared)
    return [walk.course() for walk in walks]
