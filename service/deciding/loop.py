"""The loop of one model: evaluate → retrain where decided → watch what was released. Nothing in it waits."""

import logging
from dataclasses import dataclass, replace

from policies.file.policy import Policy
from service.deciding.confirmations import Confirmations
from service.deciding.cycle import Cycle
from service.errors import ArchiveAway
from service.evidence.reports import Reports
from service.house import House
from service.launching.choose import LauncherOf, by_kind
from service.launching.here import Here
from service.ledger.records import DecisionRecord, Release, Retraining
from service.retraining.course import Course
from service.retraining.opening import open_retraining
from service.retraining.watching import watch_release
from service.training.registry import Registry

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Turn:
    """What one step brought: each None where there was none. `retraining` is one that has ended."""

    decision: DecisionRecord | None = None
    retraining: Retraining | None = None
    rollback: Release | None = None
    opened: Retraining | None = None


class Loop:
    """One step after the other, in one thread; the leader's alone."""

    def __init__(
        self,
        house: House,
        registry: Registry,
        launchers: LauncherOf | None = None,
        *,
        can_retrain: bool = True,
        makes_reports: bool = True,
    ) -> None:
        self._house = house
        self._registry = registry
        self._cycle = Cycle(house)
        self._confirmations = Confirmations(house)
        self._course = Course(house, registry, launchers or by_kind({"builtin": Here()}))
        self._can_retrain = can_retrain
        self._makes_reports = makes_reports
        self.reports = Reports()

    def step(self, model: str) -> Turn:
        """Bring the model's retraining further, evaluate, and begin at once what was decided."""
        left = self.finish(model)
        if left is not None and left.is_finished:
            return Turn(retraining=left)
        turn = self.decide(model)
        begun = self.finish(model) if turn.opened else None
        return replace(turn, retraining=begun) if begun is not None and begun.is_finished else turn

    def decide(self, model: str) -> Turn:
        """Watch the newest release, evaluate, and record what was decided; a retraining is opened and not yet run."""
        policy = self._house.policies.policy(model)
        if policy is None:
            return Turn()
        rollback = self._watch(policy)
        self._confirmations.step(model)
        decision = self._cycle.step(model)
        if decision is None or decision.action != "retrain" or not self._can_retrain:
            return Turn(decision, rollback=rollback)
        opened = open_retraining(self._house, decision)
        if opened is not None and self._makes_reports:
            self.reports.ask(self._house, decision)
        return Turn(decision, rollback=rollback, opened=opened)

    def _watch(self, policy: Policy) -> Release | None:
        try:
            return watch_release(self._house, self._registry, policy)
        except ArchiveAway as error:
            _log.warning("%s: the release is watched later, the evaluation goes on: %s", policy.model, error)
            return None

    def finish(self, model: str) -> Retraining | None:
        """Bring the model's unfinished retraining as far as it can go now, also one that another process began; None if
        there is none. What has to be waited for is looked at again at the next call.
        """
        policy = self._house.policies.policy(model)
        left = next((r for r in self._house.ledger.retrainings(model) if not r.is_finished), None)
        return None if policy is None or left is None else self._course.step(policy, left)
