"""Batches set aside: accepted, and not to be counted as they are. They stay until a person replays or discards them.

Their rows take room in the log's bound as long as they are aside, so that they cannot fill the store; none is dropped
to make room for others.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import msgspec
import pyarrow as pa

from service.errors import ServiceError
from service.intake.log.entries import LABELS, PREDICTIONS, Entry
from service.storage import keys
from service.storage.ownership import Write
from service.storage.store import Store

RECOUNT = "c"
"""Kind of an entry whose rows are predictions that others have read: they are only missing in the profiles."""
KINDS = {PREDICTIONS: "predictions", RECOUNT: "predictions", LABELS: "labels"}

_MOST_ROWS = 1 << 40
_REASON_CHARACTERS = 500
_DISCARDED_KEPT = 1000


class NotAside(ServiceError):
    """No batch of this id is aside."""

    def __init__(self, identity: str) -> None:
        super().__init__(
            f"no batch {identity[:80]!r} is aside: it was replayed or discarded, or never was; "
            "`tidegate aside list` has those that are"
        )


class _Known(msgspec.Struct, frozen=True):
    kind: str
    model: str
    rows: int
    reason: str
    at: datetime
    bytes: int
    is_deadly: bool = False


@dataclass(frozen=True)
class Aside:
    """One batch: `id` is its partition and log id, `at` when it was set aside, `bytes` how many its rows take.

    `is_recount`: its rows are in the archive and known to labels, and only missing in the profiles. `is_deadly`:
    counting it ended processes; nothing else of it was read.
    """

    id: str
    model: str
    kind: str
    rows: int
    bytes: int
    reason: str
    at: datetime
    is_recount: bool
    is_deadly: bool


@dataclass(frozen=True)
class Discarded:
    """A batch that a person threw away."""

    id: str
    model: str
    kind: str
    rows: int
    reason: str
    who: str
    why: str
    at: datetime


def put(slot: str, entry: Entry, reason: str, now: datetime, *, is_read: bool = False) -> list[Write]:
    """The writes of a commit that set an entry aside. `is_read`: others can read it, and it only does not count."""
    kind = RECOUNT if is_read else entry.kind
    return _writes(slot, entry, _known(entry, kind, reason, now))


def put_deadly(slot: str, entry: Entry, reason: str, now: datetime) -> list[Write]:
    """The same for one that must not be read by anybody: it leaves the log."""
    known = msgspec.structs.replace(_known(entry, entry.kind, reason, now), is_deadly=True)
    return [*_writes(slot, entry, known), Write("XDEL", keys.log(slot), (entry.id,))]


def to_count(entry: Entry) -> Entry:
    """The entry as what its rows are."""
    return replace(entry, kind=PREDICTIONS) if entry.kind == RECOUNT else entry


def list_all(store: Store, partitions: int) -> list[Aside]:
    """All batches that are aside, the newest first; one round trip."""
    slots = [keys.slot(number) for number in range(partitions)]
    answers = store.do_all([("HGETALL", keys.aside(slot)) for slot in slots])
    found = [
        _aside(slot, identity, known)
        for slot, answer in zip(slots, answers, strict=True)
        for identity, known in zip(answer[::2], answer[1::2], strict=True)
    ]
    return sorted(found, key=lambda each: (each.at, each.id), reverse=True)


def list_discarded(store: Store, partitions: int, newest: int) -> list[Discarded]:
    """What was thrown away, the newest first."""
    answers = store.do_all(
        [("LRANGE", keys.discarded(keys.slot(number)), 0, newest - 1) for number in range(partitions)]
    )
    found = [msgspec.json.decode(record, type=Discarded) for answer in answers for record in answer]
    return sorted(found, key=lambda each: each.at, reverse=True)[:newest]


def find(store: Store, partitions: int, identity: str) -> Aside:
    """One of them. Raises NotAside."""
    slot, log_id = _parts(identity, partitions)
    return _aside(slot, log_id.encode(), _packed(store, slot, log_id, identity))


def rows_of(store: Store, aside: Aside) -> pa.Table:
    """Its rows. Raises UnreadableEntry, and NotAside where it has just been taken away."""
    slot, _, log_id = aside.id.partition("-")
    body = store.do("GET", keys.aside_body(slot, log_id))
    if body is None:
        raise NotAside(aside.id)
    kind = LABELS if aside.kind == KINDS[LABELS] else PREDICTIONS
    return Entry(log_id, kind, aside.model, aside.rows, 0, {}, body).table()


def replay(store: Store, partitions: int, identity: str, now: datetime) -> str:
    """Put a batch back into its log, once; gives its new id there. What is wrong with it still sets it aside again.

    Raises:
        NotAside: it was replayed or discarded before.
        StoreFull, StoreAway, NotDurable: as for an append; after StoreAway look whether it is still aside.
    """
    slot, log_id = _parts(identity, partitions)
    packed = _packed(store, slot, log_id, identity)
    known = msgspec.json.decode(packed, type=_Known)
    moment = int(now.timestamp() * 1_000_000)
    new = store.run_durably(
        "replay",
        [keys.state(slot), keys.log(slot), keys.aside(slot), keys.aside_body(slot, log_id)],
        [log_id, packed, known.kind, known.model, known.rows, -known.rows, moment],
    )
    if not new:
        raise NotAside(identity)
    return f"{slot}-{new.decode()}"


def discard(store: Store, partitions: int, identity: str, who: str, why: str, now: datetime) -> Discarded:
    """Throw a batch away: the only way in which accepted rows are lost, so it is remembered who did it and why.

    Raises:
        NotAside: it was replayed or discarded before.
    """
    slot, log_id = _parts(identity, partitions)
    packed = _packed(store, slot, log_id, identity)
    aside = _aside(slot, log_id.encode(), packed)
    record = Discarded(identity, aside.model, aside.kind, aside.rows, aside.reason, who, why, now)
    done = store.run_durably(
        "discard",
        [keys.state(slot), keys.aside(slot), keys.aside_body(slot, log_id), keys.discarded(slot)],
        [log_id, packed, -aside.rows, msgspec.json.encode(record), _DISCARDED_KEPT],
    )
    if not done:
        raise NotAside(identity)
    return record


def sample(table: pa.Table, rows: int) -> list[dict[str, object]]:
    """The first rows, without what they do not have."""
    return [{k: v for k, v in row.items() if v is not None} for row in table.slice(0, rows).to_pylist()]


def _known(entry: Entry, kind: str, reason: str, now: datetime) -> _Known:
    # A damaged entry may say anything of its rows.
    rows = min(max(entry.rows, 0), _MOST_ROWS)
    return _Known(kind, entry.model, rows, reason[:_REASON_CHARACTERS], now.astimezone(UTC), len(entry.body))


def _writes(slot: str, entry: Entry, known: _Known) -> list[Write]:
    return [
        Write("HSET", keys.aside(slot), (entry.id, msgspec.json.encode(known))),
        Write("SET", keys.aside_body(slot, entry.id), (entry.body,)),
        Write("HINCRBY", keys.state(slot), ("aside_rows", known.rows)),
    ]


def _aside(slot: str, log_id: bytes, packed: bytes) -> Aside:
    known = msgspec.json.decode(packed, type=_Known)
    return Aside(
        id=f"{slot}-{log_id.decode()}",
        model=known.model,
        kind=KINDS.get(known.kind, "unknown"),
        rows=known.rows,
        bytes=known.bytes,
        reason=known.reason,
        at=known.at,
        is_recount=known.kind == RECOUNT,
        is_deadly=known.is_deadly,
    )


def _packed(store: Store, slot: str, log_id: str, identity: str) -> bytes:
    packed: bytes | None = store.do("HGET", keys.aside(slot), log_id)
    if packed is None:
        raise NotAside(identity)
    return packed


def _parts(identity: str, partitions: int) -> tuple[str, str]:
    slot, _, log_id = identity.partition("-")
    known: Sequence[str] = [keys.slot(number) for number in range(partitions)]
    if slot not in known or not log_id:
        raise NotAside(identity)
    return slot, log_id
