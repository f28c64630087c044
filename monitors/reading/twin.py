"""The twin test: would a fresh model be better? A stale and a fresh twin on the same unseen labels, pair by pair."""

from collections.abc import Sequence

import numpy as np
from scipy.special import betainc, betaln, logsumexp

from monitors.readings import TwinReading

TESTS = (1, 2, 4, 8)


def win_evidence_ln(wins: int, losses: int) -> float:
    """Evidence that wins are more likely than losses.

    e = 2 B(w + 1, l + 1) P(Beta(w + 1, l + 1) > 1/2) 2^(w + l): a uniform prior over chances above one half against one
    half. Source: Grunwald, de Heide & Koolen, Safe Testing, 2024.

    >>> win_evidence_ln(5, 5) < 0 < 5 < win_evidence_ln(60, 20)
    True
    """
    better = 1 - betainc(wins + 1, losses + 1, 0.5)
    counts = float(betaln(wins + 1, losses + 1) + np.log(max(better, 1e-300)))
    return float((wins + losses + 1) * np.log(2) + counts)


def read_twin(tests: Sequence[tuple[int, int]], labels_a_test: int) -> TwinReading | None:
    """The reading of (wins, losses) of each test of a fresh twin, oldest first; None before the first test.

    The evidence is the mean over the last 1, 2, 4 and 8 tests; wins and losses are those of the strongest of these.
    """
    if not tests:
        return None
    last = [tests[-n:] for n in TESTS if n <= len(tests)]
    sums = [(sum(w for w, _ in some), sum(loss for _, loss in some), len(some)) for some in last]
    evidence = [win_evidence_ln(w, loss) for w, loss, _ in sums]
    wins, losses, count = sums[int(np.argmax(evidence))]
    return TwinReading(wins, losses, float(logsumexp(evidence) - np.log(len(evidence))), count * labels_a_test)
