"""The gate: may a challenger be released in the champion's place? One verdict, with all its reasons.

`judge` compares the answers of both on the same unseen rows, segment by segment; with `Pairs` it holds several metrics
and the recall of each class against what the policy allows; with a `Readiness` it weighs what else was measured.
"""

from policies.gate.alignment import Alignment, align
from policies.gate.distribution import Distribution, compare_classes, compare_numbers
from policies.gate.evidence import ENOUGH_LN, STAKES, worse_evidence_ln
from policies.gate.metrics import MetricVerdict
from policies.gate.pairs import Pairs, Side
from policies.gate.readiness import FailedCase, FailureCount, Readiness
from policies.gate.segments import SegmentVerdict
from policies.gate.verdict import GATE_CODES, WARNING_CODES, Verdict, judge

__all__ = [
    "ENOUGH_LN",
    "GATE_CODES",
    "STAKES",
    "WARNING_CODES",
    "Alignment",
    "Distribution",
    "FailedCase",
    "FailureCount",
    "MetricVerdict",
    "Pairs",
    "Readiness",
    "SegmentVerdict",
    "Side",
    "Verdict",
    "align",
    "compare_classes",
    "compare_numbers",
    "judge",
    "worse_evidence_ln",
]
