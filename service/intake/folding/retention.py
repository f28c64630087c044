"""Retention of profiles: slices that nobody looks at one by one are added up to days, and what nobody asks for leaves.

Only the owner of a slot may write its profiles, so each slot's own step does this, now and then. No count is lost: what
leaves the store is in the archive first, as `profiles/model=…/version=…/*.parquet`.
"""

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial

import numpy as np
import pyarrow as pa

from service.errors import ArchiveAway
from service.intake.archive.files import write_table
from service.intake.columns import TIME
from service.intake.folding.open_profiles import PACKED, OpenProfiles
from service.storage import keys
from service.storage.files import Files
from service.storage.ownership import Ownership, Write
from service.storage.store import Store

_log = logging.getLogger(__name__)
_DAY = 86_400
PAUSE = timedelta(hours=6)
"""Profiles are looked through so often; they are kept for days."""
_DAYS_A_STEP = 8
"""The fold waits while days are added up; a whole history takes many steps."""
_SLICES_A_FILE = 128

# model, version, fingerprint
_Name = tuple[str, str, str]


@dataclass(frozen=True)
class Keep:
    """How long profiles stay as they were counted.

    Older than `slices` they are added up to days. Older than `profiles` they are closed into `files`, and so are all of
    a baseline that is not `in_service` (model, version, fingerprint) when nothing was counted under it for `slices`.
    Without `files` nothing is ever closed.
    """

    slices: timedelta = timedelta(days=30)
    profiles: timedelta = timedelta(days=365)
    in_service: Callable[[str, str, str], bool] = lambda *_: True
    files: Files | None = None


class Retention:
    """Keeps the profiles of one slot. The `newest` slices of a baseline, which windows look at, are left alone.

    With `sums_stay` nothing of a baseline in service is closed: somebody reads the sum of all its slices.
    """

    def __init__(self, store: Store, slot: str, keep: Keep, *, newest: int, sums_stay: bool = False) -> None:
        self._store = store
        self._slot = slot
        self._keep = keep
        self._newest = newest
        self._sums_stay = sums_stay
        self._next = datetime.min.replace(tzinfo=UTC)

    def step(self, ownership: Ownership, profiles: OpenProfiles, now: datetime) -> int:
        """Do what is due, a part of it where it is much. Gives how many slices are no longer in the store.

        `profiles` are the slot's own: what they hold in memory of changed slices is forgotten.

        Raises:
            StaleOwner, StoreAway: see `Ownership.commit`.
        """
        if now < self._next:
            return 0
        try:
            found = self._store.do("HGETALL", keys.profiles(self._slot))
            for member, seen in zip(found[::2], found[1::2], strict=True):
                model, version, fingerprint = member.decode().split(":")
                gone = self._keep_one((model, version, fingerprint), seen.decode(), ownership, profiles, now)
                if gone:
                    return gone
        except ArchiveAway as error:
            _log.warning("profiles of slot %s stay in the store: %s", self._slot, error)
        self._next = now + PAUSE
        return 0

    def _keep_one(self, name: _Name, seen: str, ownership: Ownership, profiles: OpenProfiles, now: datetime) -> int:
        scored = self._store.do("ZRANGE", keys.slices(self._slot, *name), 0, -1, "WITHSCORES")
        changed = {int(start): int(commit) for start, commit in zip(scored[::2], scored[1::2], strict=True)}
        starts, newest = sorted(changed), max(changed.values(), default=0)
        known, _, counted = seen.partition(":")
        if newest > int(known or 0):
            # Something was counted since the last look: that is now, whatever the time of its rows.
            counted = str(int(now.timestamp()))
            word = f"{newest}:{counted}"
            ownership.commit([Write("HSET", keys.profiles(self._slot), (":".join(name), word))])
        leaving = self._leaving(name, starts, int(counted or now.timestamp()), now)
        if leaving:
            part = leaving[:_SLICES_A_FILE]
            return self._close(name, part, ownership, profiles, is_last=part == starts)
        days = self._whole_days(starts, now)
        for day in days[:_DAYS_A_STEP]:
            self._add_up(name, {start: changed[start] for start in day}, ownership, profiles)
        return sum(len(day) - 1 for day in days[:_DAYS_A_STEP])

    def _leaving(self, name: _Name, starts: list[int], counted: int, now: datetime) -> list[int]:
        if self._keep.files is None or not starts:
            return []
        if counted <= _before(now, self._keep.slices) and not self._keep.in_service(*name):
            return starts
        if self._sums_stay:
            return []
        return [start for start in starts[: -self._newest] if start < _before(now, self._keep.profiles)]

    def _whole_days(self, starts: list[int], now: datetime) -> list[list[int]]:
        """The slices of each day that is over and done with, where there are several."""
        old = starts[: -self._newest]
        if not old:
            return []
        end = min(_before(now, self._keep.slices), starts[-self._newest]) // _DAY
        days: dict[int, list[int]] = {}
        for start in old:
            days.setdefault(start // _DAY, []).append(start)
        return [members for day, members in days.items() if day < end and len(members) > 1]

    def _add_up(self, name: _Name, members: dict[int, int], ownership: Ownership, profiles: OpenProfiles) -> None:
        """Make one slice of those of a day, given with the commits that changed them last."""
        day = min(members) // _DAY * _DAY
        vectors: dict[bytes, np.ndarray] = {}
        for cells in self._cells(name, members):
            for segment, packed in zip(cells[::2], cells[1::2], strict=True):
                more = np.frombuffer(packed, PACKED)
                vectors[segment] = vectors[segment] + more if segment in vectors else more
        words = tuple(word for segment, vector in vectors.items() for word in (segment, vector.tobytes()))
        slices = keys.slices(self._slot, *name)
        gone = [start for start in members if start != day]
        # Nothing new was counted, so the day is as old as its parts; readers learn of it by `merged`.
        writes = [
            Write("HSET", keys.cells(self._slot, *name, day), words),
            Write("ZADD", slices, (max(members.values()), day)),
            *self._removals(name, gone),
        ]
        self._commit(ownership, writes)
        profiles.drop(name, [*members, day])

    def _close(
        self, name: _Name, starts: list[int], ownership: Ownership, profiles: OpenProfiles, *, is_last: bool
    ) -> int:
        """Write slices to a file of the archive, then take them out of the store."""
        files = self._keep.files
        if files is None:
            return 0
        # The number grows with every file that was committed: a crash in between writes the same name again.
        closed = int(ownership.state.get("closed", "0"))
        model, version, fingerprint = name
        path = f"profiles/model={model}/version={version}/{fingerprint}-{self._slot}-{closed}.parquet"
        table = _table(starts, self._cells(name, starts), fingerprint)
        files.write(path, partial(write_table, table, compression="zstd"))
        writes = self._removals(name, starts)
        if is_last:
            writes.append(Write("HDEL", keys.profiles(self._slot), (":".join(name),)))
        self._commit(ownership, writes, closed=str(closed + 1))
        profiles.drop(name, starts)
        return len(starts)

    def _cells(self, name: _Name, starts: Iterable[int]) -> list[list[bytes]]:
        return self._store.do_all([("HGETALL", keys.cells(self._slot, *name, start)) for start in starts])

    def _removals(self, name: _Name, starts: list[int]) -> list[Write]:
        # To expire now is to be deleted, in the form of a write with words.
        removed = [Write("EXPIRE", keys.cells(self._slot, *name, start), (0,)) for start in starts]
        return [*removed, Write("ZREM", keys.slices(self._slot, *name), tuple(starts))]

    def _commit(self, ownership: Ownership, writes: list[Write], **state: str) -> None:
        """Commit, and tell readers that slices they know are no longer what they were."""
        merged = int(ownership.state.get("merged", "0")) + 1
        ownership.commit([write for write in writes if write.words], merged=str(merged), **state)


def _before(now: datetime, age: timedelta) -> int:
    return int((now - age).timestamp())


def _table(starts: list[int], hashes: list[list[bytes]], fingerprint: str) -> pa.Table:
    """One row for each slice and segment: `slice`, `segment` (its place in the baseline), `counts`."""
    places = [
        (start, int(segment), np.frombuffer(packed, PACKED))
        for start, cells in zip(starts, hashes, strict=True)
        for segment, packed in zip(cells[::2], cells[1::2], strict=True)
    ]
    schema = pa.schema(
        [("slice", TIME), ("segment", pa.int32()), ("counts", pa.list_(pa.float64()))],
        metadata={"fingerprint": fingerprint},
    )
    columns = [
        pa.array([start * 1_000_000 for start, _, _ in places], pa.int64()).cast(TIME),
        pa.array([segment for _, segment, _ in places], pa.int32()),
        pa.array([counts for _, _, counts in places], pa.list_(pa.float64())),
    ]
    return pa.Table.from_arrays(columns, schema=schema)
