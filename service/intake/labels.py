"""The label join: every label meets its prediction, once, and is counted in the slice of that prediction.

The join reads all logs in order under its own slot, so its state (positions, waiting labels, labelled profiles,
counters) is committed as one. A label is only matched with predictions up to its positions; those after them come by
later.
"""

import time
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta

import msgspec
import pyarrow as pa

from service.errors import StaleOwner, UnreadableEntry
from service.intake.archive import Archive
from service.intake.archiving import placed
from service.intake.entries import LABELS, PREDICTIONS, START, Entry
from service.intake.fold import BaselineOf
from service.intake.label_ends import UNMATCHED, Label, judge, labels_in, labels_of
from service.intake.label_turn import LabelTurn
from service.intake.log import Log
from service.intake.open_profiles import OpenProfiles
from service.intake.recent import Counted, Recent, Seen
from service.intake.waiting import Waiting
from service.storage import keys
from service.storage.ownership import Ownership, Write

# The archiver learns how far the join is after so many rows, or when nothing is left to do.
_TELL_ROWS = 1000


class Joiner:
    """Owns the label slot; one thread calls `step`. `alone`: see `Worker`."""

    def __init__(
        self,
        partition_log: Log,
        archive: Archive,
        baseline_of: BaselineOf,
        *,
        horizon: timedelta = timedelta(days=30),
        lease: timedelta = timedelta(seconds=10),
        alone: bool = False,
        batch_rows: int = 50_000,
        recent_rows: int = 200_000,
        beats: Callable[[], float] = time.monotonic,
    ) -> None:
        self._log = partition_log
        self._store = partition_log.store
        self._archive = archive
        self._baseline_of = baseline_of
        self._horizon = horizon
        self._batch_rows = batch_rows
        self._recent_rows = recent_rows
        owner = uuid.uuid4().hex
        self._ownership = Ownership(self._store, keys.LABELS, owner, lease=lease, alone=alone, beats=beats)
        self._profiles = OpenProfiles(self._store, keys.LABELS)

    def step(self, now: datetime) -> int:
        """Join everything that can be read now. Gives the rows read; 0 also where another process owns the join.

        Raises:
            StoreAway: the store does not answer; the next call begins anew from what is stored.
        """
        try:
            if not self._ownership.is_held and not self._claim():
                return 0
            return self._step(now)
        except StaleOwner:
            self._let_go()
            return 0
        except BaseException:
            self._let_go()
            raise

    def release(self) -> None:
        """Give the slot up, so that another need not wait for the lease."""
        try:
            if self._ownership.is_held:
                self._tell()
            self._ownership.release()
        except StaleOwner:
            self._let_go()

    def _claim(self) -> bool:
        if not self._ownership.claim():
            return False
        self._profiles.forget()
        state = self._ownership.state
        self._positions = [state.get(f"position:{n}", START) for n in range(self._log.partitions)]
        self._waiting = Waiting(self._store)
        found = self._store.do("HGETALL", keys.measured())
        self._measured = {
            name.decode(): msgspec.json.decode(words, type=list[str])
            for name, words in zip(found[::2], found[1::2], strict=True)
        }
        is_new = all(position == START for position in self._positions)
        self._recent = Recent(is_complete=is_new, most_rows=self._recent_rows)
        self._untold_rows = _TELL_ROWS
        return True

    def _let_go(self) -> None:
        # After an error memory may be ahead of the store.
        self._ownership.is_held = False
        self._profiles.forget()

    def _step(self, now: datetime) -> int:
        rows = 0
        has_more = True
        while has_more:
            stretches = [
                self._log.read(number, position, rows=self._batch_rows)
                for number, position in enumerate(self._positions)
            ]
            has_more = any(stretch.has_more for stretch in stretches)
            entries = [(number, entry) for number, stretch in enumerate(stretches) for entry in stretch.entries]
            if entries or self._waiting.has_before(self._horizon_start(now)):
                self._join(entries, now)
                rows += sum(entry.rows for _, entry in entries)
        self._untold_rows += rows
        if self._untold_rows and (rows == 0 or self._untold_rows >= _TELL_ROWS):
            self._tell()
        self._ownership.renew()
        return rows

    def _join(self, entries: Sequence[tuple[int, Entry]], now: datetime) -> None:
        turn = LabelTurn(self._baseline_of, self._measured, self._positions)
        labels: list[Label] = []
        for partition, entry in entries:
            try:
                table = entry.table()
                if entry.kind == PREDICTIONS:
                    self._welcome(entry.model, placed(partition, entry, table), turn)
                elif entry.kind == LABELS:
                    labels += labels_of(partition, entry, table)
            except UnreadableEntry:
                continue  # the fold worker puts it aside
        found = self._look_up(labels, now, turn)
        for label in labels:
            name = (label.model, label.identity)
            seen = self._recent.find(*name) or found.get(name)
            if seen is None:
                self._wait(label, turn)
            else:
                turn.meet(label, seen)
        for label in self._waiting.pop_before(self._horizon_start(now)):
            turn.end(label, UNMATCHED)
        positions = list(self._positions)
        for partition, entry in entries:
            positions[partition] = entry.id
        self._commit(turn, positions)
        self._recent.shrink()

    def _welcome(self, model: str, table: pa.Table, turn: LabelTurn) -> None:
        ids = self._recent.add(model, table)
        if not len(self._waiting):
            return
        for identity in ids:
            seen = self._recent.find(model, identity)
            if seen is not None and (model, identity) in self._waiting:
                turn.meet(self._waiting.pop(model, identity), seen)

    def _look_up(self, labels: Iterable[Label], now: datetime, turn: LabelTurn) -> dict[tuple[str, str], Seen]:
        """Predictions that only the archive knows, with the labels counted for them."""
        unknown: dict[str, set[str]] = defaultdict(set)
        if not self._recent.is_complete:
            for label in labels:
                if self._recent.find(label.model, label.identity) is None:
                    unknown[label.model].add(label.identity)
        found: dict[tuple[str, str], Seen] = {}
        for model, names in unknown.items():
            ids = pa.array(sorted(names), pa.string())
            table = self._archive.find_predictions(model, ids, now - self._horizon, self._positions)
            for row, identity in enumerate(table.column("prediction_id").to_pylist()):
                found[model, identity] = Seen(table, row)
            if table.num_rows:
                # A label may bear an earlier timestamp than its prediction; twice the horizon is wide enough.
                since = now - 2 * self._horizon
                earlier = self._archive.find_labels(model, table.column("prediction_id"), since, self._positions)
                for label in labels_in(model, earlier):
                    seen = found[model, label.identity]
                    seen.label = Counted(label.value, label.order, turn.counted_under(label, seen))
        return found

    def _wait(self, label: Label, turn: LabelTurn) -> None:
        before = self._waiting.find(label.model, label.identity)
        if before is None:
            self._waiting.put(label)
            return
        end = judge(label, before.value, before.order)
        if label.order > before.order:
            # It keeps the arrival of the label it replaces: the horizon began with that one.
            self._waiting.put(msgspec.structs.replace(label, arrived=before.arrived))
        turn.end(label, end)

    def _commit(self, turn: LabelTurn, positions: list[str]) -> None:
        turn.fold(self._profiles)
        writes = self._profiles.writes(int(self._ownership.state.get("commits", "0")) + 1)
        writes += self._waiting.writes()
        counts = keys.counts(keys.LABELS)
        writes += [Write("HINCRBY", counts, (name, count)) for name, count in turn.ends.items()]
        for name, since in turn.measured.items():
            writes.append(Write("HSET", keys.measured(), (name, msgspec.json.encode(since))))
        moved = {
            f"position:{number}": after
            for number, (before, after) in enumerate(zip(self._positions, positions, strict=True))
            if before != after
        }
        self._ownership.commit(writes, **moved)
        self._positions = positions

    def _tell(self) -> None:
        """Tell each partition how far the join is: what lies before may be archived and leave the log."""
        self._store.do_all(
            [
                ("HSET", keys.state(keys.slot(number)), "joined", position)
                for number, position in enumerate(self._positions)
                if position != START
            ]
        )
        self._untold_rows = 0

    def _horizon_start(self, now: datetime) -> int:
        return int((now - self._horizon).timestamp() * 1_000_000)
