"""The cycle: close slices → read (compare with the baseline) → decide → record → open a retraining.

One step for one model. It reads the clock it is given and nothing else, so that a replay decides as production does.
"""

import hashlib
from dataclasses import replace
from time import perf_counter

import msgspec

from monitors.reading.quality import faulty_slices
from policies.assessment import assess
from policies.decide import decide
from policies.parse import digest
from policies.policy import Policy
from service.conventions.signals import Signals
from service.counted import Counted, Counts
from service.history import history_of
from service.house import House
from service.keeping import keep
from service.records import DecisionRecord, Evaluation, Retraining
from service.training.twins import Twins

LATE_SLICES = 200
"""Rows that arrive later than into the newest so many slices do not cause an evaluation of their own."""


class Cycle:
    """Evaluates models, one step at a time; remembers comparisons of the baselines it has seen."""

    def __init__(self, house: House) -> None:
        self._house = house
        self._counts = Counts(house)
        self._twins = Twins(house)
        self._signals = Signals(house.store, house.settings.signal_life, house.clock)

    def step(self, model: str) -> DecisionRecord | None:
        """Evaluate a model now. The decision where it is worth keeping; None where nothing changed."""
        house, started, now = self._house, perf_counter(), self._house.clock()
        policy = house.policies.policy(model)
        counted = self._counts.load(policy, now) if policy else None
        if policy is None or counted is None:
            return None
        retrainings = house.ledger.retrainings(model)
        before = house.ledger.evaluation(model)
        seen = self._seen(policy, counted, retrainings)
        is_news = (before.seen, before.version) != (seen, counted.baseline.version)
        if not is_news and before.closed == counted.closed:
            return None
        last = replace(_carried(before, counted.baseline.version), labels=counted.labels)
        last = self._twins.step(policy, last, counted.labelled, counted.faulty)
        readings = self._counts.read(policy, counted, last.twin)
        assessment = assess(policy, readings, now)
        broken = faulty_slices(counted.baseline, counted.profiles, readings.quality, assessment.quality.cells)
        house.ledger.mark_faulty(model, broken - counted.faulty)
        decision = decide(policy, readings, history_of(house, self._signals, last, retrainings, is_news=is_news), now)
        last = replace(last, seen=seen, closed=counted.closed, seconds=perf_counter() - started)
        return keep(house, policy, readings, assessment, decision, last, now)

    def _seen(self, policy: Policy, counted: Counted, retrainings: list[Retraining]) -> str:
        """What a decision depends on but for the time: while it does not change, no run grows."""
        profiles = counted.profiles
        rows = sum(float(profiles[start][0, 0]) for start in sorted(profiles)[-LATE_SLICES:])
        wishes = [self._house.ledger.request(policy.model, verb) for verb in ("retrain", "approve", "reject")]
        states = [(r.id, r.state) for r in retrainings[:1]]
        held, newest = self._signals.hold(policy.model), max(profiles, default=0)
        said = [digest(policy), counted.baseline.fingerprint, newest, rows, counted.labels, wishes, states, held]
        return hashlib.sha256(msgspec.json.encode(said)).hexdigest()


def _carried(before: Evaluation, version: str) -> Evaluation:
    """What the last evaluation left. Of another version: nothing but its faults, for they are the feed's."""
    if before.version == version:
        return before
    return Evaluation(
        before.model,
        version,
        fault_open=before.fault_open,
        fault_quiet_since=before.fault_quiet_since,
    )
