"""The composition root: every part of a running service, put together in one place."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime

from service.errors import DataDirInUse
from service.intake.archive.archive import Archive
from service.intake.archive.archiving import Roll
from service.intake.folding import noted
from service.intake.folding.cells import Cells
from service.intake.folding.noted import Noted
from service.intake.folding.retention import Keep
from service.intake.folding.worker import Worker
from service.intake.joining.joiner import Joiner
from service.intake.log.ingest import Ingest
from service.intake.log.log import Log
from service.ledger.ledger import Ledger
from service.policy_files import PolicyFolder
from service.settings import Settings
from service.storage.embedded import Embedded
from service.storage.files import Files
from service.storage.keeper import kept_running
from service.storage.store import Store

Clock = Callable[[], datetime]


@dataclass(frozen=True)
class House:
    """The parts. `clock` gives the time by which everything is decided; a replay's follows its file.

    `files` is where reference rows, reports and models live: the data folder, or beside a remote archive, so that
    processes on several machines share them.
    """

    settings: Settings
    store: Store
    log: Log
    ledger: Ledger
    ingest: Ingest
    files: Files
    archive_files: Files
    archive: Archive
    cells: Cells
    policies: PolicyFolder
    clock: Clock

    def noted(self, model: str) -> list[Noted]:
        """What was noted of the columns, versions and new segments of a model's rows."""
        return noted.read(self.store, self.log.partitions, [model])[model]


@contextmanager
def open_store(settings: Settings, *, beside: bool = False) -> Iterator[Store]:
    """The store that the settings name, or the embedded one, started for it; closed at the end.

    With `beside` the embedded store of a service that runs on the same folder will do.

    Raises:
        StoreError: the store cannot be started or does not answer.
    """
    with ExitStack() as closing:
        url = settings.store
        if not url:
            embedded = Embedded(settings.data_dir, settings.durability)
            url = embedded.url
            try:
                closing.enter_context(embedded)
                closing.enter_context(kept_running(embedded))
            except DataDirInUse:
                if not beside:
                    raise
        store = Store(url, settings.durability)
        closing.callback(store.close)
        store.ping()
        yield store


@contextmanager
def open_house(settings: Settings, clock: Clock, *, beside: bool = False) -> Iterator[House]:
    """A house on the store of `open_store`; closed at the end.

    Raises:
        StoreError: the store cannot be started or does not answer.
        BadSetting: the archive cannot be written.
    """
    with ExitStack() as closing:
        store = closing.enter_context(open_store(settings, beside=beside))
        log = Log(store, settings.partitions, most_rows=settings.backlog_rows, idempotency=settings.idempotency)
        ledger = Ledger(store)
        archive_files = Files(settings.archive_place)
        archive_files.check()
        archive = Archive(log, archive_files)
        closing.callback(archive.close)
        policies = PolicyFolder(settings.policies)
        policies.reload()
        yield House(
            settings=settings,
            store=store,
            log=log,
            ledger=ledger,
            ingest=Ingest(log, lambda model: ledger.champion(model) or None),
            files=Files(settings.data_dir) if archive_files.is_local else archive_files,
            archive_files=archive_files,
            archive=archive,
            cells=Cells(store, settings.partitions),
            policies=policies,
            clock=clock,
        )


def worker_of(house: House) -> Worker:
    """A worker on the house's log."""
    settings = house.settings
    alone = not settings.store
    return Worker(
        house.log,
        # Where there is no other worker, nothing waits for a newer one.
        house.ledger.baseline if alone else house.ledger.baseline_to_count,
        house.archive_files,
        house.clock,
        roll=Roll(settings.archive_rows, settings.archive_age),
        keep=keep_of(house),
        lease=settings.lease,
        alone=alone,
    )


def keep_of(house: House) -> Keep:
    """How long the house's profiles stay as they were counted."""

    def in_service(model: str, version: str, fingerprint: str) -> bool:
        ledger = house.ledger
        if ledger.baselines(model).get(version) != fingerprint:
            return False
        watch, trial = ledger.watch(model), ledger.trying(model)
        served = {ledger.champion(model), *((watch.version, watch.previous) if watch else ())}
        return version in (served | {trial.version} if trial else served)

    settings = house.settings
    return Keep(settings.keep_slices, settings.keep_profiles, in_service, house.archive_files)


def joiner_of(house: House) -> Joiner:
    """A joiner of labels on the house's log."""
    settings = house.settings

    def outcome_field(model: str) -> str:
        policy = house.policies.policy(model)
        return (policy.task.outcome or "") if policy else ""

    return Joiner(
        house.log,
        house.archive,
        house.ledger.baseline,
        outcome_field=outcome_field,
        horizon=settings.label_horizon,
        look_up_every=settings.label_lookup,
        keep=keep_of(house),
        # What is held stays in the log, a partition of which may be all that labels come to.
        held_rows=settings.backlog_rows // settings.partitions // 4,
        lease=settings.lease,
        alone=not settings.store,
    )
