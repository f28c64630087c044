"""The twin test: would a fresh model be better? A stale and a fresh twin on the same unseen labels, pair by pair."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
from scipy.special import betainc, betaln, logsumexp

from monitors.readings import FloatArray, TwinReading

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


def dated(
    twin: TwinReading,
    labelled: Mapping[int, FloatArray],
    labels_a_test: int,
    rows_taught: int,
    left_out: Collection[int] = (),
) -> TwinReading:
    """The reading with the stretch of time that its rows are from.

    The oldest of its twins learned from `rows_taught` rows before its test: what it and all later ones knew, and the
    champion's rows do not say, began no later than with these.

    Args:
        twin: read from tests of `labels_a_test` labels each.
        labelled: labelled profiles by slice start (unix seconds), the newest first in time of these.
        labels_a_test: as for `read_twin`.
        rows_taught: labelled rows that a fresh twin learns from.
        left_out: slices that no twin saw (broken feeds).

    >>> import numpy as np
    >>> hours = {3600 * hour: np.array([[100.0]]) for hour in range(50)}
    >>> reading = dated(TwinReading(300, 100, 60.0, 1000), hours, 500, 1000)
    >>> reading.began.hour, reading.apart
    (6, datetime.timedelta(seconds=18000))
    """
    starts = sorted((start for start in labelled if start not in left_out), reverse=True)
    rows = np.cumsum([float(labelled[start][0, 0]) for start in starts])
    reached = min(int(np.searchsorted(rows, twin.labelled + rows_taught)), len(starts) - 1)
    if reached < 1:
        return twin
    a_label = (starts[0] - starts[reached]) / max(rows[reached] - rows[0], 1)
    return replace(
        twin,
        began=datetime.fromtimestamp(starts[reached], UTC),
        apart=timedelta(seconds=float(a_label * labels_a_test)),
    )
