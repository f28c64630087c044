"""What was counted of a model's champion until now, loaded from the store and compared with its baseline.

`load` and `read` change nothing: the cycle, an explanation and a shadow policy look through the same pair.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np

from monitors.baseline.baselines import Baseline
from monitors.compare import Comparison
from monitors.counting.slices import LONGEST
from monitors.reading.performance import MOST_SLICES
from monitors.reading.twin import dated, read_twin
from monitors.readings import FloatArray, Readings
from policies.file.policy import Policy
from policies.question import question_of
from service.house import House
from service.intake.folding.noted import newcomers
from service.ledger.ledger import Ledger
from service.training.twins import TEST_LABELS, TWIN_ROWS

Tests = tuple[tuple[int, int], ...]
"""(wins, losses) of each test of a fresh twin, oldest first."""


@dataclass(frozen=True, eq=False)
class Counted:
    """The closed slices of one champion: profiles and labelled cells by their start in unix seconds.

    `closed` is the end of the newest closed slice (unix seconds), `since_release` the sum of all labelled cells,
    `faulty` the starts of the slices with a broken feed.
    """

    baseline: Baseline
    closed: int
    profiles: Mapping[int, FloatArray]
    labelled: Mapping[int, FloatArray]
    since_release: FloatArray
    faulty: set[int]

    @property
    def labels(self) -> int:
        """Labels that came since the release."""
        return int(self.since_release[0, 0])


class Counts:
    """Loads and compares; remembers the comparisons of the baselines it has seen."""

    def __init__(self, house: House) -> None:
        self._house = house
        self._comparisons: dict[str, Comparison] = {}

    def load(self, policy: Policy, now: datetime) -> Counted | None:
        """What was counted of the policy's champion; None where it has no baseline that can be read."""
        house, model = self._house, policy.model
        version = house.ledger.champion(model)
        baseline = house.ledger.baseline(model, version) if version else None
        if baseline is None:
            return None
        closed = closed_until(policy, baseline, now)
        back = returned_at(house.ledger, model)
        since = 0 if back is None else int(back.timestamp()) // baseline.slice_seconds * baseline.slice_seconds
        profiles = house.cells.load(baseline, newest=LONGEST)
        labelled = house.cells.load_labelled(baseline, newest=MOST_SLICES)
        labelled = {start: cells for start, cells in labelled.items() if start >= since}
        total = house.cells.total_labelled(baseline)
        return Counted(
            baseline=baseline,
            closed=closed,
            profiles={s: p for s, p in profiles.items() if s >= since and s + baseline.slice_seconds <= closed},
            labelled=labelled,
            since_release=total if back is None else sum(labelled.values(), np.zeros_like(total)),
            faulty=house.ledger.faulty_slices(model),
        )

    def read(self, policy: Policy, counted: Counted, tests: Tests) -> Readings:
        """The readings as of the end of the newest closed slice."""
        twin = read_twin(tests, TEST_LABELS)
        return self._comparison(counted.baseline).read(
            counted.profiles,
            counted.labelled,
            question_of(policy, counted.baseline),
            datetime.fromtimestamp(counted.closed, tz=UTC),
            counted.faulty,
            twin and dated(twin, counted.labelled, TEST_LABELS, TWIN_ROWS, counted.faulty),
            counted.since_release,
            newcomers(self._house.noted(policy.model), counted.baseline.version),
        )

    def _comparison(self, baseline: Baseline) -> Comparison:
        known = self._comparisons.get(baseline.model)
        if known is None or known.baseline.fingerprint != baseline.fingerprint:
            known = self._comparisons[baseline.model] = Comparison.to(baseline)
        return known


def returned_at(ledger: Ledger, model: str) -> datetime | None:
    """When a rollback brought the champion back; None where it was released.

    What it served before it was replaced was of the world that it was replaced for: held against its baseline still,
    that would ask for the same retraining again.
    """
    last = next(reversed(ledger.releases(model)), None)
    return last.at if last is not None and last.kind == "rollback" else None


def closed_until(policy: Policy, baseline: Baseline, now: datetime) -> int:
    """End of the newest closed slice, in unix seconds: closed when `lateness` has passed since its end."""
    open_since = int((now - policy.window.lateness).timestamp())
    return open_since // baseline.slice_seconds * baseline.slice_seconds
