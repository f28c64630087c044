"""Which columns together: a classifier that learns to tell a window's rows from the baseline's. It explains, only.

Counts by column cannot see that two columns broke apart while each looks as ever; a classifier of whole rows can. It
costs too much for every evaluation, and wobbling traffic is no fair coin to it: the evidence for a decision is counted
elsewhere. Source of the test: Lopez-Paz & Oquab, Revisiting Classifier Two-Sample Tests, 2017; of its use for drift:
Rabanser, Gunnemann & Lipton, Failing Loudly, 2019.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from monitors.columns.column import Column
from monitors.reading.pairs import Pairs, draw_pairs
from monitors.reading.twin import win_evidence_ln
from monitors.readings import FloatArray

ROWS = 2_000
"""Rows of a side at most."""
VALUES = 100_000
"""Values of a side at most: with more than 50 columns there are fewer rows, and it stays near a second of CPU."""
FEWEST_ROWS = 100
"""Of a side: fewer teach a tree nothing."""
TOGETHER = 5
"""Columns of the smallest set at most: more than that nobody reads as one thing."""
ENOUGH = 0.95
"""Share of auc - 1/2 that the smallest set has to reach."""
NOISE = 0.1
"""A column whose drop is less than this share of the largest one is in no set."""
CONVINCING_LN = float(np.log(20))
"""Below it no set of columns is named: it would be picked from noise."""
_BLOCKS = (0.5, 0.75, 1.0)


@dataclass(frozen=True)
class ColumnPart:
    """What one column does for the classifier.

    `drop` is what its auc loses when the column's values are shuffled among the rows; `alone` the auc of a classifier
    of this column only, None where it was not among the most important ones.
    """

    column: str
    drop: float
    alone: float | None = None


@dataclass(frozen=True)
class DomainReading:
    """How well rows can be told apart, and by what.

    `auc` is the chance that of one row of the window and one of the baseline, both new to the classifier, the window's
    has the higher score: .5 cannot be told apart, 1 always. `rows` of each side were used; of the pairs of rows, `wins`
    were answered right, `losses` wrong, and `evidence_ln` is the evidence from these that rows differ. `columns` have
    the largest drop first; `together` is the smallest set found that tells 95 % of what can be told (of auc - 1/2), at
    most 5, with an auc of `together_auc`; empty below ln 20.
    """

    rows: int
    auc: float
    wins: int
    losses: int
    evidence_ln: float
    columns: tuple[ColumnPart, ...]
    together: tuple[str, ...]
    together_auc: float


def tell_apart(
    before: pa.Table, now: pa.Table, columns: Sequence[Column], rng: np.random.Generator
) -> DomainReading | None:
    """Can rows of `now` be told from rows of `before`, and by which columns together?

    Rows of both sides are sampled, as many of one as of the other, and paired at random. Gradient-boosted trees learn
    from the first half of the pairs and answer for the next quarter, then learn from three quarters and answer for the
    last: an answer is right when the pair's row of `now` has the higher score. Equal scores are no answer.

    Evidence: e as in the twin test, from w right and l wrong answers. If both sides come from one distribution and rows
    do not depend on each other, either order of a pair is as likely whatever was learnt from earlier pairs, so answers
    are fair coins and e is exact (betting on one pair after the other: Podkopaev & Ramdas, Sequential Predictive
    Two-Sample Testing, 2023). Answers of ordinary cross-fitting would not be independent: each fold learns from the
    answers of the others. What is derived from texts and embeddings is learnt again from rows that are in no pair.

    Args:
        before: a batch of the baseline's rows.
        now: a batch of the window's rows.
        columns: those of the baseline's layout. Numbers are read as they count in drift, categories by their values.
        rng: samples, pairs and shuffles; the same state gives the same reading.

    Returns:
        None where a side has fewer than 100 rows, or no column has two different values.

    >>> import numpy as np, pyarrow as pa
    >>> rng = np.random.default_rng(0)
    >>> x, y = rng.normal(size=(2, 1000))
    >>> before = pa.table({"feature_x": x[:500], "feature_y": y[:500]})
    >>> now = pa.table({"feature_x": x[500:], "feature_y": x[500:] + y[500:] / 2})
    >>> columns = [Column(name, f"feature_{name}", "number", "", edges=(0.0,)) for name in "xy"]
    >>> reading = tell_apart(before, now, columns, rng)
    >>> reading.auc > 0.7, reading.evidence_ln > 3, sorted(reading.together)
    (True, True, ['x', 'y'])
    >>> all(part.alone < 0.65 for part in reading.columns)
    True
    """
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped] # noqa: PLC0415  as sklearn

    # One thread: on busy cores trees this small took twenty times longer on two.
    with threadpool_limits(limits=1):
        pairs = draw_pairs(before, now, columns, min(ROWS, VALUES // max(len(columns), 1)), rng)
        enough = pairs.values.shape[1] >= FEWEST_ROWS and pairs.names
        return _read(_Trials(pairs), rng) if enough else None


@dataclass(frozen=True, eq=False)
class _Trial:
    score: Callable[[FloatArray], FloatArray]
    values: FloatArray

    @cached_property
    def scores(self) -> FloatArray:
        return self.score(self.values)

    def shuffled(self, column: int, rng: np.random.Generator) -> FloatArray:
        """Scores after the column's values were shuffled among the rows of both sides."""
        values = self.values.copy()
        values[..., column] = rng.permutation(values[..., column].ravel()).reshape(values.shape[:-1])
        return self.score(values)


@dataclass(frozen=True, eq=False)
class _Trials:
    """Classifiers of pairs, each tried on pairs that are new to it."""

    pairs: Pairs

    @cached_property
    def each(self) -> list[_Trial]:
        values = self.pairs.values
        ends = [int(share * values.shape[1]) for share in _BLOCKS]
        return [
            _Trial(_learn(values[:, :end], self.pairs.is_category), values[:, end:until])
            for end, until in pairwise(ends)
        ]

    @cached_property
    def auc(self) -> float:
        return float(np.mean([auc(*trial.scores) for trial in self.each]))


def auc(before: FloatArray, now: FloatArray) -> float:
    """Chance that a score of `now` is above one of `before`, equal ones counted half (Mann & Whitney, 1947).

    >>> auc(np.array([1.0, 2.0]), np.array([2.0, 3.0]))
    0.875
    """
    ordered = np.sort(before)
    below = np.searchsorted(ordered, now, "left") + np.searchsorted(ordered, now, "right")
    return float(below.mean() / (2 * len(before)))


def _read(trials: _Trials, rng: np.random.Generator) -> DomainReading:
    pairs = trials.pairs
    gains = np.concatenate([trial.scores[1] - trial.scores[0] for trial in trials.each])
    wins, losses = int((gains > 0).sum()), int((gains < 0).sum())
    evidence_ln = win_evidence_ln(wins, losses)
    drops = _drops(trials, rng)
    order: list[int] = np.argsort(-drops, kind="stable").tolist()
    strongest = order[:1] + [c for c in order[1:TOGETHER] if drops[c] > max(0.0, NOISE * drops[order[0]])]
    is_convincing = evidence_ln >= CONVINCING_LN
    alone = {c: _auc_of(pairs, [c]) for c in strongest} if is_convincing else {}
    chosen, reached = _smallest(trials, strongest) if is_convincing else ([], 0.5)
    return DomainReading(
        rows=pairs.values.shape[1],
        auc=trials.auc,
        wins=wins,
        losses=losses,
        evidence_ln=evidence_ln,
        columns=tuple(ColumnPart(pairs.names[c], float(drops[c]), alone.get(c)) for c in order),
        together=tuple(pairs.names[c] for c in chosen),
        together_auc=reached,
    )


def _drops(trials: _Trials, rng: np.random.Generator) -> FloatArray:
    """What the auc loses by shuffling each column (permutation importance: Breiman, 2001)."""
    columns = range(len(trials.pairs.names))
    left = [[auc(*trial.shuffled(c, rng)) for trial in trials.each] for c in columns]
    return np.asarray(trials.auc - np.mean(left, axis=1))


def _smallest(trials: _Trials, strongest: Sequence[int]) -> tuple[list[int], float]:
    """The shortest head of the strongest columns that tells enough, less those that it does without; and its auc.

    Enough is measured by the best of the heads and of all columns: columns of noise cost the whole more than a head.
    """
    heads = [list(strongest[:size]) for size in range(1, len(strongest) + 1)]
    reached = [_auc_of(trials.pairs, head) for head in heads]
    bar = 0.5 + ENOUGH * (max(trials.auc, *reached) - 0.5)
    at = next((at for at, found in enumerate(reached) if found >= bar), len(heads) - 1)
    chosen, best = heads[at], reached[at]
    for column in reversed(chosen[:-1]):
        fewer = [c for c in chosen if c != column]
        found = _auc_of(trials.pairs, fewer)
        if found >= bar:
            chosen, best = fewer, found
    return chosen, best


def _auc_of(pairs: Pairs, chosen: Sequence[int]) -> float:
    return _Trials(pairs.only(chosen)).auc


def _learn(values: FloatArray, is_category: NDArray[np.bool_]) -> Callable[[FloatArray], FloatArray]:
    """Gives scores [2, rows] to rows [2, rows, columns]: the higher, the more like the second side."""
    from sklearn.ensemble import HistGradientBoostingClassifier  # noqa: PLC0415  it takes a second to import

    model = HistGradientBoostingClassifier(
        max_iter=50, max_leaf_nodes=15, early_stopping=False, categorical_features=is_category, random_state=0
    )
    model.fit(values.reshape(-1, values.shape[-1]), np.repeat([0, 1], values.shape[1]))
    return lambda rows: np.asarray(model.decision_function(rows.reshape(-1, rows.shape[-1])).reshape(rows.shape[:-1]))
