"""The state of every segment: ok, watch, drifting, insufficient, blind or fault."""

import math
from collections.abc import Mapping

import numpy as np

from monitors.readings import Readings
from policies.assessment import Assessment
from policies.bars import BoolArray, e_bh, ln_threshold

__all__ = ["LEANING_LN", "STATES", "e_bh", "ln_threshold", "name_states"]

STATES = ("ok", "watch", "drifting", "insufficient", "blind", "fault")
# A size without evidence is what small windows always show: it is worth watching from e = 20 on.
LEANING_LN = math.log(20)


def name_states(readings: Readings, assessment: Assessment, runs: Mapping[str, int] | None = None) -> dict[str, str]:
    """The state of each segment, in the order of the readings; the first of these that holds.

    - blind: no row in the longest window.
    - fault: broken input; for `all` also no traffic at all.
    - drifting: a drop of performance with size and evidence, or such a column of a segment with enough rows. Given
      `runs` (evaluations in a row before this one) it is drifting from the `persist`-th on, and watch until then.
    - insufficient: too few rows now or in the baseline, and no labels that tell more; the parent segment decides.
    - watch: one of size and evidence (a size only from e = 20 on); for `all` also too little traffic.
    """
    drift, performance = assessment.drift, assessment.performance
    lost, drifted = performance.over & performance.evident, drift.drifting.any(axis=1)
    leaning = (drift.over & (readings.drift.evidence_ln >= LEANING_LN)).any(axis=1)
    losing = performance.evident | (performance.over & (readings.performance.evidence_ln >= LEANING_LN))
    rules = {
        "blind": assessment.blind,
        "fault": assessment.quality.fault,
        "drifting": (lost & _often("performance", readings, assessment, runs))
        | (drifted & _often("drift", readings, assessment, runs) & ~assessment.insufficient),
        "insufficient": assessment.insufficient & ~losing,
        "watch": losing | drifted | drift.evident | leaning | assessment.quality.quiet,
    }
    names = np.select(list(rules.values()), list(rules), default="ok")
    return dict(zip(readings.segments, names.tolist(), strict=True))


def _often(condition: str, readings: Readings, assessment: Assessment, runs: Mapping[str, int] | None) -> BoolArray:
    if runs is None:
        return np.ones(len(readings.segments), bool)
    before = [runs.get(f"{condition}:{name}", 0) for name in readings.segments]
    return np.asarray(np.array(before) + 1 >= assessment.limits.persist)
