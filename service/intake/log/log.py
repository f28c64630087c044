"""The partition log: accepted batches in the order of their arrival, appended once for each idempotency key."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from time import monotonic
from typing import Any

import msgspec

from service.errors import Backlogged, BadSetting, ServiceError
from service.intake import columns
from service.intake.log.entries import Entry, entry_of
from service.intake.log.posts import Part, Post, SeenBefore
from service.intake.log.window import Window
from service.storage import keys
from service.storage.store import Store, Word

_RETRY_AFTER_SECONDS = 5
_WINDOW_BYTES = 64 << 20
_MOST_CHUNK = 256
# How long a partition that had no room is believed to have none.
_FULL_SECONDS = 0.2


@dataclass(frozen=True)
class Run:
    """Entries that follow one another. `has_more`: it was cut at the limit."""

    entries: tuple[Entry, ...]
    has_more: bool


@dataclass(frozen=True)
class Stretch:
    """A run of entries as they were at one moment, with what was archived then.

    `has_more`: the run was cut at the limit. `files`: records of archive files beyond those already known, all of them
    where the list is of another `generation`.
    """

    entries: tuple[Entry, ...]
    has_more: bool
    archived: str
    files: tuple[bytes, ...]
    generation: str


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
        self._full_until = [0.0] * partitions
        self._windows = [Window(_WINDOW_BYTES // partitions) for _ in range(partitions)]
        # Looked at before it is written: a full store takes no writes, and those who drain it must be able to start.
        first = store.do("GET", keys.PARTITIONS)
        if first is None:
            store.do("SETNX", keys.PARTITIONS, partitions)
            first = store.do("GET", keys.PARTITIONS)
        if int(first) != partitions:
            raise BadSetting(
                "TIDEGATE_PARTITIONS", str(partitions), f"this store holds rows in {int(first)} partitions"
            )

    def appended(self) -> list[int]:
        """How many rows each partition was ever given: the cheapest way to see whether there is something to do."""
        found = self.store.do_all([("HGET", keys.state(keys.slot(n)), "appended") for n in range(self.partitions)])
        return [int(each or 0) for each in found]

    def append(self, part: Part, now: datetime) -> bytes | None:
        """The answer that was given to this body before, None where its rows are durable now.

        Raises:
            SeenBefore: of several bodies one was taken before; nothing was written.
            KeyConflict: the key was used for another body of this kind and model.
            Backlogged: the partition holds as many rows as it may.
            NotDurable: written, but not confirmed by enough replicas; sending it again with its key is safe.
            StoreAway, StoreFull: not written, or (StoreAway) perhaps written; sending it again with its key is safe.
        """
        return self._outcome(part, self.store.run_durably("append", *self._call(part, now)))

    def append_all(self, parts: Sequence[Part], now: datetime) -> list[bytes | ServiceError | None]:
        """The same for each of several, sent at once; not one transaction.

        Raises:
            StoreAway: see `append`; it may be so of any of them.
        """
        answers = self.store.run_each_durably("append", [self._call(part, now) for part in parts])
        return [self._outcome_or_error(part, answer) for part, answer in zip(parts, answers, strict=True)]

    def _call(self, part: Part, now: datetime) -> tuple[list[str], list[Word]]:
        slot, keyed = keys.slot(self.partition_of(part.posts[0])), [post for post in part.posts if post.key]
        entry = {
            "k": part.kind,
            "m": part.model,
            "n": part.table.num_rows,
            "t": int(now.timestamp() * 1_000_000),
            "r": msgspec.json.encode(part.rejected),
            "b": columns.pack(part.table),
        }
        slot_keys = [keys.state(slot), keys.log(slot), *(keys.trace(slot, post.scope) for post in keyed)]
        bounds = (part.table.num_rows, self._most_rows, self._idempotency_seconds)
        return slot_keys, [*bounds, *(post.trace for post in keyed), *(word for pair in entry.items() for word in pair)]

    def _outcome_or_error(self, part: Part, answer: Any) -> bytes | ServiceError | None:  # noqa: ANN401  as in `Store.do`
        if isinstance(answer, ServiceError):
            return answer
        try:
            return self._outcome(part, answer)
        except ServiceError as error:
            return error

    def _outcome(self, part: Part, answer: Any) -> bytes | None:  # noqa: ANN401  as in `Store.do`
        outcome, word = answer
        if outcome == b"full":
            self._full_until[self.partition_of(part.posts[0])] = monotonic() + _FULL_SECONDS
            raise Backlogged(int(word), self._most_rows, _RETRY_AFTER_SECONDS)
        if outcome == b"seen" and len(part.posts) > 1:
            raise SeenBefore
        return None if outcome == b"ok" else next(post.answer_in(word) for post in part.posts if post.key)

    def partition_of(self, post: Post) -> int:
        """Where a post goes: a retry meets its own trace."""
        return int(post.scope[:8], 16) % self.partitions

    def check_room(self) -> None:
        """Raises Backlogged where no partition had room a moment ago: cheaply, before a body is read."""
        if min(self._full_until) > monotonic():
            raise Backlogged(self._most_rows * self.partitions, self._most_rows * self.partitions, _RETRY_AFTER_SECONDS)

    def fetch(self, partition: int, after: str, *, rows: int = 50_000, most_bytes: int = 32 << 20) -> Run:
        """Entries after a position until about `rows` rows or `most_bytes` bytes are reached, at least one.

        They stay at hand for `follow`; so this is for the one thread that folds the partition.
        """
        run = self._ask(partition, after, rows, most_bytes)
        self._windows[partition].add(after, run.entries)
        return run

    def follow(self, partition: int, after: str, *, rows: int = 50_000, most_bytes: int = 32 << 20) -> Run:
        """The same for those who come after the fold, in the same thread: from memory where it has just read them."""
        held = self._windows[partition].after(after)
        if not held:
            return self._ask(partition, after, rows, most_bytes)
        count, size = 0, 0
        for place, entry in enumerate(held):
            if count >= rows or size >= most_bytes:
                return Run(tuple(held[:place]), has_more=True)
            count += entry.rows
            size += len(entry.body)
        return Run(tuple(held), has_more=False)

    def _ask(self, partition: int, after: str, rows: int, most_bytes: int) -> Run:
        # Not in a script, which would copy each body twice more. Entries may be large: a plain COUNT would not bound
        # the answer, so it grows while they are small.
        entries: list[Entry] = []
        count, size, chunk = 0, 0, 1
        while count < rows and size < most_bytes:
            found = self.store.do("XRANGE", keys.log(keys.slot(partition)), f"({after}", "+", "COUNT", chunk)
            for identity, fields in found:
                entry = entry_of(identity, fields)
                entries.append(entry)
                count += entry.rows
                size += len(entry.body)
            if len(found) < chunk:
                return Run(tuple(entries), has_more=False)
            after = entries[-1].id
            if size * 4 < most_bytes:
                chunk = min(chunk * 4, _MOST_CHUNK)
        return Run(tuple(entries), has_more=True)

    def read(
        self,
        partition: int,
        after: str,
        *,
        rows: int = 50_000,
        most_bytes: int = 32 << 20,
        files_known: int | None = None,
        generation: str = "0",
    ) -> Stretch:
        """Entries after a position until about `rows` rows or `most_bytes` bytes are reached, at least one.

        With `files_known`, of the list of this generation, also the archive files beyond those.
        """
        slot = keys.slot(partition)
        known = "" if files_known is None else files_known
        found, more, archived, files, generation_now = self.store.run(
            "read", [keys.log(slot), keys.state(slot), keys.files(slot)], [after, rows, most_bytes, known, generation]
        )
        entries = tuple(entry_of(identity, fields) for identity, fields in found)
        return Stretch(entries, bool(more), archived.decode(), tuple(files), generation_now.decode())
