"""The cycle: close slices → read (compare with the baseline) → decide → record → open a retraining.

One step for one model. It reads the clock it is given and nothing else, so that a replay decides as production does.
"""

from dataclasses import replace
from time import perf_counter

from monitors.reading.quality import faulty_slices
from policies.assessment import assess
from policies.decide import decide
from policies.orders import with_orders
from service.deciding.keeping import keep
from service.deciding.sight import Sights
from service.house import House
from service.ledger.records import DecisionRecord
from service.shadows.shadows import Shadows
from service.training.twins import Twins


class Cycle:
    """Evaluates models, one step at a time."""

    def __init__(self, house: House) -> None:
        self._house = house
        self._sights = Sights(house)
        self._twins = Twins(house)
        self._shadows = Shadows(house, self._sights)

    def step(self, model: str) -> DecisionRecord | None:
        """Evaluate a model now. The decision where it is worth keeping; None where nothing changed."""
        house, started, now = self._house, perf_counter(), self._house.clock()
        policy = house.policies.policy(model)
        sight = self._sights.look(policy, now) if policy else None
        if policy is None or sight is None or not sight.is_due:
            return None
        counted = sight.counted
        sight = replace(sight, last=self._twins.step(policy, sight.last, counted.labelled, counted.faulty))
        readings, history = self._sights.read(policy, sight), self._sights.history(sight)
        assessment = assess(with_orders(policy, history), readings, now)
        broken = faulty_slices(counted.baseline, counted.profiles, readings.quality, assessment.quality.cells)
        house.ledger.mark_faulty(model, broken - counted.faulty)
        decision = decide(policy, readings, history, now)
        last = replace(sight.last, seen=sight.seen, closed=counted.closed, seconds=perf_counter() - started)
        kept = keep(house, policy, readings, assessment, decision, last, now)
        self._shadows.step(sight, readings, history, decision)
        return kept
