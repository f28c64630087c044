"""Posting: how far the order of an outside trainer has come to its receiver, kept in the store."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

import msgspec

from service.launching.port import Order
from service.storage import keys
from service.storage.store import Store


@dataclass(frozen=True)
class Posting:
    """`state` says whether the receiver has taken or refused the order of this `digest`, in `words`. While it has done
    neither it is tried again at `due_at`.
    """

    state: Literal["waiting", "taken", "refused"] = "waiting"
    digest: str = ""
    tries: int = 0
    due_at: datetime | None = None
    words: str = ""


class Postings:
    """The postings of all orders."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def of(self, order: Order) -> Posting:
        """How it goes; an empty one before the first try."""
        found = self._store.do("GET", self._key(order))
        return msgspec.json.decode(found, type=Posting) if found else Posting()

    def keep(self, order: Order, posting: Posting) -> None:
        """How it goes from now on."""
        self._store.do("SET", self._key(order), msgspec.json.encode(posting), "EX", keys.OUTSIDE_SECONDS)

    def _key(self, order: Order) -> str:
        return keys.outside(order.model, order.name, "posting")
