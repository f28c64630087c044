"""Several metrics at once, on the same rows: how much worse each became, and how surely."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from monitors.counting.scores import METRICS
from monitors.readings import FloatArray, IntArray
from policies.decision import Reason
from policies.gate.measures import MEASURES, OF_CONFIDENCE, bins_of
from policies.gate.pairs import Pairs, Side
from policies.gate.segments import BETTER_OR_EQUAL, NOT_ENOUGH_LABELS, WORSE

NOT_MEASURED, NOT_JUDGED = "not_measured", "not_judged"
DRAWS = 1_000
SURE = 0.99
"""So many of the draws have to show a drop larger than allowed. Equal models are then refused far less often than once
in a hundred: they would have to be that lucky and lose as much as is allowed, too."""
_SEED = 0
_AT_ONCE = 500_000
"""Weights held in memory at once, 4 MB of them."""


@dataclass(frozen=True)
class MetricVerdict:
    """One metric on all `n` rows that it can be taken of.

    `drop` is how much worse the challenger is, below 0 for better: in points of a score, of calibration as its rise,
    of a loss or error as its relative rise; `low` and `high` bound it in 98 of 100 draws of the rows. `answer` is
    better_or_equal, worse, not_enough_labels (`labels_needed` more are expected to settle it), not_judged where the
    policy allows any drop (`allowed` is None), or not_measured, for `why`.
    """

    name: str
    n: int
    champion: float | None
    challenger: float | None
    drop: float | None
    low: float | None
    high: float | None
    allowed: float | None
    answer: str
    labels_needed: int = 0
    why: str = ""


@dataclass(frozen=True)
class CalibrationBin:
    """Rows of one model whose confidence lies from `low` to `high`: how sure it was and how often it was right."""

    low: float
    high: float
    n: int
    confidence: float
    accuracy: float


def judge_metrics(pairs: Pairs, allowed: Mapping[str, float | None], least: int) -> tuple[MetricVerdict, ...]:
    """The answer of each metric of the task, in the order of `allowed`. With fewer than `least` rows none is settled.

    Rows are drawn again with replacement, both models on the same draw; the challenger is worse where in 99 of 100
    draws it lost more than is allowed. The draws are the same for the same rows in any order.
    Source: Efron and Tibshirani, An Introduction to the Bootstrap, 1993, paired as in Koehn, 2004.

    >>> truth = np.repeat([0.0, 1.0], 200)
    >>> lost = Side(np.concatenate([truth[:300], 1 - truth[300:]]))
    >>> found = judge_metrics(Pairs("classification", truth, Side(truth), lost), {"macro_f1": 0.03}, 100)
    >>> found[0].answer, round(found[0].drop, 2)
    ('worse', 0.27)
    """
    whole = pairs.ordered()
    sure = whole.with_confidence()
    by_rows: dict[bool, list[str]] = {}
    for name in (name for name in allowed if name in MEASURES):
        by_rows.setdefault(name in OF_CONFIDENCE and len(sure) < len(whole), []).append(name)
    found: dict[str, MetricVerdict] = {}
    for is_part, names in by_rows.items():
        found |= _measure(names, sure if is_part else whole, allowed, least)
    return tuple(found[name] for name in allowed if name in found)


def calibration_of(side: Side, truth: FloatArray) -> tuple[CalibrationBin, ...]:
    """The bins of confidence that have rows, the least sure first; empty where it gave no confidence."""
    if side.confidence is None:
        return ()
    known = np.isfinite(side.confidence)
    side, truth = side.take(known), truth[known]
    places, right, width = bins_of(side), side.right(truth), 1 / 10
    return tuple(
        CalibrationBin(
            round(place * width, 1),
            round((place + 1) * width, 1),
            int((places == place).sum()),
            float(np.sort(side.confidence[places == place]).mean()),
            float(right[places == place].mean()),
        )
        for place in np.unique(places).tolist()
        if side.confidence is not None
    )


def answer_metrics(metrics: Sequence[MetricVerdict]) -> Iterator[Reason]:
    """The reason that each judged metric gives."""
    for each in metrics:
        if each.answer == NOT_MEASURED and each.allowed is not None:
            text = f"{each.name} is not measured: {each.why}"
            yield Reason("not_measured", True, None, each.name, None, each.allowed, text)
        elif each.answer not in {NOT_MEASURED, NOT_JUDGED} and each.allowed is not None:
            yield _answer(each, each.allowed)


def _answer(each: MetricVerdict, allowed: float) -> Reason:
    change = (
        f"{each.name} on {each.n} rows was {each.champion:.4f} and is {each.challenger:.4f}: "
        f"{_said(each.drop)} ({_said(each.high)} to {_said(each.low)} in 98 of 100 draws)"
    )
    if each.answer == NOT_ENOUGH_LABELS:
        text = f"{change}; about {each.labels_needed} more labels are needed to settle it"
        return Reason(
            NOT_ENOUGH_LABELS, True, "all", each.name, float(each.n), float(each.n + each.labels_needed), text
        )
    text = f"{change}; a drop of {allowed:.4f} is allowed"
    return Reason("metric_worse", each.answer == WORSE, "all", each.name, each.drop, allowed, text)


def _said(drop: float | None) -> str:
    return "unknown" if drop is None else f"{-drop:+.4f}"


def _measure(
    names: Sequence[str], pairs: Pairs, allowed: Mapping[str, float | None], least: int
) -> dict[str, MetricVerdict]:
    n, found = len(pairs), {}
    once = _drops(names, pairs, np.ones((1, n))) if n else {}
    drawn = _draw(names, pairs) if n else {}
    for name in names:
        why = "" if n else "one of the two gives no confidence" if name in OF_CONFIDENCE else "there are no rows"
        champion, challenger, drop = (float(values[0]) for values in once.get(name, (np.full(1, np.nan),) * 3))
        if not np.isfinite(drop):
            unknown = (None,) * 5
            found[name] = MetricVerdict(
                name, n, *unknown, allowed[name], NOT_MEASURED, why=why or "the labels do not vary"
            )
            continue
        # A draw of labels that do not vary tells nothing of r2.
        drops = drawn[name][np.isfinite(drawn[name])]
        low, high = (float(np.quantile(drops, at, method="inverted_cdf")) for at in (1 - SURE, SURE))
        answer, needed = _settle(drop, low, allowed[name], n, least)
        found[name] = MetricVerdict(name, n, champion, challenger, drop, low, high, allowed[name], answer, needed)
    return found


def _settle(drop: float, low: float, allowed: float | None, n: int, least: int) -> tuple[str, int]:
    """The answer, and how many more labels are needed for one: the width of the interval falls with the root of n."""
    if allowed is None:
        return NOT_JUDGED, 0
    if drop <= allowed and n >= least:
        return BETTER_OR_EQUAL, 0
    if n < least:
        return NOT_ENOUGH_LABELS, least - n
    if low > allowed:
        return WORSE, 0
    ratio = max((drop - low) / max(drop - allowed, 1e-3), 1.0)
    return NOT_ENOUGH_LABELS, max(1, math.ceil(n * (min(ratio, 1e3) ** 2 - 1)))


def _draw(names: Sequence[str], pairs: Pairs) -> dict[str, FloatArray]:
    """The drop of each metric in each of the draws, which are the same for all."""
    rng, n = np.random.default_rng(_SEED), len(pairs)
    parts: dict[str, list[FloatArray]] = {name: [] for name in names}
    step = max(1, _AT_ONCE // n)
    for begin in range(0, DRAWS, step):
        weights = _weights(rng.integers(0, n, (min(step, DRAWS - begin), n)))
        for name, (_, _, drops) in _drops(names, pairs, weights).items():
            parts[name].append(drops)
    return {name: np.concatenate(drops) for name, drops in parts.items()}


def _weights(drawn: IntArray) -> FloatArray:
    """How often each of n rows is among the drawn ones [B, n]: 20 times as fast as numbers from a multinomial."""
    count, n = drawn.shape
    places = (drawn + n * np.arange(count)[:, None]).ravel()
    return np.bincount(places, minlength=count * n).reshape(count, n).astype(np.float64)


def _drops(names: Sequence[str], pairs: Pairs, weights: FloatArray) -> dict[str, tuple[FloatArray, ...]]:
    """Of each metric champion, challenger and how much worse that is, for each row of the weights."""
    found: dict[str, tuple[FloatArray, ...]] = {}
    for name in names:
        measure = MEASURES[name]
        champion = measure(pairs.truth, pairs.champion, weights)
        challenger = measure(pairs.truth, pairs.challenger, weights)
        drops = METRICS[name].drop(champion, challenger)
        if METRICS[name].worse == "relative":
            # An error that was 0 and is not any more rose by all there is.
            drops = np.where(champion > 0, drops, np.where(challenger > champion, 1.0, 0.0))
        found[name] = (champion, challenger, drops)
    return found
