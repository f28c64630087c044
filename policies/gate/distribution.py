"""What a challenger says of recent traffic, beside what the champion said of it and what the labels were.

It has no labels to be right by, so only what is surely broken refuses: an answer for nearly everything, a class that is
never said any more, numbers far outside all that was ever seen. What merely looks odd is told.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from monitors.readings import FloatArray, IntArray
from policies.decision import Reason

LEAST_ROWS = 100
"""On fewer recent rows a share says too little."""
_NEARLY_ALL, _NOT_MOST = 0.95, 0.75
_USUAL, _LABELS = 0.05, 20
_ODD = 0.15
_OUTSIDE, _MOSTLY_OUTSIDE = 0.05, 0.5
_FLAT, _FLATTER = 0.01, 0.25
_MOST_SHOWN = 50
_QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)


@dataclass(frozen=True)
class Shown:
    """One line: the share of a class, or a quantile of numbers, among the answers of both and among the labels."""

    name: str
    champion: float
    challenger: float
    labels: float


@dataclass(frozen=True)
class Distribution:
    """Answers on `n` recent rows beside `labels` labels of the holdout. `broken` refuses, `odd` is told; `why` says why
    nothing was compared.
    """

    n: int
    labels: int
    shown: tuple[Shown, ...] = ()
    broken: tuple[str, ...] = ()
    odd: tuple[str, ...] = ()
    why: str = ""


def compare_classes(
    classes: Sequence[str], champion: IntArray, challenger: IntArray, labels: IntArray, on_labelled: IntArray
) -> Distribution:
    """From counts by class: what both say of recent rows, the holdout's labels, what the challenger says there.

    >>> flat = compare_classes(["a", "b"], *(np.array(n) for n in ([60, 60], [120, 0], [50, 50], [100, 0])))
    >>> flat.broken[0]
    'the challenger says a in 100.0 % of recent rows, the champion in 50.0 %, of the labels it is 50.0 %'
    """
    n, known = int(challenger.sum()), int(labels.sum())
    if n < LEAST_ROWS:
        return Distribution(n, known, why=_too_few(n))
    shares = [counts / max(counts.sum(), 1) for counts in (champion, challenger, labels)]
    before, now, true = shares
    told = {c: f"the challenger says {name} in {_told(*(s[c] for s in shares))}" for c, name in enumerate(classes)}
    most = int(now.argmax())
    collapsed = [most] if now[most] >= _NEARLY_ALL and max(before[most], true[most]) <= _NOT_MOST else []
    silent = (challenger + on_labelled == 0) & (labels >= _LABELS) & (true >= _USUAL)
    vanished = np.flatnonzero(silent & (before >= _USUAL))
    least = np.minimum(np.abs(now - before), np.abs(now - true)) * ((now > before) == (now > true))
    broken = [told[c] for c in dict.fromkeys([*collapsed, *vanished.tolist()])]
    odd = [told[c] for c in np.flatnonzero((least > _ODD) | silent).tolist() if told[c] not in broken]
    order = np.argsort(-np.maximum(np.maximum(before, now), true), kind="stable")[:_MOST_SHOWN].tolist()
    shown = tuple(Shown(classes[c], float(before[c]), float(now[c]), float(true[c])) for c in order)
    return Distribution(n, known, shown, tuple(broken), tuple(odd))


def compare_numbers(champion: FloatArray, challenger: FloatArray, labels: FloatArray) -> Distribution:
    """The same of a regression. The usual range is that of the champion's answers and the labels, and half of it again
    on either side.
    """
    n = len(challenger)
    if n < LEAST_ROWS or not len(labels):
        return Distribution(n, len(labels), why=_too_few(n))
    usual = np.concatenate([champion, labels])
    low, high = float(usual.min()), float(usual.max())
    room = (high - low) / 2
    outside = float(((challenger < low - room) | (challenger > high + room)).mean())
    spread, least = float(challenger.std()), float(min(champion.std(), labels.std()))
    broken: list[str] = []
    odd: list[str] = []
    where = f"{low:.6g} to {high:.6g}, where the champion's and the labels lie"
    if outside > _OUTSIDE:
        text = f"{_percent(outside)} of the challenger's numbers lie far outside {where}"
        (broken if outside > _MOSTLY_OUTSIDE else odd).append(text)
    if spread < _FLATTER * least:
        text = f"the challenger's numbers hardly vary: by {spread:.6g}, the champion's and the labels by {least:.6g}"
        (broken if spread < _FLAT * least else odd).append(text)
    at = [np.quantile(values, _QUANTILES) for values in (champion, challenger, labels)]
    shown = tuple(
        Shown(f"{share:.0%}", *(float(values[place]) for values in at)) for place, share in enumerate(_QUANTILES)
    )
    return Distribution(n, len(labels), shown, tuple(broken), tuple(odd))


def answer_distribution(found: Distribution) -> Iterator[Reason]:
    """The reasons that it gives."""
    if found.why:
        text = f"the answers on recent traffic are not compared: {found.why}"
        yield Reason("not_measured", True, None, "distribution", float(found.n), float(LEAST_ROWS), text)
        return
    calm = f"on {found.n} recent rows the challenger answers as one would expect"
    text = "; ".join(found.broken) or calm
    yield Reason("distribution_broken", bool(found.broken), None, "distribution", float(len(found.broken)), 0.0, text)
    if found.odd:
        text = "; ".join(found.odd)
        yield Reason("distribution_shifted", True, None, "distribution", float(len(found.odd)), 0.0, text)


def _told(before: float, now: float, true: float) -> str:
    return f"{_percent(now)} of recent rows, the champion in {_percent(before)}, of the labels it is {_percent(true)}"


def _too_few(n: int) -> str:
    return f"{n} rows came lately, {LEAST_ROWS} are needed"


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"
