"""The partition log: accepted batches in the order of their arrival, appended once for each idempotency key."""

import hashlib
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

import msgspec
import pyarrow as pa

from service.errors import Backlogged, BadSetting, KeyConflict
from service.intake import columns
from service.intake.entries import Entry, entry_of
from service.storage import keys
from service.storage.store import Store

_RETRY_AFTER_SECONDS = 5


@dataclass(frozen=True)
class Stretch:
    """A run of entries as they were at one moment, with what was archived then.

    `has_more`: the run was cut at the limit. `files`: records of archive files beyond those already known.
    """

    entries: tuple[Entry, ...]
    has_more: bool
    archived: str
    files: tuple[bytes, ...]


class Log:
    """All partitions of the log. A body goes whole to the partition its idempotency key hashes to.

    `most_rows` bounds the rows held over all partitions until they are folded, joined and archived. The number of
    partitions is written down in the store by the first log on it.

    Raises:
        BadSetting: the store was begun with another number of partitions; rows in the others would be forgotten.
        StoreAway: the store does not answer.
    """

    def __init__(
        self,
        store: Store,
        partitions: int,
        *,
        most_rows: int = 1_000_000,
        idempotency: timedelta = timedelta(days=1),
    ) -> None:
        self.store = store
        self.partitions = partitions
        self._most_rows = max(1, most_rows // partitions)
        self._idempotency_seconds = max(1, int(idempotency.total_seconds()))
        _, first = store.do_all([("SETNX", keys.PARTITIONS, partitions), ("GET", keys.PARTITIONS)])
        if int(first) != partitions:
            raise BadSetting(
                "TIDEGATE_PARTITIONS", str(partitions), f"this store holds rows in {int(first)} partitions"
            )

    def append(
        self,
        kind: str,
        model: str,
        table: pa.Table,
        *,
        key: str | None,
        body_hash: str,
        answer: bytes,
        rejected: Mapping[str, int],
        now: datetime,
    ) -> bytes:
        """The answer for the sender, once the batch is durable: `answer`, or the one given to this key before.

        Raises:
            KeyConflict: the key was used for another body of this kind and model.
            Backlogged: the partition holds as many rows as it may.
            NotDurable: written, but not confirmed by enough replicas; sending it again with its key is safe.
            StoreAway, StoreFull: not written, or (StoreAway) perhaps written; sending it again with its key is safe.
        """
        scope = scope_of(kind, model, key or uuid.uuid4().hex)
        slot = keys.slot(int(scope[:8], 16) % self.partitions)
        entry = {
            "k": kind,
            "m": model,
            "n": table.num_rows,
            "t": int(now.timestamp() * 1_000_000),
            "r": msgspec.json.encode(rejected),
            "b": columns.pack(table),
        }
        outcome, word = self.store.run_durably(
            "append",
            [keys.state(slot), keys.log(slot), keys.trace(slot, scope)],
            [
                body_hash if key else "",
                table.num_rows,
                self._most_rows,
                self._idempotency_seconds,
                answer,
                *(part for pair in entry.items() for part in pair),
            ],
        )
        if outcome == b"conflict":
            raise KeyConflict(key or "")
        if outcome == b"full":
            raise Backlogged(int(word), self._most_rows, _RETRY_AFTER_SECONDS)
        return bytes(word)

    def read(
        self, partition: int, after: str, *, rows: int = 50_000, most_bytes: int = 32 << 20, files_known: int = 0
    ) -> Stretch:
        """Entries after a position until about `rows` rows or `most_bytes` bytes are reached, at least one."""
        slot = keys.slot(partition)
        found, more, archived, files = self.store.run(
            "read", [keys.log(slot), keys.state(slot), keys.files(slot)], [after, rows, most_bytes, files_known]
        )
        entries = tuple(entry_of(identity, fields) for identity, fields in found)
        return Stretch(entries, bool(more), archived.decode(), tuple(files))


def scope_of(kind: str, model: str, key: str) -> str:
    """What an idempotency key is unique within, as 32 hexadecimal digits."""
    return hashlib.blake2b(f"{kind}\n{model}\n{key}".encode(), digest_size=16).hexdigest()
