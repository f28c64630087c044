"""Silences and freezes as people see them: those of the policy file beside those that somebody ordered."""

from dataclasses import dataclass
from datetime import datetime

from service.house import House
from service.orders.orders import FREEZE, SILENCE, Order, Orders

ACTIVE, PLANNED, EXPIRED, ENDED = STATES = ("active", "planned", "expired", "ended")


@dataclass(frozen=True)
class OrderShown:
    """One of them. `origin` is policy (the file: no id, nothing to end here) or order; `state` one of `STATES`."""

    id: str | None
    origin: str
    state: str
    who: str
    why: str
    since: datetime | None
    until: datetime
    segment: str | None = None
    column: str | None = None
    at: datetime | None = None
    ended_at: datetime | None = None
    ended_by: str = ""
    ended_why: str = ""


def silences_of(house: House, model: str) -> list[OrderShown]:
    """All silences of a model: those that count now first, then by their end, the latest first."""
    now, policy = house.clock(), house.policies.policy(model)
    written = [
        OrderShown(
            None, "policy", _state(None, each.until, now), each.who, each.reason, None, each.until, each.segment,
            each.column,
        )
        for each in (policy.silences if policy else ())
    ]  # fmt: skip
    return _sorted([*written, *_ordered(house, model, SILENCE, now)])


def freezes_of(house: House, model: str) -> list[OrderShown]:
    """All freezes in the same order; the policy file says neither who nor why, so its owner stands for who."""
    now, policy = house.clock(), house.policies.policy(model)
    owner = (policy.owner if policy else None) or ""
    written = [
        OrderShown(
            None, "policy", _state(each.start, each.end, now), owner, "in retrain.freeze", each.start, each.end
        )
        for each in (policy.retrain.freeze if policy else ())
    ]  # fmt: skip
    return _sorted([*written, *_ordered(house, model, FREEZE, now)])


def standing_orders(house: House, model: str) -> dict[str, list[OrderShown]]:
    """Silences and freezes that count now or are planned, by what they are."""
    found = {SILENCE: silences_of(house, model), FREEZE: freezes_of(house, model)}
    return {kind: [each for each in orders if each.state in {ACTIVE, PLANNED}] for kind, orders in found.items()}


def _ordered(house: House, model: str, kind: str, now: datetime) -> list[OrderShown]:
    return [_shown(order, now) for order in Orders(house.store, model).all(kind)]


def _shown(order: Order, now: datetime) -> OrderShown:
    state = ENDED if order.ended_at else _state(order.since, order.until, now)
    return OrderShown(
        order.id, "order", state, order.who, order.why, order.since, order.until, order.segment, order.column, order.at,
        order.ended_at, order.ended_by, order.ended_why,
    )  # fmt: skip


def _state(since: datetime | None, until: datetime, now: datetime) -> str:
    if now >= until:
        return EXPIRED
    return PLANNED if since is not None and now < since else ACTIVE


def _sorted(found: list[OrderShown]) -> list[OrderShown]:
    newest_end_first = sorted(found, key=lambda each: each.until, reverse=True)
    return sorted(newest_end_first, key=lambda each: STATES.index(each.state))
