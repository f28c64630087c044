"""The composition root: every part of a running service, put together in one place."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime

from service.errors import DataDirInUse
from service.intake.archive import Archive
from service.intake.archiving import Roll
from service.intake.cells import Cells
from service.intake.ingest import Ingest
from service.intake.labels import Joiner
from service.intake.log import Log
from service.intake.worker import Worker
from service.ledger import Ledger
from service.policy_files import PolicyFolder
from service.settings import Settings
from service.storage.embedded import Embedded
from service.storage.store import Store

Clock = Callable[[], datetime]


@dataclass(frozen=True)
class House:
    """The parts. `clock` gives the time by which everything is decided; a replay's follows its file."""

    settings: Settings
    store: Store
    log: Log
    ledger: Ledger
    ingest: Ingest
    archive: Archive
    cells: Cells
    policies: PolicyFolder
    clock: Clock


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
    """
    with ExitStack() as closing:
        store = closing.enter_context(open_store(settings, beside=beside))
        log = Log(store, settings.partitions, most_rows=settings.backlog_rows, idempotency=settings.idempotency)
        ledger = Ledger(store)
        archive = Archive(log, settings.archive_dir)
        closing.callback(archive.close)
        policies = PolicyFolder(settings.policies)
        policies.reload()
        yield House(
            settings=settings,
            store=store,
            log=log,
            ledger=ledger,
            ingest=Ingest(log, lambda model: ledger.champion(model) or None),
            archive=archive,
            cells=Cells(store, settings.partitions),
            policies=policies,
            clock=clock,
        )


def worker_of(house: House) -> Worker:
    """A worker on the house's log."""
    settings = house.settings
    return Worker(
        house.log,
        house.ledger.baseline,
        settings.archive_dir,
        house.clock,
        roll=Roll(settings.archive_rows, settings.archive_age),
        lease=settings.lease,
        alone=not settings.store,
    )


def joiner_of(house: House) -> Joiner:
    """A joiner of labels on the house's log."""
    settings = house.settings
    return Joiner(
        house.log,
        house.archive,
        house.ledger.baseline,
        horizon=settings.label_horizon,
        lease=settings.lease,
        alone=not settings.store,
    )
