"""Jobs: what runs when, on APScheduler. The leader alone evaluates and retrains; every process reads the policies."""

import logging
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from threading import Lock
from time import perf_counter

from apscheduler.schedulers.background import BackgroundScheduler

from service.deciding.loop import Loop
from service.errors import ServiceError, StaleOwner
from service.failures.looking import look_if_due
from service.forgetting import forget_copies
from service.house import House
from service.intake.archive.compaction import Compaction
from service.notices.announcing import announce
from service.notices.delivery import Delivery
from service.registries.registering import Registering
from service.storage.ownership import Ownership
from service.web.snapshot import NO_EVALUATIONS, Durations

_log = logging.getLogger(__name__)
RELOAD_SECONDS = 2.0
RETRAINING_LOOK_SECONDS = 2.0
TIDY_SECONDS = 60.0
FAILURES_SECONDS = 30.0
DELIVERY_SECONDS = 2.0
REGISTERING_SECONDS = 30.0
_STEPS_A_TIDY = 20


class Jobs:
    """The schedule of one process; without a loop it only reads policies. `rest` is called when it stops leading."""

    def __init__(self, house: House, loop: Loop | None, rest: Callable[[], None] = lambda: None) -> None:
        self._house = house
        self._loop = loop
        self._rest = rest
        settings = house.settings
        self._lease = Ownership(house.store, "leader", uuid.uuid4().hex, lease=settings.lease, alone=not settings.store)
        self._evaluations = NO_EVALUATIONS
        self._scheduled: dict[str, timedelta] = {}
        self._lock = Lock()
        self._is_stopping = False
        self._delivery = Delivery(house, goes_on=lambda: self.is_leader and not self._is_stopping)
        self._problems: dict[str, str] = {}
        self._heard: dict[str, datetime] = {}
        self._compaction = Compaction(
            house.store,
            settings.partitions,
            house.archive_files,
            most_rows=settings.compact_rows,
            keep=settings.keep_rows,
            goes_on=lambda: not self._is_stopping,
        )
        # In memory, under our own lease: a stored job list fires twice when two schedulers share it.
        self._scheduler = BackgroundScheduler(
            timezone="UTC", job_defaults={"coalesce": True, "misfire_grace_time": None, "max_instances": 1}
        )

    @property
    def is_leader(self) -> bool:
        return self._lease.is_held

    def evaluations(self) -> Durations:
        """How long this process's evaluations took."""
        return self._evaluations

    def start(self) -> None:
        """Begin: read the policies now, then on schedule."""
        self._guarded(self._read_policies)()
        self._scheduler.start()
        self._every("policies", self._read_policies, RELOAD_SECONDS)
        if self._loop is not None:
            self._guarded(self._lead)()
            self._every("lead", self._lead, self._house.settings.lease.total_seconds() / 3)
            self._every("tidy", self._tidy, TIDY_SECONDS)
            self._every("failures", self._look_at_failures, FAILURES_SECONDS)
            self._every("notices", self._deliver, DELIVERY_SECONDS)
            if self._house.settings.mlflow:
                self._every("mlflow", self._register, REGISTERING_SECONDS)

    def stop(self) -> None:
        """End: nothing new starts, and what runs is waited for; leadership is given up."""
        self._is_stopping = True
        self._scheduler.shutdown(wait=True)
        if self.is_leader:
            self._rest()
        try:
            self._lease.release()
        except ServiceError as error:
            _log.warning("leadership was not given up: %s", error)

    def _read_policies(self) -> None:
        changed = self._house.policies.reload()
        for model in self._house.policies.states():
            if model in changed or model not in self._scheduled:
                self._house.ledger.add_model(model)
        if self._loop is not None:
            self._reschedule()
            self._tell_problems()

    def _reschedule(self) -> None:
        states = self._house.policies.states()
        for model in set(self._scheduled) - set(states):
            del self._scheduled[model]
            self._scheduler.remove_job(f"evaluate {model}")
            self._scheduler.remove_job(f"retrain {model}")
        for model, state in states.items():
            if self._scheduled.get(model) != state.policy.evaluate:
                self._scheduled[model] = state.policy.evaluate
                seconds = state.policy.evaluate.total_seconds()
                self._every(f"evaluate {model}", partial(self._evaluate, model), seconds)
                self._every(f"retrain {model}", partial(self._retrain, model), RETRAINING_LOOK_SECONDS)

    def _every(self, name: str, job: Callable[[], object], seconds: float) -> None:
        guarded = self._guarded(job)
        self._scheduler.add_job(guarded, "interval", seconds=seconds, id=name, name=name, replace_existing=True)

    def _lead(self) -> None:
        try:
            if self._lease.is_held:
                self._lease.renew()
            elif self._lease.claim():
                _log.info("this process leads: it evaluates and retrains")
        except StaleOwner:
            _log.warning("leadership was taken over by another process")

    def _evaluate(self, model: str) -> None:
        if self._loop is None or not self.is_leader:
            return
        started = perf_counter()
        turn = self._loop.decide(model)
        with self._lock:
            self._evaluations = self._evaluations.observe(perf_counter() - started)
        if turn.decision:
            _log.info("%s: %s (%s)", model, turn.decision.action, turn.decision.id)
        if turn.rollback:
            _log.warning("%s: rolled back to %s: %s", model, turn.rollback.version, turn.rollback.reason)
        announce(self._house, model)

    def _retrain(self, model: str) -> None:
        if self._loop is None or not self.is_leader:
            return
        self._hear(model)
        seen = self._loop.finish(model)
        if seen is not None and seen.is_finished:
            announce(self._house, model)
            _log.info("%s: retraining %s %s: %s", model, seen.id, seen.state, seen.note)

    def _hear(self, model: str) -> None:
        """Who asks for a retraining, or agrees to one, is heard now, and not at the next evaluation."""
        wishes = [self._house.ledger.request(model, verb) for verb in ("retrain", "approve")]
        newest = max((wish.at for wish in wishes if wish is not None), default=None)
        if newest is not None and newest != self._heard.get(model):
            self._heard[model] = newest
            self._scheduler.modify_job(f"evaluate {model}", next_run_time=datetime.now(UTC))

    def _tell_problems(self) -> None:
        """Whoever edited a policy badly hears of it now, and not at the next evaluation."""
        problems = {model: state.problem for model, state in self._house.policies.states().items()}
        for model, problem in problems.items():
            if self.is_leader and problem != self._problems.get(model, ""):
                announce(self._house, model)
                self._problems[model] = problem

    def _register(self) -> None:
        """Bring MLflow in step, apart from everything that releases: it may be slow or away."""
        if self.is_leader:
            Registering(self._house, goes_on=lambda: self.is_leader and not self._is_stopping).step()

    def _deliver(self) -> None:
        if self.is_leader:
            self._delivery.step()

    def _tidy(self) -> None:
        """Put small files of the archive together and take old ones away, a part at a time: a stop is not held up."""
        settings, now = self._house.settings, self._house.clock()
        forget_copies(settings.data_dir, now - settings.keep_rows)
        for _ in range(_STEPS_A_TIDY):
            if not self.is_leader or self._is_stopping:
                return
            gone = self._compaction.step(self._house.clock())
            if not gone:
                return
            _log.info("%s files of the archive were put together or have had their time", gone)

    def _look_at_failures(self) -> None:
        """Sort the newest errors of every model where enough of them are new; one model's trouble is not another's."""
        for state in list(self._house.policies.states().values()):
            if self.is_leader and not self._is_stopping:
                self._guarded(partial(look_if_due, self._house, state.policy))()

    def _guarded(self, job: Callable[[], object]) -> Callable[[], None]:
        def run() -> None:
            try:
                job()
            except ServiceError as error:
                _log.warning("%s", error)
            except Exception:  # noqa: BLE001  one bad turn must not end the schedule; it is logged whole
                _log.exception("a job failed; it runs again at its next time")

        return run
