"""Orders of people besides the policy file: silences and freezes, with who and why; they expire by themselves.

One that is over stays in the list for whoever asks later; that it was given and ended is in the ledger too.
"""

import secrets
from dataclasses import dataclass, replace
from datetime import datetime

import msgspec

from policies.decision import Freeze
from policies.file.policy import Period, Silence
from service.errors import ServiceError
from service.storage import keys
from service.storage.store import Store

SILENCE, FREEZE = "silence", "freeze"
MOST_OVER = 1000
"""Orders of a model that are over and still listed; of older ones the ledger knows."""


class NoSuchOrder(ServiceError):
    """No order of this id was given for the model."""

    def __init__(self, model: str, kind: str, identity: str) -> None:
        super().__init__(f"{model} has no {kind} {identity[:80]!r}: `tidegate {kind}s {model}` lists them")


class OrderOver(ServiceError):
    """The order has expired, or somebody ended it before."""

    def __init__(self, order: "Order") -> None:
        how = f"was ended by {order.ended_by}" if order.ended_by else "expired"
        over_at = order.ended_at or order.until
        super().__init__(f"the {order.kind} {order.id} {how} at {over_at.isoformat()}: there is nothing to end")


@dataclass(frozen=True)
class Order:
    """One silence or freeze, given at `at`, from `since` until `until` or `ended_at`, whichever comes first."""

    id: str
    kind: str
    who: str
    why: str
    at: datetime
    since: datetime
    until: datetime
    segment: str | None = None
    column: str | None = None
    ended_at: datetime | None = None
    ended_by: str = ""
    ended_why: str = ""

    def is_over(self, now: datetime) -> bool:
        return self.ended_at is not None or now >= self.until

    def is_active(self, now: datetime) -> bool:
        return self.since <= now and not self.is_over(now)

    def as_silence(self) -> Silence:
        """What the policy file would say. The pair of names must be one that `Silence` takes."""
        return Silence(self.until, self.why, self.who, self.segment, self.column)

    def as_freeze(self) -> Freeze:
        return Freeze(Period(self.since, self.until), self.who, self.why)


class Orders:
    """The orders for one model, in the store; any process may read and write them."""

    def __init__(self, store: Store, model: str) -> None:
        self._store = store
        self._key = keys.orders(model)

    def all(self, kind: str = "") -> list[Order]:
        """Those of a kind, or both kinds, newest first; over or not."""
        found = (msgspec.json.decode(each, type=Order) for each in self._store.do("HVALS", self._key))
        return sorted(
            (order for order in found if kind in {"", order.kind}), key=lambda each: (each.at, each.id), reverse=True
        )

    def standing(self, now: datetime) -> list[Order]:
        """Those of both kinds that are not over, the oldest first."""
        return [order for order in self.all()[::-1] if not order.is_over(now)]

    def give(self, order: Order) -> Order:
        """Keep a new order. What is over gives way, beyond `MOST_OVER`."""
        self._put(order)
        over = [each.id for each in self.all() if each.is_over(order.at)]
        if over[MOST_OVER:]:
            self._store.do("HDEL", self._key, *over[MOST_OVER:])
        return order

    def end(self, order: Order, who: str, why: str, now: datetime) -> Order:
        """The order, ended before its time. Raises OrderOver."""
        if order.is_over(now):
            raise OrderOver(order)
        ended = replace(order, ended_at=now, ended_by=who, ended_why=why)
        self._put(ended)
        return ended

    def _put(self, order: Order) -> None:
        self._store.do("HSET", self._key, order.id, msgspec.json.encode(order))


def find_order(store: Store, model: str, kind: str, identity: str) -> Order:
    """One order of a model. Raises NoSuchOrder."""
    found = next((order for order in Orders(store, model).all(kind) if order.id == identity), None)
    if found is None:
        raise NoSuchOrder(model, kind, identity)
    return found


def new_id(kind: str) -> str:
    """A name for an order: `s-` or `f-` and eight random digits."""
    return f"{kind[0]}-{secrets.token_hex(4)}"
