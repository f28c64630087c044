"""The search for rules: one after the other the rule that says most about the errors that no rule before describes."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import inf, log

import numpy as np

from monitors.reading.failures.conditions import Axis
from monitors.reading.failures.confusions import confusions_of, usual_error_rate
from monitors.reading.failures.rules import Condition, Rule, kind_of
from monitors.reading.failures.sight import BoolArray, LabelledRows
from monitors.readings import FloatArray
from monitors.statistics.excess import excess_ln, share_at_most

FEWEST = 10
"""Errors of a rule."""
LIFT = 1.25
"""A rule has at least so many times the errors that chance would give it."""
ALPHA = 0.01
"""Chance that a search finds anything where errors fall at random."""
SAME = 0.8
"""A known rule goes on in the place of a new one that has so much of its errors in common (of all errors of either)."""
_MOST_CONFUSIONS = 60
"""Confusions that are tried in each place, those with the most errors."""
_CLASSES = ("prediction", "label")
EVIDENCE, FACT, USUAL, REST = BASES = ("evidence", "fact", "usual", "rest")


@dataclass(frozen=True)
class Found:
    """A rule with the evidence that its errors are more than chance, as ln of how unlikely they are at least; None
    where that was not asked. `expected` is what chance gives, of `errors`; `basis` says why the rule is one.
    """

    rule: Rule
    errors: int
    expected: float
    evidence_ln: float | None
    basis: str = EVIDENCE


@dataclass(frozen=True)
class _Try:
    score: float
    found: Found


def search(
    rows: LabelledRows, axes: Sequence[Axis], left: BoolArray, known: Sequence[Rule] = (), most: int = 20
) -> tuple[list[Found], BoolArray]:
    """The rules in the order in which they were found, at most so many, and the rows that no rule describes [n].

    Each round tries every condition, every two conditions, every confusion, and every confusion under one condition,
    on the rows that are `left`. Where errors fell on rows at random, with rate e, so many would be expected: e n of n
    rows; and of the confusion of b for a, e n s_b / (1 - s_a) of n rows predicted a, with s the shares of the errors'
    labels; but where it is a matter of classes no less than the baseline's own confusion gives. The rule with the
    largest evidence less ln(2 c / alpha) is taken, c the number of tries with as many parts: simple descriptions are
    fewer, so two conditions have to say clearly more than one. Where no rule is above 0 the search ends: by the union
    bound the chance of any rule where errors fall at random is at most alpha. The rows of a rule leave, of a confusion
    its errors.

    Source: a decision list (Rivest 1987), learned by covering (Clark & Niblett 1989, CN2) with the price of a
    description as in minimum description length (Rissanen 1978).
    """
    grid, found = _Grid(rows, axes, left), list[Found]()
    living = [(each, rows.matches(each)) for each in known]
    while len(found) < most:
        best = grid.best()
        if best is None:
            break
        taken = next((grid.renamed(best, *each) for each in living if grid.is_same(best.rule, *each)), best)
        found.append(taken)
        grid.take(taken.rule)
    return found, grid.left


class _Grid:
    """What all tries count on the rows that are left; a rule that is taken is subtracted."""

    def __init__(self, rows: LabelledRows, axes: Sequence[Axis], left: BoolArray) -> None:
        self._rows, self.left = rows, left.copy()
        self._confusions = confusions_of(rows)
        alone = [axis for axis in axes if axis.single]
        paired = [axis for axis in axes if not axis.single]
        self._conditions: list[Condition] = [each for axis in (*paired, *alone) for each in axis.conditions]
        masks = [rows.meets(each) for each in self._conditions]
        self._masks = np.array(masks, dtype=np.float32).reshape(-1, len(rows))
        self._usual = np.array([_usual_rate(rows, each) for each in self._conditions])
        self._is_of_classes = np.array([each.source in _CLASSES for each in self._conditions], dtype=bool)
        self._may_pair = _may_pair(paired)
        tried = sum(axis.tried for axis in axes)
        tried_in_pairs = sum(axis.tried for axis in paired) ** 2 // 2
        self._price_of_one = log(2 * max(tried + self._confusions.tried, 1) / ALPHA)
        self._price_of_two = log(2 * max(tried_in_pairs + tried * self._confusions.tried, 1) / ALPHA)
        self._both = self._counted(self.left)
        self._both_wrong = self._counted(self.left & rows.wrong)

    def best(self) -> Found | None:
        """The rule that says most now, if its evidence pays for it."""
        wrong = self.left & self._rows.wrong
        if not wrong.any() or not self._conditions:
            return None
        rate = float(wrong.sum() / self.left.sum())
        tries = [*self._single(wrong, rate), *self._double(rate), *self._mistaken(wrong, rate)]
        return max(tries, key=lambda each: each.score).found if tries else None

    def take(self, rule: Rule) -> None:
        """The rule's rows are described; of a confusion its errors are."""
        gone = self.left & (self._rows.matches(rule) if rule.is_confusion else self._rows.scope(rule))
        self._both = self._both - self._counted(gone)
        self._both_wrong = self._both_wrong - self._counted(gone & self._rows.wrong)
        self.left &= ~gone

    def is_same(self, rule: Rule, known: Rule, errors: BoolArray) -> bool:
        """Whether a known rule, by its errors, describes nearly the same: so that these go on under its name."""
        if rule.id == known.id or rule.is_confusion != known.is_confusion:
            return False
        new, old = self._rows.matches(rule) & self.left, errors & self.left
        return bool((new & old).sum() >= SAME * max((new | old).sum(), 1))

    def renamed(self, best: Found, known: Rule, errors: BoolArray) -> Found:
        """The known rule in the place of what was found."""
        return Found(known, int((errors & self.left).sum()), best.expected, best.evidence_ln)

    def _counted(self, some: BoolArray) -> FloatArray:
        """How many of some rows meet both of two conditions [K, K]."""
        masks = self._masks[: len(self._may_pair), some]
        return (masks @ masks.T).astype(np.float64)

    def _single(self, wrong: BoolArray, rate: float) -> Iterator[_Try]:
        rows, errors = self._met(self.left), self._met(wrong)
        expected = rows * np.maximum(rate, self._usual)
        scores = _scores(errors, expected, self._price_of_one)
        place = int(np.argmax(scores))
        if scores[place] > 0:
            found = float(errors[place]), float(expected[place]), float(scores[place]) + self._price_of_one
            yield _try((self._conditions[place],), *found, self._price_of_one)

    def _double(self, rate: float) -> Iterator[_Try]:
        if not len(self._may_pair):
            return
        usual = self._usual[: len(self._may_pair)]
        expected = self._both * np.maximum(rate, np.maximum(usual[:, None], usual[None, :]))
        scores = np.where(self._may_pair, _scores(self._both_wrong, expected, self._price_of_two), -inf)
        a, b = np.unravel_index(int(np.argmax(scores)), scores.shape)
        if scores[a, b] > 0:
            found = float(self._both_wrong[a, b]), float(expected[a, b]), float(scores[a, b]) + self._price_of_two
            yield _try((self._conditions[int(a)], self._conditions[int(b)]), *found, self._price_of_two)

    def _mistaken(self, wrong: BoolArray, rate: float) -> Iterator[_Try]:
        """A confusion alone, and under one condition."""
        confusions = self._confusions
        counts = confusions.counts(np.where(wrong, confusions.of_row, -1))
        in_group = np.bincount(confusions.group[self.left], minlength=confusions.groups)
        even = rate * confusions.even_parts(counts)
        often = [p for p in np.argsort(-counts, kind="stable")[:_MOST_CONFUSIONS].tolist() if counts[p] >= FEWEST]
        groups = np.unique(confusions.group_of[often]).tolist()
        places = {group: self._met(self.left & (confusions.group == group)) for group in groups}
        for p in often:
            group = int(confusions.group_of[p])
            rate_of_it = max(float(even[p]), _usual_part(confusions.usual[p].tolist()))
            if not self._rows.is_regression:
                yield from self._alone(p, counts[p], in_group[group] * rate_of_it)
            yield from self._placed(p, self._met(wrong & (confusions.of_row == p)), places[group] * rate_of_it)

    def _alone(self, p: int, count: float, expected: float) -> Iterator[_Try]:
        score = float(_scores(np.array(count), np.array(expected), self._price_of_one))
        if score > 0:
            found = Found(self._rule(p), int(count), float(expected), score + self._price_of_one)
            yield _Try(score, found)

    def _placed(self, p: int, counts: FloatArray, expected: FloatArray) -> Iterator[_Try]:
        scores = np.where(self._is_of_classes, -inf, _scores(counts, expected, self._price_of_two))
        place = int(np.argmax(scores))
        if scores[place] > 0:
            rule, score = self._rule(p, (self._conditions[place],)), float(scores[place])
            yield _Try(score, Found(rule, int(counts[place]), float(expected[place]), score + self._price_of_two))

    def _met(self, some: BoolArray) -> FloatArray:
        """How many of some rows meet each condition [K]; of few rows it is quicker to take these first."""
        places = np.flatnonzero(some)
        if len(places) * 4 < len(some):
            return np.asarray(self._masks.take(places, axis=1).sum(axis=1, dtype=np.float64))
        return (self._masks @ some.astype(np.float32)).astype(np.float64)

    def _rule(self, p: int, where: tuple[Condition, ...] = ()) -> Rule:
        return Rule(kind_of(where, is_confusion=True), where, *self._confusions.pairs[p])


def _try(where: tuple[Condition, ...], errors: float, expected: float, evidence_ln: float, price: float) -> _Try:
    return _Try(evidence_ln - price, Found(Rule(kind_of(where), where), int(errors), expected, evidence_ln))


def _scores(errors: FloatArray, expected: FloatArray, price: float) -> FloatArray:
    """Evidence less its price; minus infinity where there are too few errors, or too little more than expected."""
    is_enough = (errors >= FEWEST) & (errors >= LIFT * expected)
    return np.asarray(np.where(is_enough, excess_ln(errors, expected) - price, -inf))


def _usual_part(usual: Sequence[float]) -> float:
    """What a confusion hardly exceeds of the baseline's rows predicted so; 0 where it knows nothing of it."""
    return share_at_most(*usual) if usual[1] else 0.0


def _usual_rate(rows: LabelledRows, condition: Condition) -> float:
    """What the baseline says of errors where the condition holds; of all but classes it is not asked."""
    if rows.is_regression or condition.source not in _CLASSES or len(condition.values) != 1:
        return 0.0
    return usual_error_rate(rows, condition.source, condition.values[0])


def _may_pair(axes: Sequence[Axis]) -> BoolArray:
    """Which two conditions [K, K] say more together: of two columns, or the two ends of a range. Each pair once.

    A prediction and another label are always an error: that is a confusion, and counted as one.
    """
    each = [(number, axis, one) for number, axis in enumerate(axes) for one in axis.conditions]
    number = np.array([number for number, _, _ in each], dtype=np.int64)
    is_ordered = np.array([axis.is_ordered for _, axis, _ in each], dtype=bool)
    is_lower = np.array([one.high is None for _, _, one in each], dtype=bool)
    is_of_classes = np.array([one.source in _CLASSES for _, _, one in each], dtype=bool)
    is_other = number[:, None] != number[None, :]
    is_range = ~is_other & is_ordered[:, None] & (is_lower[:, None] != is_lower[None, :])
    is_class_pair = is_of_classes[:, None] & is_of_classes[None, :]
    return np.asarray(np.triu(is_range | is_other & ~is_class_pair, 1))
