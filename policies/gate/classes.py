"""Class by class: how much of each the challenger still finds. The tail shows here, where the means hide it."""

import math
from collections.abc import Iterator, Sequence

import numpy as np

from policies.bars import e_bh
from policies.decision import Reason
from policies.gate.evidence import ENOUGH_LN, fewest_labels, labels_to_settle, worse_evidence_ln
from policies.gate.pairs import Pairs
from policies.gate.segments import BETTER_OR_EQUAL, NOT_ENOUGH_LABELS, WORSE, SegmentVerdict, gain_of

_NAMED = 5


def judge_classes(pairs: Pairs, allowed: float) -> tuple[SegmentVerdict, ...]:
    """The recall of each class that is a label, the most frequent first: how much of it each of the two finds.

    K classes are K chances of being wrong: a class is worse where its e-value passes e-BH at 20 K, so that chance alone
    refuses at most once in 20, however many there are. One with fewer labels than could show even its total loss is not
    settled, whatever was seen.
    """
    counts = np.bincount(pairs.truth.astype(np.int64), minlength=len(pairs.classes))
    places = [place for place in np.argsort(-counts, kind="stable").tolist() if counts[place]]
    bar = ENOUGH_LN + math.log(max(len(places), 1))
    fewest = fewest_labels(allowed, bar)
    right = pairs.champion.right(pairs.truth), pairs.challenger.right(pairs.truth)
    sides = [(right[0][pairs.truth == place], right[1][pairs.truth == place]) for place in places]
    evidence = np.array([worse_evidence_ln(before, after, allowed, pairs.kind) for before, after in sides])
    answers = np.where(e_bh(evidence, bar), WORSE, BETTER_OR_EQUAL).tolist()
    found = []
    for place, (before, after), e, answer in zip(places, sides, evidence.tolist(), answers, strict=True):
        n, gain, needed = len(before), gain_of(before, after, pairs.kind), 0
        if answer != WORSE and -gain > allowed:
            needed = labels_to_settle(before, after, allowed, pairs.kind, bar)
        if answer != WORSE:
            needed = max(needed, fewest - n)
        settled = NOT_ENOUGH_LABELS if needed > 0 else answer
        means = float(before.mean()), float(after.mean())
        found.append(SegmentVerdict(pairs.classes[place], n, *means, gain, settled, e, max(needed, 0)))
    return tuple(found)


def answer_classes(classes: Sequence[SegmentVerdict], allowed: float) -> Iterator[Reason]:
    """A reason for each class that became worse, or one that none did; one for those with too few labels."""
    worse = [each for each in classes if each.answer == WORSE]
    for each in worse:
        text = (
            f"of {each.n} rows labelled {each.name} the champion finds {_percent(each.champion)}, the "
            f"challenger {_percent(each.challenger)}; a drop of {allowed:.4f} is allowed"
        )
        yield Reason("class_worse", True, None, each.name, each.gain, -allowed, text)
    if classes and not worse:
        lowest = min(classes, key=lambda each: (each.gain or 0.0, each.name))
        text = (
            f"none of {len(classes)} classes is found less often by more than {allowed:.4f}, with evidence; the least "
            f"gain is {lowest.gain:+.4f} for {lowest.name}"
        )
        yield Reason("class_worse", False, None, lowest.name, lowest.gain, -allowed, text)
    thin = [each for each in classes if each.answer == NOT_ENOUGH_LABELS]
    if thin:
        named = ", ".join(f"{each.name} ({each.labels_needed} more)" for each in thin[:_NAMED])
        rest = f" and {len(thin) - _NAMED} more classes" if len(thin) > _NAMED else ""
        text = f"recall: {len(thin)} of {len(classes)} classes have too few labels to tell: {named}{rest}"
        enough = float(min(each.n + each.labels_needed for each in thin))
        yield Reason("not_enough_labels", True, None, "class_recall", float(max(e.n for e in thin)), enough, text)


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f} %"
