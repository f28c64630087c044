"""What an evaluation of a model goes by, as it is now: what was counted, what the last one left, and what is new since.

Looking changes nothing: the cycle, an explanation and a shadow policy look through the same eyes.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import msgspec

from monitors.readings import Readings
from policies.decision import History
from policies.file.parse import digest
from policies.file.policy import Policy
from service.conventions.signals import Signals
from service.deciding.counted import Counted, Counts
from service.deciding.history import history_of
from service.house import House
from service.ledger.records import Evaluation, Retraining
from service.orders.orders import Orders

LATE_SLICES = 200
"""Rows that arrive later than into the newest so many slices do not cause an evaluation of their own."""


@dataclass(frozen=True, eq=False)
class Sight:
    """`last` is what the last evaluation left of this champion; `retrainings` are the newest, newest first.

    `seen` tells apart what a decision depends on but for the time: while it is what it was (no `is_news`) no run grows,
    and until a further slice closes there is nothing to evaluate (not `is_due`).
    """

    policy: Policy
    counted: Counted
    retrainings: list[Retraining]
    last: Evaluation
    seen: str
    is_news: bool
    is_due: bool


class Sights:
    """Looks at models; remembers the comparisons of the baselines it has seen."""

    def __init__(self, house: House) -> None:
        self._house = house
        self._counts = Counts(house)
        self._signals = Signals(house.store, house.settings.signal_life, house.clock)

    def look(self, policy: Policy, now: datetime) -> Sight | None:
        """A look at the policy's model; None where its champion has no baseline that can be read."""
        ledger, model = self._house.ledger, policy.model
        counted = self._counts.load(policy, now)
        if counted is None:
            return None
        retrainings, before, version = ledger.retrainings(model), ledger.evaluation(model), counted.baseline.version
        seen = self._seen(policy, counted, retrainings)
        is_news = (before.seen, before.version) != (seen, version)
        return Sight(
            policy=policy,
            counted=counted,
            retrainings=retrainings,
            last=replace(_carried(before, version), labels=counted.labels),
            seen=seen,
            is_news=is_news,
            is_due=is_news or before.closed != counted.closed,
        )

    def read(self, policy: Policy, sight: Sight) -> Readings:
        """The readings that a policy asks for, of what was counted."""
        return self._counts.read(policy, sight.counted, sight.last.twin)

    def history(self, sight: Sight) -> History:
        """What was known before."""
        return history_of(self._house, self._signals, sight.last, sight.retrainings, is_news=sight.is_news)

    def _seen(self, policy: Policy, counted: Counted, retrainings: Sequence[Retraining]) -> str:
        profiles = counted.profiles
        rows = sum(float(profiles[start][0, 0]) for start in sorted(profiles)[-LATE_SLICES:])
        wishes = [self._house.ledger.request(policy.model, verb) for verb in ("retrain", "approve", "reject")]
        states = [(r.id, r.state) for r in retrainings[:1]]
        held, newest = self._signals.hold(policy.model), max(profiles, default=0)
        orders = [each.id for each in Orders(self._house.store, policy.model).standing(self._house.clock())]
        known = [digest(policy), counted.baseline.fingerprint, newest, rows, counted.labels]
        said = [*known, wishes, orders, states, held]
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
