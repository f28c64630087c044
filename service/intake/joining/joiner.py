"""The label join: every label meets its prediction, once, and is counted in the slice of that prediction.

The join reads all logs in order under its own slot, so its state (positions, waiting labels, labelled profiles,
counters) is committed as one. A label is only matched with predictions up to its positions; those after them come by
later. Labels that only a look into the archive can settle are looked up together, now and then: until then what was
read is held, and the positions stay.
"""

import time
import uuid
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import msgspec
import pyarrow as pa

from monitors.reading.performance import MOST_SLICES
from service.errors import StaleOwner, UnreadableEntry
from service.intake.archive.archive import Archive
from service.intake.folding.fold import BaselineOf
from service.intake.folding.open_profiles import OpenProfiles
from service.intake.folding.retention import Keep, Retention
from service.intake.joining.ends import UNMATCHED, Label, judge, labels_in, labels_of
from service.intake.joining.held import Held
from service.intake.joining.hours import LabelHours
from service.intake.joining.outcomes import Outcomes
from service.intake.joining.packed import Batch, identities
from service.intake.joining.recent import Block, Recent, Seen
from service.intake.joining.turn import LabelTurn, OutcomeField
from service.intake.joining.waiting import Waiting
from service.intake.log.entries import LABELS, PREDICTIONS, START, Entry
from service.intake.log.log import Log
from service.storage import keys
from service.storage.ownership import Ownership, Write

# The archiver learns how far the join is after so many rows, or when nothing is left to do.
_TELL_ROWS = 1000
_MOST_HELD_BYTES = 64 << 20
_EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)


class Joiner:
    """Owns the label slot; one thread calls `step`. `alone`: see `Worker`.

    The archive is looked into at most once in `look_up_every`, or when `held_rows` rows wait for it.
    """

    def __init__(
        self,
        partition_log: Log,
        archive: Archive,
        baseline_of: BaselineOf,
        *,
        outcome_field: OutcomeField = lambda _: "",
        horizon: timedelta = timedelta(days=30),
        look_up_every: timedelta = timedelta(0),
        keep: Keep | None = None,
        lease: timedelta = timedelta(seconds=10),
        alone: bool = False,
        batch_rows: int = 50_000,
        held_rows: int = 50_000,
        recent_rows: int = 200_000,
        beats: Callable[[], float] = time.monotonic,
    ) -> None:
        self._log = partition_log
        self._store = partition_log.store
        self._archive = archive
        self._baseline_of = baseline_of
        self._outcome_field = outcome_field
        self._horizon = horizon
        self._look_up_every = look_up_every
        self._batch_rows = batch_rows
        self._held_rows = held_rows
        self._recent_rows = recent_rows
        self._looked_up: datetime | None = None
        owner = uuid.uuid4().hex
        self._ownership = Ownership(self._store, keys.LABELS, owner, lease=lease, alone=alone, beats=beats)
        self._profiles = OpenProfiles(self._store, keys.LABELS)
        keep = keep or Keep()
        # A label that may still come finds the slice of its prediction as it was; and the sum of all slices is read.
        keep = replace(keep, slices=max(keep.slices, horizon + timedelta(days=1)))
        self._retention = Retention(self._store, keys.LABELS, keep, newest=MOST_SLICES, sums_stay=True)

    def step(self, now: datetime) -> int:
        """Join everything that can be read now. Gives the rows read; 0 also where another process owns the join.

        Raises:
            StoreAway, ArchiveAway: they do not answer; the next call begins anew from what is stored.
        """
        try:
            if not self._ownership.is_held and not self._claim(now):
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

    def _claim(self, now: datetime) -> bool:
        if not self._ownership.claim():
            return False
        self._profiles.forget()
        state = self._ownership.state
        self._positions = [state.get(f"position:{n}", START) for n in range(self._log.partitions)]
        self._waiting = Waiting(self._store)
        self._hours = LabelHours(self._store)
        self._outcomes = Outcomes(self._store)
        found = self._store.do("HGETALL", keys.measured())
        self._measured = {
            name.decode(): msgspec.json.decode(words, type=list[str])
            for name, words in zip(found[::2], found[1::2], strict=True)
        }
        is_new = all(position == START for position in self._positions)
        self._recent = Recent(is_complete=is_new, since=_micros(now), most_rows=self._recent_rows)
        self._held = Held(self._positions)
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
            has_more = False
            for number, position in enumerate(self._held.positions):
                run = self._log.follow(number, position, rows=self._batch_rows)
                has_more |= run.has_more
                for entry in run.entries:
                    self._take(number, entry)
                    rows += entry.rows
            if self._is_ripe(now):
                self._join(now)
        self._untold_rows += rows
        if self._untold_rows and (rows == 0 or self._untold_rows >= _TELL_ROWS):
            self._tell()
        self._retention.step(self._ownership, self._profiles, now)
        self._ownership.renew()
        return rows

    def _take(self, partition: int, entry: Entry) -> None:
        try:
            if entry.kind == PREDICTIONS:
                ids, oldest = identities(entry)
                batch = Batch(entry=entry, partition=partition)
                self._held.add(entry.model, batch, ids)
                self._recent.add(entry.model, Block([batch], [ids]), oldest)
            elif entry.kind == LABELS:
                self._held.labels += labels_of(partition, entry, entry.table())
        except UnreadableEntry:
            pass  # the fold worker puts it aside
        self._held.pass_by(partition, entry)

    def _is_ripe(self, now: datetime) -> bool:
        """Whether what is held can be joined: nothing in it needs the archive, or it is time to look there."""
        if not self._held.entries:
            return self._waiting.has_before(_micros(now - self._horizon))
        is_full = self._held.rows >= self._held_rows or self._held.bytes >= _MOST_HELD_BYTES
        if is_full or self._recent.is_complete:
            return True
        since = None if self._looked_up is None else now - self._looked_up
        # A clock that was set back must not hold the join up.
        return since is None or not timedelta(0) <= since < self._look_up_every or not self._unknown()

    def _unknown(self) -> dict[str, list[Label]]:
        """Labels held whose prediction neither recent rows nor waiting labels tell of, by model."""
        found = self._held.found(self._recent)
        unknown: dict[str, list[Label]] = defaultdict(list)
        for label in self._held.labels:
            if label.identity not in found[label.model] and not self._waiting.find(label.model, label.identity):
                unknown[label.model].append(label)
        return unknown

    def _join(self, now: datetime) -> None:
        turn = LabelTurn(self._baseline_of, self._outcome_field, self._outcomes, self._measured, self._positions)
        for model, block in self._held.predictions().items():
            for identity, seen in sorted(self._waiting.among(model, block).items()):
                label = self._waiting.pop(model, identity)
                self._hours.meet(label, seen.batch.time(seen.row), is_new=False)
                turn.meet(label, seen)
        known, looked_up = self._held.found(self._recent), self._look_up(now, turn)
        for label in self._held.labels:
            prediction = known[label.model].get(label.identity) or looked_up.get((label.model, label.identity))
            if prediction is None:
                self._wait(label, turn)
            else:
                self._hours.meet(label, prediction.batch.time(prediction.row), is_new=True)
                turn.meet(label, prediction)
        for label in self._waiting.pop_before(_micros(now - self._horizon)):
            turn.end(label, UNMATCHED)
        self._commit(turn, now)
        self._recent.shrink()

    def _look_up(self, now: datetime, turn: LabelTurn) -> dict[tuple[str, str], Seen]:
        """Predictions that recent rows are not sure about, with the labels that they met before."""
        found: dict[tuple[str, str], Seen] = {}
        if self._recent.is_complete:
            return found
        for model, labels in self._unknown().items():
            self._looked_up = now
            names = sorted({label.identity for label in labels})
            # Any may be the first copy of those that the archive does not know.
            unsure = self._recent.find(model, names, unsure=True)
            table = self._archive.find_predictions(model, pa.array(names), now - self._horizon, self._positions)
            batch = Batch(table=table)
            known = {name: Seen(batch, row) for row, name in enumerate(table.column("prediction_id").to_pylist())}
            found |= {(model, name): seen for name, seen in (unsure | known).items()}
            if known:
                # A label may bear any timestamp, also one from long before its prediction.
                table = self._archive.find_labels(model, pa.array(sorted(known)), _EARLIEST, self._positions)
                earlier: dict[str, list[Label]] = defaultdict(list)
                for label in labels_in(model, table):
                    earlier[label.identity].append(label)
                for name, before in earlier.items():
                    turn.recall(known[name], before)
        return found

    def _wait(self, label: Label, turn: LabelTurn) -> None:
        before = self._waiting.find(label.model, label.identity)
        if before is None:
            self._hours.come(label)
            self._waiting.put(label)
            return
        turn.end(label, judge(label, before))
        both = before.and_then(label)
        if both != before:
            self._waiting.put(both)

    def _commit(self, turn: LabelTurn, now: datetime) -> None:
        turn.fold(self._profiles)
        writes = self._profiles.writes(int(self._ownership.state.get("commits", "0")) + 1)
        writes += [*self._waiting.writes(), *self._hours.writes(now), *self._outcomes.writes()]
        counts = keys.counts(keys.LABELS)
        writes += [Write("HINCRBY", counts, (f"labels:{model}:{end}", n)) for (model, end), n in turn.ends.items()]
        writes += [
            Write("HINCRBY", counts, (f"rejected:{model}:uncountable", n)) for model, n in turn.uncountable.items()
        ]
        for name, since in turn.measured.items():
            writes.append(Write("HSET", keys.measured(), (name, msgspec.json.encode(since))))
        moved = {
            f"position:{number}": after
            for number, (before, after) in enumerate(zip(self._positions, self._held.positions, strict=True))
            if before != after
        }
        self._ownership.commit(writes, **moved)
        self._positions = self._held.positions
        self._held = Held(self._positions)

    def _tell(self) -> None:
        """Tell each partition how far the join is: what lies before may be archived and leave the log."""
        for number, position in enumerate(self._positions):
            if position != START:
                self._store.run("tell", [keys.state(keys.slot(number))], [position])
        self._untold_rows = 0


def _micros(moment: datetime) -> int:
    return int(moment.timestamp() * 1_000_000)
