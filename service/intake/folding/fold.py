"""Fold one partition: count its rows into profiles, and commit counts and position as one."""

import logging
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import pyarrow as pa
import pyarrow.compute as pc

from monitors.baseline.baselines import Baseline
from monitors.counting.slices import LONGEST
from monitors.errors import BaselineTooNew
from service.errors import StoreError, UnreadableEntry
from service.intake.archive.archiving import Archiver
from service.intake.folding import aside
from service.intake.folding.counting import BaselineOf, count
from service.intake.folding.noted import Notes
from service.intake.folding.open_profiles import OpenProfiles
from service.intake.folding.rehearsal import rehearse
from service.intake.folding.retention import Keep, Retention
from service.intake.folding.schema import UNMEASURED, Schema
from service.intake.log.entries import PREDICTIONS, START, Entry
from service.intake.log.log import Log, Run
from service.storage import keys
from service.storage.ownership import Ownership, Write

__all__ = ["BaselineOf", "Partition"]

_log = logging.getLogger(__name__)
_RANGES_A_STEP = 4
_FALLS = frozenset(3 << doubled for doubled in range(30))
"""After so many owners in a row who came no further a stretch is rehearsed first. Not each time from then on: processes
that are killed from outside, and quickly, would never come to fold."""
_UPGRADE_SECONDS = 600.0
"""How long rows wait for a newer worker, which can read their baseline."""
_SHY_SECONDS = 10.0
"""How long a partition that was left to a newer worker is not claimed again."""


@dataclass
class _Turn:
    """What one micro-batch changes besides profiles and notes."""

    counts: Counter[str] = field(default_factory=Counter)
    newest: dict[str, float] = field(default_factory=dict)
    aside: list[Write] = field(default_factory=list)

    def put_aside(self, entry: Entry, writes: list[Write], reason: str) -> None:
        _log.error("batch %s of %s with %s rows is set aside: %s", entry.id, entry.model, entry.rows, reason)
        self.aside += writes


class Partition:
    """Folds and archives one partition while `ownership` holds it."""

    def __init__(
        self,
        partition_log: Log,
        number: int,
        baseline_of: BaselineOf,
        archiver: Archiver,
        ownership: Ownership,
        batch_rows: int,
        *,
        keep: Keep | None = None,
        beats: Callable[[], float] = time.monotonic,
    ) -> None:
        self.number = number
        self.ownership = ownership
        self._log = partition_log
        self._baseline_of = baseline_of
        self._archiver = archiver
        self._batch_rows = batch_rows
        self._beats = beats
        self._slot = keys.slot(number)
        self._profiles = OpenProfiles(partition_log.store, self._slot)
        self._retention = Retention(partition_log.store, self._slot, keep or Keep(), newest=LONGEST)
        self._notes = Notes(partition_log.store, self._slot)
        self._schema = Schema()
        self._newest: dict[str, float] = {}
        self._has_begun = False
        self._too_new_since: dict[tuple[str, str], float] = {}
        self._shy_until = -_SHY_SECONDS

    @property
    def is_shy(self) -> bool:
        """Whether it was left to a newer worker just now, and is not claimed."""
        return self._beats() < self._shy_until

    def let_go(self) -> None:
        """After an error memory may be ahead of the store: what comes next begins with a claim and loads anew."""
        self.ownership.is_held = False
        self._profiles.forget()
        self._notes.forget()

    def claim(self) -> None:
        if not self.is_shy and self.ownership.claim():
            counts = self._log.store.do("HGETALL", keys.counts(self._slot))
            found = dict(zip((name.decode() for name in counts[::2]), counts[1::2], strict=True))
            self._newest = {name: float(value) for name, value in found.items() if name.startswith("last:")}

    def step(self, now: datetime, show_life: Callable[[], None] = lambda: None) -> int:
        """Fold everything that can be read now, then archive what is ready; `show_life` is called between batches."""
        rows = 0
        has_more = True
        try:
            while has_more:
                stretch, is_suspect = self._read()
                if is_suspect:
                    rows += self._fold_rehearsed(stretch.entries, now, show_life)
                elif stretch.entries:
                    rows += self._fold(stretch.entries, now)
                has_more = stretch.has_more
                show_life()
        except BaselineTooNew as error:
            self._leave_to_others(error)
            return rows
        for _ in range(_RANGES_A_STEP):
            if not self._archiver.step(self.ownership, now):
                break
            show_life()
        self._retention.step(self.ownership, self._profiles, now)
        self.ownership.renew()
        return rows

    def _read(self) -> tuple[Run, bool]:
        """The next stretch, and whether it is suspected to end processes: then nobody must find it in memory."""
        position = self.ownership.state.get("position", START)
        if self._is_suspect():
            stretch = self._log.read(self.number, position, rows=self._batch_rows)
            return Run(stretch.entries, stretch.has_more), bool(stretch.entries)
        return self._log.fetch(self.number, position, rows=self._batch_rows), False

    def _is_suspect(self) -> bool:
        """Whether those before us fell where we begin; asked again, no."""
        falls = 0 if self._has_begun else int(self.ownership.state.get("falls", "0"))
        self._has_begun = True
        return falls in _FALLS

    def _fold_rehearsed(self, entries: Sequence[Entry], now: datetime, show_life: Callable[[], None]) -> int:
        """Fold what a rehearsal comes through; an entry alone that ends it is set aside unread."""
        _log.warning("partition %s: processes ended here again and again; %s batches first", self.number, len(entries))
        end = rehearse(entries, self._baseline, show_life)
        if not end:
            return self._fold(entries, now)
        if len(entries) > 1:
            half = len(entries) // 2
            return sum(self._fold_rehearsed(part, now, show_life) for part in (entries[:half], entries[half:]))
        (entry,) = entries
        turn, reason = _Turn(), f"it ends the process that counts it: {end}"
        turn.put_aside(entry, aside.put_deadly(self._slot, entry, reason, now), reason)
        turn.counts.update({f"rejected:{entry.model}:{why}": n for why, n in entry.rejected.items()})
        # It leaves the log here, and not through the archive.
        left = int(self.ownership.state.get("archived_rows", "0")) + entry.rows
        self._commit(turn, entries, archived_rows=str(left))
        return entry.rows

    def _fold(self, entries: Sequence[Entry], now: datetime) -> int:
        turn = _Turn()
        tables: dict[str, list[tuple[Entry, pa.Table]]] = {}
        for entry in entries:
            turn.counts.update({f"rejected:{entry.model}:{reason}": n for reason, n in entry.rejected.items()})
            rows = aside.to_count(entry)
            try:
                table = rows.table()
            except UnreadableEntry as error:
                turn.put_aside(entry, aside.put(self._slot, entry, str(error), now), str(error))
                continue
            if rows.kind == PREDICTIONS:
                tables.setdefault(entry.model, []).append((entry, table))
        for model, own in tables.items():
            self._fold_model(model, own, turn, now)
        self._commit(turn, entries)
        self._newest.update(turn.newest)
        return sum(entry.rows for entry in entries)

    def _fold_model(self, model: str, own: list[tuple[Entry, pa.Table]], turn: _Turn, now: datetime) -> None:
        try:
            counted = list(count(model, [table for _, table in own], self._baseline, self._schema))
        except (StoreError, BaselineTooNew):
            raise
        except Exception as error:  # noqa: BLE001  whatever a batch does to the fold, it must not stop the partition
            if len(own) > 1:
                for one in own:
                    self._fold_model(model, [one], turn, now)
                return
            entry, reason = own[0][0], f"it cannot be counted: {type(error).__name__}: {error}"
            turn.put_aside(entry, aside.put(self._slot, entry, reason, now, is_read=True), reason)
            counted = []
            self._note_newest(model, pc.max(own[0][1].column("timestamp")).as_py().timestamp(), turn)
        for each in counted:
            self._note_newest(model, each.until, turn)
            if each.baseline is not None:
                self._profiles.add(each.baseline, each.counts)
                self._notes.add(model, each.baseline.version, each.facts, each.since, each.until)
            else:
                self._notes.add(model, "", each.facts, each.since, each.until)
                turn.counts[f"{UNMEASURED}:{model}"] += each.rows
        turn.counts[f"predictions:{model}"] += sum(entry.rows for entry, _ in own if entry.kind == PREDICTIONS)

    def _note_newest(self, model: str, until: float, turn: _Turn) -> None:
        name = f"last:{model}"
        turn.newest[name] = max(until, turn.newest.get(name, 0.0), self._newest.get(name, 0.0))

    def _baseline(self, model: str, version: str) -> Baseline | None:
        try:
            return self._baseline_of(model, version)
        except BaselineTooNew:
            first = self._too_new_since.setdefault((model, version), self._beats())
            if self._beats() - first < _UPGRADE_SECONDS:
                raise
            return None

    def _leave_to_others(self, error: BaselineTooNew) -> None:
        _log.warning("partition %s is left to a newer worker: %s", self.number, error)
        self._shy_until = self._beats() + _SHY_SECONDS
        self.ownership.release()
        self.let_go()

    def _commit(self, turn: _Turn, entries: Sequence[Entry], **state: str) -> None:
        folded = int(self.ownership.state.get("folded", "0")) + sum(entry.rows for entry in entries)
        self.ownership.commit(self._writes(turn), position=entries[-1].id, folded=str(folded), **state)

    def _writes(self, turn: _Turn) -> list[Write]:
        writes = self._profiles.writes(int(self.ownership.state.get("commits", "0")) + 1)
        writes += self._notes.writes()
        counts = keys.counts(self._slot)
        writes += [Write("HINCRBY", counts, (name, number)) for name, number in turn.counts.items() if number]
        if turn.newest:
            writes.append(Write("HSET", counts, tuple(word for pair in turn.newest.items() for word in pair)))
        return writes + turn.aside
