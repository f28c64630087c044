"""Shares: how many rows a group may have, which of them stay, and which older ones fill it up."""

import numpy as np

from monitors.readings import IntArray
from service.training.checkpoints import BoolArray


def cap_of(counts: IntArray, share: float) -> int:
    """The most rows that each group may keep so that none has more than this share of what is kept.

    With groups of n_g rows the largest c with c <= share * sum of min(n_g, c). Where fewer than 1 / share groups have
    rows no c above 0 does, and nothing is kept.

    >>> cap_of(np.array([400, 300, 300]), 0.4)
    400
    >>> cap_of(np.array([900, 60, 40]), 0.5)
    100
    >>> cap_of(np.array([900]), 0.5)
    0
    """
    low, high = 0, int(counts.max(initial=0))
    while low < high:
        middle = (low + high + 1) // 2
        fits = middle <= share * np.minimum(counts, middle).sum()
        low, high = (middle, high) if fits else (low, middle - 1)
    return low


def thin(groups: IntArray, cap: int) -> BoolArray:
    """Which rows stay where each group may keep `cap`: evenly spread over the group's rows, in their order."""
    counts = np.bincount(groups)
    n, kept = counts[groups], np.minimum(counts, cap)[groups]
    rank = rank_within(groups)
    return np.asarray((rank + 1) * kept // n > rank * kept // n)


def fill(groups: IntArray, taken: BoolArray, offered: BoolArray, least: int) -> BoolArray:
    """Which of the `offered` rows join, the last ones first, until each group has `least` of them with those `taken`.

    A group of which nothing is taken is filled up too: a segment that a short window missed was not forgotten.
    """
    size = int(groups.max(initial=-1)) + 1
    lacking = np.maximum(0, least - np.bincount(groups[taken], minlength=size))
    places = np.flatnonzero(offered)[::-1]
    joins = np.zeros(len(groups), dtype=bool)
    joins[places] = rank_within(groups[places]) < lacking[groups[places]]
    return joins


def rank_within(groups: IntArray) -> IntArray:
    """How many rows of the same group come before each row.

    >>> rank_within(np.array([3, 0, 3, 3, 0])).tolist()
    [0, 0, 1, 2, 1]
    """
    counts = np.bincount(groups)
    order = np.argsort(groups, kind="stable")
    rank = np.empty(len(groups), dtype=np.int64)
    rank[order] = np.arange(len(groups)) - np.repeat(np.cumsum(counts) - counts, counts)
    return rank
