"""The verdict: everything that was compared, every reason, and whether the challenger passes."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from monitors.readings import FloatArray
from policies.bars import BoolArray
from policies.decision import Reason
from policies.file.gating import settled_drops
from policies.file.policy import Gate
from policies.gate.classes import answer_classes, judge_classes
from policies.gate.metrics import CalibrationBin, MetricVerdict, answer_metrics, calibration_of, judge_metrics
from policies.gate.pairs import Pairs
from policies.gate.readiness import Readiness, answer_readiness
from policies.gate.segments import NOT_ENOUGH_LABELS, SegmentVerdict, answer_segment, check_rows, judge_segment

REFUSING_CODES = (
    "gain_below_minimum",
    "segment_worse",
    "metric_worse",
    "class_worse",
    "edge_cases_failed",
    "too_slow",
    "too_large",
    "distribution_broken",
)
WARNING_CODES = ("not_enough_labels", "not_measured", "distribution_shifted", "outcome_not_aligned")
GATE_CODES = REFUSING_CODES + WARNING_CODES


@dataclass(frozen=True)
class Verdict:
    """Whether the challenger passes, each answer, and every condition of the gate.

    A met reason whose code is in `refused_by` refuses; any other that is met is a warning, for people. `classes` are
    the recall of each class, `success_metric` is what `gate.min_gain` is of. `calibration` holds the bins of champion
    and challenger.
    """

    passed: bool
    segments: tuple[SegmentVerdict, ...]
    reasons: tuple[Reason, ...]
    refused_by: tuple[str, ...] = ()
    success_metric: str = ""
    metrics: tuple[MetricVerdict, ...] = ()
    classes: tuple[SegmentVerdict, ...] = ()
    calibration: Mapping[str, tuple[CalibrationBin, ...]] = field(default_factory=dict)
    readiness: Readiness | None = None

    @property
    def refusals(self) -> tuple[Reason, ...]:
        """The reasons that refuse."""
        return tuple(reason for reason in self.reasons if reason.met and reason.code in self.refused_by)

    @property
    def warnings(self) -> tuple[Reason, ...]:
        """The reasons that are met and do not refuse: for people."""
        return tuple(reason for reason in self.reasons if reason.met and reason.code not in self.refused_by)

    @property
    def unsettled(self) -> tuple[str, ...]:
        """Segments on which the labels do not suffice for an answer."""
        return tuple(segment.name for segment in self.segments if segment.answer == NOT_ENOUGH_LABELS)


def judge(
    gate: Gate,
    champion: FloatArray,
    challenger: FloatArray,
    segments: Sequence[str] = (),
    members: BoolArray | None = None,
    *,
    own: Mapping[str, Gate] = MappingProxyType({}),
    kind: str = "classification",
    success_metric: str = "",
    pairs: Pairs | None = None,
    readiness: Readiness | None = None,
) -> Verdict:
    """The verdict on N paired rows that neither model was trained on.

    `champion` and `challenger` (N): for classification 1 where right and 0 where wrong, for regression absolute
    errors. `members` (S x N) says which rows belong to each of the S `segments`; `all` is always judged, first.
    `own` are the gates of segments that differ: their drop allowed, and the labels they need. `pairs` are the same rows
    with what was said: without them only segments are judged. `readiness` is judged where it is given.
    Raises HoldoutUnusable for no rows, other shapes, NaN, infinities, or values that the kind does not have.

    >>> import numpy as np
    >>> champion, challenger = np.repeat([1.0, 1.0, 0.0], [700, 200, 100]), np.repeat([1.0, 0.0, 1.0], [700, 200, 100])
    >>> verdict = judge(Gate(), champion, challenger)
    >>> verdict.passed, verdict.segments[0].answer, round(verdict.segments[0].gain, 3)
    (False, 'worse', -0.1)
    """
    names = ("all", *(name for name in segments if name != "all"))
    masks = check_rows(champion, challenger, segments, members, kind)
    gates = {name: own.get(name, gate) for name in names}
    found = tuple(
        judge_segment(gates[name], name, champion[masks[name]], challenger[masks[name]], kind) for name in names
    )
    allowed = dict(settled_drops(gate.metrics, kind))
    metrics = judge_metrics(pairs, allowed, gate.min_segment_labels) if pairs else ()
    recall = allowed.get("class_recall")
    classes = judge_classes(pairs, recall) if pairs and recall is not None else ()
    reasons = (
        _answer_gain(gate, found[0], success_metric, metrics),
        *(answer_segment(gates[segment.name], segment) for segment in found),
        *answer_metrics(metrics),
        *(answer_classes(classes, recall) if recall is not None else ()),
        *(answer_readiness(gate, readiness) if readiness else ()),
    )
    refused_by = tuple(dict.fromkeys(_refusing(gate, reasons)))
    return Verdict(
        passed=not refused_by,
        segments=found,
        reasons=reasons,
        refused_by=refused_by,
        success_metric=success_metric,
        metrics=metrics,
        classes=classes,
        calibration=_calibration(pairs),
        readiness=readiness,
    )


def _refusing(gate: Gate, reasons: Sequence[Reason]) -> Iterator[str]:
    codes = {*REFUSING_CODES, *(["outcome_not_aligned"] if gate.outcome_alignment == "require" else [])}
    return (reason.code for reason in reasons if reason.met and reason.code in codes)


def _answer_gain(gate: Gate, whole: SegmentVerdict, success_metric: str, metrics: Sequence[MetricVerdict]) -> Reason:
    """The gain is in the success metric; in that of the segments where no other was measured."""
    # The segments' gain is in accuracy or mae already, to the last digit.
    other = next((each for each in metrics if each.name == success_metric not in {"accuracy", "mae"}), None)
    gain = -other.drop if other and other.drop is not None else whole.gain or 0.0
    of = f" in {success_metric}" if success_metric else ""
    text = f"the gain{of} on all {whole.n} unseen rows is {gain:+.4f}, at least {gate.min_gain:+.4f} is needed"
    return Reason("gain_below_minimum", gain < gate.min_gain, "all", None, gain, gate.min_gain, text)


def _calibration(pairs: Pairs | None) -> Mapping[str, tuple[CalibrationBin, ...]]:
    if pairs is None or pairs.kind != "classification":
        return {}
    sides = {"champion": pairs.champion, "challenger": pairs.challenger}
    return {name: calibration_of(side, pairs.truth) for name, side in sides.items()}
