"""The gate: how often it refuses models that are as good, and how surely it sees one that is worse, metric by metric.

Worlds are made so that the challenger's true drop in one metric is known: it sees every row less well, it loses part of
the rarest class, or it is surer than it may be. Champion and challenger share most of their noise, as two models of
the same rows do. "As allowed" is a drop of just what the policy allows: to refuse there is wrong at most once in 20.

Run: python benchmarks/gate.py [--trials 200]. About ten minutes of a core.
"""

import argparse
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, partial

import numpy as np
from machine import described
from scipy.special import log_softmax

from monitors.readings import FloatArray
from policies.file.gating import GATE_METRICS
from policies.file.policy import Gate
from policies.gate import Pairs, Side, judge
from policies.gate.classes import judge_classes
from policies.gate.measures import MEASURES
from policies.gate.metrics import judge_metrics

SIZES = (100, 300, 1_000)
PRIORS = np.array([0.45, 0.25, 0.2, 0.1])
CLASSES = ("a", "b", "c", "rare")
SIGNAL, SHARED = 2.4, 0.8
MANY = 50_000
POINTS = (0.02, 0.05, 0.1, 0.2, 0.5)
CALIBRATION = 0.05
Rng = np.random.Generator


@dataclass(frozen=True)
class Harm:
    """How a challenger is worse: a share of its signal lost, of the rarest class lost, or its logits made larger."""

    signal: float = 0.0
    rare: float = 0.0
    surer: float = 0.0


Make = Callable[[float], Harm]
WAYS: dict[str, tuple[str, Make]] = {
    "accuracy": ("sees less", lambda h: Harm(signal=h)),
    "macro_f1": ("loses the rarest class", lambda h: Harm(rare=h)),
    "class_recall": ("loses the rarest class", lambda h: Harm(rare=h)),
    "log_loss": ("sees less", lambda h: Harm(signal=h)),
    "brier": ("sees less", lambda h: Harm(signal=h)),
    "calibration": ("is too sure", lambda h: Harm(surer=10 * h)),
    "mae": ("sees less", lambda h: Harm(signal=h)),
    "rmse": ("sees less", lambda h: Harm(signal=h)),
    "r2": ("sees less", lambda h: Harm(signal=h)),
}
KIND = {name: kind for kind, names in GATE_METRICS.items() for name in names}


def draw(kind: str, n: int, harm: Harm, rng: Rng) -> Pairs:
    """Rows of the world."""
    if kind == "regression":
        truth, shared = 2 * rng.normal(size=n), rng.normal(size=n)
        sides = [
            Side(truth + (np.sqrt(SHARED) * shared + np.sqrt(1 - SHARED) * rng.normal(size=n)) * (1 + loss))
            for loss in (0.0, harm.signal)
        ]
        return Pairs(kind, truth, *sides)
    truth = rng.choice(4, n, p=PRIORS)
    shared = rng.normal(size=(n, 4))
    return Pairs(kind, truth.astype(float), *(_side(truth, shared, each, rng) for each in (Harm(), harm)), CLASSES)


def _side(truth: np.ndarray, shared: FloatArray, harm: Harm, rng: Rng) -> Side:
    """Bayes' answer to what it sees of the rows: calibrated, unless it is made surer."""
    n, signal = len(truth), SIGNAL * (1 - harm.signal)
    seen = signal * np.eye(4)[truth] + np.sqrt(SHARED) * shared + np.sqrt(1 - SHARED) * rng.normal(size=(n, 4))
    shares = np.exp(log_softmax((signal * seen + np.log(PRIORS)) * (1 + harm.surer), axis=1))
    lost = (truth == 3) & (rng.random(n) < harm.rare)
    shares[lost, 3] = 0.0
    shares /= shares.sum(axis=1, keepdims=True)
    own = np.clip(shares[np.arange(n), truth], 1e-6, 1)
    brier = (shares**2).sum(axis=1) - 2 * own + 1
    return Side(shares.argmax(axis=1).astype(float), shares.max(axis=1), -np.log(own), brier)


def true_drop(name: str, harm: Harm) -> float:
    """The drop in the world itself, on many rows."""
    pairs = draw(KIND[name], MANY, harm, np.random.default_rng(1))
    if name == "class_recall":
        rare = pairs.truth == 3
        return float((pairs.champion.right(pairs.truth) - pairs.challenger.right(pairs.truth))[rare].mean())
    weights = np.ones((1, MANY))
    before, after = (
        float(MEASURES[name](pairs.truth, side, weights)[0]) for side in (pairs.champion, pairs.challenger)
    )
    if name in {"log_loss", "brier", "mae", "rmse"}:
        return after / before - 1
    return after - before if name == "calibration" else before - after


@cache
def harm_of(name: str, drop: float) -> Harm:
    """The harm that costs this much of a metric."""
    low, high = 0.0, 1.0
    for _ in range(14):
        middle = (low + high) / 2
        low, high = (middle, high) if true_drop(name, WAYS[name][1](middle)) < drop else (low, middle)
    return WAYS[name][1](high)


def refuses(name: str, n: int, harm: Harm, rng: Rng) -> bool:
    """Whether the gate finds the metric worse; calibration as if the policy allowed 5 points."""
    pairs, allowed = draw(KIND[name], n, harm, rng), allowed_of(name)
    if name == "class_recall":
        return any(each.answer == "worse" for each in judge_classes(pairs, allowed))
    return judge_metrics(pairs, {name: allowed}, Gate().min_segment_labels)[0].answer == "worse"


def allowed_of(name: str) -> float:
    usual = GATE_METRICS[KIND[name]][name]
    return CALIBRATION if usual is None else usual


def share(trials: int, tried: Callable[[Rng], bool], seed: int) -> float:
    rng = np.random.default_rng(seed)
    return sum(tried(rng) for _ in range(trials)) / trials


def verdict(kind: str, n: int, rng: Rng) -> bool:
    """Whether anything refuses an equal model, but a gain that is asked for."""
    pairs = draw(kind, n, Harm(), rng)
    sides = pairs.champion, pairs.challenger
    if kind == "classification":
        answers = [side.right(pairs.truth) for side in sides]
    else:
        answers = [np.abs(side.said - pairs.truth) for side in sides]
    return not judge(Gate(min_gain=-1), *answers, kind=kind, pairs=pairs).passed


def lines(trials: int) -> Iterator[str]:
    yield f"{trials} trials a cell; rows of the holdout: {', '.join(map(str, SIZES))}"
    yield "\nequal models refused by anything but gate.min_gain"
    for kind in GATE_METRICS:
        found = [share(trials * 2, partial(verdict, kind, n), 10 + n) for n in SIZES]
        yield f"  {kind:16}" + "".join(f"{100 * each:8.1f} %" for each in found)
    yield "\nworse models found worse, by the true drop; the first line is a drop of what is allowed"
    for name, (how, _) in WAYS.items():
        allowed = allowed_of(name)
        most = true_drop(name, WAYS[name][1](1.0))
        drops = [allowed, *(points for points in POINTS if allowed < points < most)][:4]
        yield f"  {name}: {allowed:g} is allowed; it {how}"
        for drop in drops:
            found = [share(trials, partial(refuses, name, n, harm_of(name, drop)), n) for n in SIZES]
            yield f"    {drop:<14g}" + "".join(f"{100 * each:8.1f} %" for each in found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=200)
    asked = parser.parse_args()
    print(described(), flush=True)
    for line in lines(asked.trials):
        print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main())
