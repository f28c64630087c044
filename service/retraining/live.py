"""Live: what a challenger's own rows say of it without labels, held against its own baseline."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np

from monitors.baseline.baselines import Baseline
from monitors.compare import Comparison
from monitors.readings import FAULT_KINDS, FloatArray, Readings
from policies.assessment import Assessment, assess
from policies.file.policy import Policy
from policies.question import question_of

_PREDICTION = "prediction"


@dataclass(frozen=True)
class Oddities:
    """Sentences: what is `broken` in the input, and where predictions are `shifted` against the baseline's."""

    broken: tuple[str, ...] = ()
    shifted: tuple[str, ...] = ()


def find_oddities(policy: Policy, baseline: Baseline, profiles: Mapping[int, FloatArray], now: datetime) -> Oddities:
    """What is odd in these profiles of a challenger: each with size and evidence, as for a champion. Little traffic, or
    none, is not odd.
    """
    if not profiles:
        return Oddities()
    at = datetime.fromtimestamp(max(profiles) + baseline.slice_seconds, UTC)
    readings = Comparison.to(baseline).read(profiles, {}, question_of(policy, baseline), at)
    found = assess(policy, readings, now)
    return Oddities(_broken(readings, found), _shifted(readings, found))


def _broken(readings: Readings, found: Assessment) -> tuple[str, ...]:
    quality = readings.quality
    return tuple(
        f"{readings.segments[s]}: {quality.columns[c]} {FAULT_KINDS[k]} in {quality.share[s, c, k]:.1%} of its rows, "
        f"{quality.expected[s, c, k]:.1%} in its baseline"
        for s, c, k in np.argwhere(found.quality.cells).tolist()
    )


def _shifted(readings: Readings, found: Assessment) -> tuple[str, ...]:
    drift = readings.drift
    if _PREDICTION not in drift.columns:
        return ()
    c = drift.columns.index(_PREDICTION)
    return tuple(
        f"{readings.segments[s]}: its predictions are not spread as in its baseline, size {drift.size[s, c]:.3f} over "
        f"{found.limits.size[s, c]:.3f}"
        for s in np.flatnonzero(found.drift.drifting[:, c]).tolist()
    )
