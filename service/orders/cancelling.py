"""Cancelling: a person's word that ends a retraining before its release, wherever it runs."""

from contextlib import suppress
from datetime import datetime

from service.errors import ServiceError, StoreError
from service.ledger.ledger import Ledger
from service.ledger.records import Request


class RetrainingCancelled(ServiceError):
    """A person cancelled the retraining."""

    def __init__(self, asked: Request) -> None:
        super().__init__(f"cancelled by {asked.who}: {asked.why}")


def ask_to_cancel(ledger: Ledger, model: str, retraining_id: str, who: str, why: str, now: datetime) -> None:
    """Leave word for whoever runs the retraining."""
    ledger.put_request(model, Request(_verb(retraining_id), who, why, now))


def heed(ledger: Ledger, model: str, retraining_id: str) -> None:
    """Raises RetrainingCancelled where somebody wants that. A store that is away cancels nothing."""
    with suppress(StoreError):
        asked = ledger.request(model, _verb(retraining_id))
        if asked is not None:
            raise RetrainingCancelled(asked)


def forget(ledger: Ledger, model: str, retraining_id: str) -> None:
    """The retraining has ended: the word has been heeded, or came too late."""
    ledger.drop_request(model, _verb(retraining_id))


def _verb(retraining_id: str) -> str:
    return f"cancel {retraining_id}"
