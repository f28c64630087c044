"""Finding: the rules that describe a batch's errors. What is a fact, what is beyond chance, what is large as ever."""

from collections.abc import Sequence

import numpy as np

from monitors.reading.failures import rules
from monitors.reading.failures.conditions import axes_of, never_learnt
from monitors.reading.failures.confusions import confusions_of
from monitors.reading.failures.rules import OTHER_RULE, Condition, Rule
from monitors.reading.failures.search import EVIDENCE, FACT, FEWEST, REST, USUAL, Found, search
from monitors.reading.failures.sight import BoolArray, LabelledRows
from monitors.statistics.excess import rise_ln

MOST = 20
"""Categories of their own; what is left is `other`."""
USUAL_SHARE = 0.05
"""A confusion that is no more than usual is a category of its own from this share of all errors on."""
RISEN_LN = float(np.log(1_000.0))
"""Evidence that a confusion is more than the baseline's, times the confusions that there are."""
_LABELS = 5
"""Labels that were never learnt with a category of their own each."""


def rules_found(rows: LabelledRows, known: Sequence[Rule]) -> list[Found]:
    """The rules of all errors, `OTHER_RULE` the last, in the order in which an error is given to the first it fits."""
    facts = _facts(rows)
    left = np.ones(len(rows), dtype=bool)
    for fact in facts:
        left &= ~rows.scope(fact.rule)
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped] # noqa: PLC0415  as sklearn

    # One thread: on busy cores products this small wait longer for a second one than they take.
    with threadpool_limits(limits=1):
        found, left = search(rows, axes_of(rows, FEWEST), left, known, MOST - len(facts))
    more = _confused(rows, left)[: MOST - len(facts) - len(found)]
    return [*facts, *found, *more, Found(OTHER_RULE, 0, 0.0, None, REST)]


def _facts(rows: LabelledRows) -> list[Found]:
    new = never_learnt(rows)
    where = [Condition("slice", "timestamp", rules.FAULTY)] if len(rows.faulty) else []
    where += [Condition("label", "label", rules.IS, (value,)) for value in new[:_LABELS]]
    where += [Condition("label", "label", rules.NEW_VALUES, tuple(new[_LABELS:]))] if new[_LABELS:] else []
    every = [Rule("fault" if each.test == rules.FAULTY else "out_of_scope", (each,)) for each in where]
    counted = ((rule, int(rows.matches(rule).sum())) for rule in every)
    return [Found(rule, errors, 0.0, None, FACT) for rule, errors in counted if errors >= FEWEST]


def _confused(rows: LabelledRows, left: BoolArray) -> list[Found]:
    """Of what is left the confusions that rose above the baseline's, and those that are a large part as ever."""
    confusions = confusions_of(rows)
    counts = confusions.counts(np.where(left, confusions.of_row, -1))
    in_group = np.bincount(confusions.group[left], minlength=confusions.groups)
    found = []
    for p in np.argsort(-counts, kind="stable").tolist():
        n, usual = float(in_group[confusions.group_of[p]]), confusions.usual[p].tolist()
        evidence = rise_ln(float(counts[p]), n, *usual)
        has_risen = evidence >= RISEN_LN + np.log(len(counts))
        if counts[p] >= FEWEST and (has_risen or counts[p] >= USUAL_SHARE * rows.wrong.sum()):
            expected = n * usual[0] / usual[1] if usual[1] else float(counts[p])
            why = (evidence, EVIDENCE) if has_risen else (None, USUAL)
            found.append(Found(Rule("confusion", (), *confusions.pairs[p]), int(counts[p]), expected, *why))
    return found
