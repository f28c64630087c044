"""The loop of one model: evaluate → retrain where decided → watch what was released."""

import logging
from dataclasses import dataclass, replace

from policies.file.policy import Policy
from service.deciding.confirmations import Confirmations
from service.deciding.cycle import Cycle
from service.errors import ArchiveAway
from service.evidence.reports import Reports
from service.house import House
from service.ledger.records import DecisionRecord, Release, Retraining
from service.retraining.course import Launch, Retrainer
from service.retraining.opening import open_retraining
from service.retraining.watching import watch_release
from service.training.launchers import launch_here
from service.training.registry import Registry

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Turn:
    """What one step brought: each None where there was none."""

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
        launch: Launch = launch_here,
        *,
        can_retrain: bool = True,
        makes_reports: bool = True,
    ) -> None:
        self._house = house
        self._registry = registry
        self._cycle = Cycle(house)
        self._confirmations = Confirmations(house)
        self._retrainer = Retrainer(house, registry, launch)
        self._can_retrain = can_retrain
        self._makes_reports = makes_reports
        self.reports = Reports()

    def step(self, model: str) -> Turn:
        """Evaluate a model, and do at once what was decided."""
        left = self.finish(model)
        if left is not None:
            return Turn(retraining=left)
        turn = self.decide(model)
        return replace(turn, retraining=self.finish(model)) if turn.opened else turn

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
        """Run the model's unfinished retraining, also one that a crash left behind; None if there is none."""
        policy = self._house.policies.policy(model)
        left = next((r for r in self._house.ledger.retrainings(model) if not r.is_finished), None)
        return None if policy is None or left is None else self._retrainer.run(policy, left)
