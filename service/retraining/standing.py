"""Where a retraining stands: its record as this process read or saved it last, and its folder."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import msgspec

from policies.file.trainers import TRAINERS, Trainer
from service.house import House
from service.launching.port import Order
from service.ledger.records import Placed, Retraining
from service.orders.cancelling import forget, heed
from service.retraining.folder import Folder, find_folder


class Standing:
    """One retraining in one process. Every save raises RetrainingMoved where another process has brought it further."""

    def __init__(self, house: House, record: Retraining) -> None:
        self.house = house
        self.record = record

    def save(self, *, counted: Iterable[str] = (), **changes: Any) -> None:  # noqa: ANN401  fields of the record
        """The record with these changes, and what is counted with them."""
        self.record = self.house.ledger.save_retraining(replace(self.record, **changes), counted)

    def finish(self, state: str, note: str, **changes: Any) -> None:  # noqa: ANN401  fields of the record
        """Its end, which is final."""
        self.save(state=state, note=note, finished_at=self.house.clock(), **changes)
        forget(self.house.ledger, self.record.model, self.record.id)

    def note(self, text: str) -> None:
        """What a person should know of why it waits."""
        if text != self.record.note:
            self.save(note=text)

    def heed(self) -> None:
        """Raises RetrainingCancelled where a person wants that."""
        heed(self.house.ledger, self.record.model, self.record.id)

    @property
    def folder(self) -> Folder:
        """Its files. Raises FilesGone, ArchiveAway."""
        return find_folder(self.house, self.record)

    @property
    def placed(self) -> Placed:
        """The order of its state; every state after `requested` has one."""
        assert self.record.order is not None  # noqa: S101  the course places it before it leaves that state
        return self.record.order

    @property
    def order(self) -> Order:
        """The same as its launcher is asked. Raises FilesGone, ArchiveAway."""
        known, placed, folder = self.record, self.placed, self.folder
        return Order(
            name=placed.name,
            retraining=known.id,
            model=known.model,
            version=known.version,
            folder=folder.training if placed.name == known.id else folder.teaching,
            trainer=trainer_of(placed),
            digest=placed.digest,
            deadline=placed.deadline,
        )


def place(name: str, digest: str, trainer: Trainer, standing: Standing) -> Placed:
    """An order as the record keeps it: its trainer stays the one it was placed with, whatever becomes of the policy."""
    plain = {"kind": trainer.kind, **msgspec.to_builtins(trainer)}
    return Placed(name, digest, plain, standing.house.clock() + trainer.timeout)


def trainer_of(placed: Placed) -> Trainer:
    """The trainer that an order was placed with."""
    return msgspec.convert(placed.trainer, type=TRAINERS[placed.trainer["kind"]])
