"""Requests and responses of one exchange, which come as two events in any order and to any replica, put together.

The half that comes first waits in the store, in the slot in which the exchange's rows will be appended. It stays there
until they are durable: whatever dies, an event that was answered is counted once its other half comes, and once only,
because the event's id is the rows' idempotency key.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import msgspec

from service.conventions.cloudevents import Event
from service.conventions.exchanges import Exchange
from service.intake.log.entries import PREDICTIONS
from service.intake.log.ingest import hash_body
from service.intake.log.log import Log
from service.intake.log.posts import scope_of
from service.storage import keys

# What becomes of an event, the labels of `tidegate_kserve_events_total`.
OUTCOMES = ("waiting", "counted", "refused", "duplicate", "conflict", "unpaired", "unknown_model")
_DIGEST = 32


class _Kept(msgspec.Struct, array_like=True):
    at: str | None
    tags: dict[str, str]
    data: bytes


@dataclass(frozen=True)
class Offered:
    """What the store says of an event: `waiting`, `duplicate`, `conflict`, or `pair` with the whole exchange.

    `key` is the idempotency key of the exchange's rows; `digests` are those of both bodies, the request's first.
    """

    outcome: str
    key: str
    exchange: Exchange | None = None
    digests: str = ""


class Pairs:
    """The halves that wait. Each waits `patience` at most, and all together hold `most_bytes`: the oldest give way."""

    def __init__(self, partition_log: Log, patience: timedelta, most_bytes: int) -> None:
        self._log = partition_log
        self._patience_seconds = patience.total_seconds()
        self._most_bytes = most_bytes // partition_log.partitions

    def offer(self, event: Event, now: datetime) -> Offered:
        """Keep a half durably, or give its exchange where the other half is there.

        Raises:
            StoreAway, StoreFull, NotDurable: it is not kept; sending it again is safe.
        """
        key, scope, slot = self._place(event)
        digest = hash_body(event.data)[:_DIGEST]
        outcome, held = self._log.store.run_durably(
            "pair",
            [*_keys(slot, scope), keys.trace(slot, scope)],
            [
                scope,
                "q" if event.half == "request" else "a",
                digest,
                event.model,
                msgspec.msgpack.encode(_Kept(event.at, event.tags, event.data)),
                now.timestamp(),
                self._patience_seconds,
                self._most_bytes,
            ],
        )
        if outcome != b"pair":
            return Offered(outcome.decode(), key)
        return _join(event, digest, bytes(held), key)

    def settle(self, event: Event, offered: Offered, outcome: str, reason: str = "") -> None:
        """Let go of the half that was held; `reason` is that of an exchange that gave no rows.

        For as long as a half waits it is remembered what both said, to tell a late copy from another exchange.
        """
        _, scope, slot = self._place(event)
        counter = f"rejected:{event.model}:{reason}" if reason else ""
        seconds = max(1, int(self._patience_seconds))
        self._log.store.run("settle", _keys(slot, scope), [scope, outcome, counter, offered.digests, seconds])

    def count(self, outcome: str) -> None:
        """Count an event that is no half of an exchange with a model that is here."""
        self._log.store.do("HINCRBY", keys.refused(keys.slot(0)), f"kserve:{outcome}", 1)

    def _place(self, event: Event) -> tuple[str, str, str]:
        """The exchange's idempotency key, its scope, and the slot in which its rows will be appended."""
        key = f"ce-id {event.id}"
        scope = scope_of(PREDICTIONS, event.model, key)
        return key, scope, keys.slot(int(scope[:8], 16) % self._log.partitions)


def _keys(slot: str, scope: str) -> list[str]:
    return [keys.halves(slot), keys.half_ages(slot), keys.refused(slot), keys.paired(slot, scope)]


def _join(event: Event, digest: str, held: bytes, key: str) -> Offered:
    head, _, content = held.partition(b"\n")
    kept, other = msgspec.msgpack.decode(content, type=_Kept), head[1 : 1 + _DIGEST].decode()
    ours: dict[str, Any] = {"at": event.at, "tags": event.tags, "data": event.data}
    theirs: dict[str, Any] = {"at": kept.at, "tags": kept.tags, "data": kept.data}
    request, response = (ours, theirs) if event.half == "request" else (theirs, ours)
    digests = digest + other if event.half == "request" else other + digest
    exchange = Exchange(
        event.id, request["data"], response["data"], request["at"], {**response["tags"], **request["tags"]}
    )
    return Offered("pair", key, exchange, digests)
