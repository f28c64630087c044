"""Fold one partition: count its rows into profiles, and commit counts and position as one."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import pyarrow as pa
import pyarrow.compute as pc

from monitors.baseline.baselines import Baseline
from monitors.counting.profiles import fold
from monitors.readings import FloatArray
from service.errors import StoreError, UnreadableEntry
from service.intake import columns
from service.intake.archiving import Archiver
from service.intake.entries import PREDICTIONS, START, Entry
from service.intake.log import Log
from service.intake.open_profiles import OpenProfiles
from service.storage import keys
from service.storage.ownership import Ownership, Write

BaselineOf = Callable[[str, str], Baseline | None]
_MOST_ASIDE = 1000
_RANGES_A_STEP = 4


@dataclass
class _Turn:
    """What one micro-batch changes besides profiles."""

    counts: Counter[str] = field(default_factory=Counter)
    newest: dict[str, float] = field(default_factory=dict)
    aside: list[tuple[Entry, str]] = field(default_factory=list)


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
    ) -> None:
        self.number = number
        self.ownership = ownership
        self._log = partition_log
        self._baseline_of = baseline_of
        self._archiver = archiver
        self._batch_rows = batch_rows
        self._slot = keys.slot(number)
        self._profiles = OpenProfiles(partition_log.store, self._slot)
        self._newest: dict[str, float] = {}

    def let_go(self) -> None:
        """After an error memory may be ahead of the store: what comes next begins with a claim and loads anew."""
        self.ownership.is_held = False
        self._profiles.forget()

    def claim(self) -> None:
        if self.ownership.claim():
            counts = self._log.store.do("HGETALL", keys.counts(self._slot))
            found = dict(zip((name.decode() for name in counts[::2]), counts[1::2], strict=True))
            self._newest = {name: float(value) for name, value in found.items() if name.startswith("last:")}

    def step(self, now: datetime) -> int:
        rows = 0
        has_more = True
        while has_more:
            position = self.ownership.state.get("position", START)
            stretch = self._log.read(self.number, position, rows=self._batch_rows)
            if stretch.entries:
                rows += self._fold(stretch.entries)
            has_more = stretch.has_more
        for _ in range(_RANGES_A_STEP):
            if not self._archiver.step(self.ownership, now):
                break
        self.ownership.renew()
        return rows

    def _fold(self, entries: Sequence[Entry]) -> int:
        turn = _Turn()
        tables = {}
        for entry in entries:
            turn.counts.update({f"rejected:{entry.model}:{reason}": n for reason, n in entry.rejected.items()})
            try:
                tables[entry.id] = entry.table()
            except UnreadableEntry as error:
                turn.aside.append((entry, str(error)))
        for model in dict.fromkeys(entry.model for entry in entries if entry.kind == PREDICTIONS):
            own = [entry for entry in entries if entry.model == model and entry.kind == PREDICTIONS]
            self._fold_model(model, [(entry, tables[entry.id]) for entry in own if entry.id in tables], turn)
        rows = sum(entry.rows for entry in entries)
        folded = int(self.ownership.state.get("folded", "0")) + rows
        self.ownership.commit(self._writes(turn), position=entries[-1].id, folded=str(folded))
        self._newest.update(turn.newest)
        return rows

    def _fold_model(self, model: str, own: list[tuple[Entry, pa.Table]], turn: _Turn) -> None:
        try:
            counted, unmeasured = self._count(model, [table for _, table in own])
        except StoreError:
            raise
        except Exception as error:  # noqa: BLE001  whatever a batch does to the fold, it must not stop the partition
            if len(own) > 1:
                for one in own:
                    self._fold_model(model, [one], turn)
                return
            turn.aside.append((own[0][0], f"it cannot be counted: {type(error).__name__}: {error}"))
            counted, unmeasured = [], 0
        for baseline, counts in counted:
            self._profiles.add(baseline, counts)
        if unmeasured:
            turn.counts[f"unmeasured:{model}"] += unmeasured
        for _, table in own:
            turn.counts[f"predictions:{model}"] += table.num_rows
            newest = pc.max(table.column("timestamp")).as_py().timestamp()
            name = f"last:{model}"
            turn.newest[name] = max(newest, turn.newest.get(name, 0.0), self._newest.get(name, 0.0))

    def _count(self, model: str, tables: list[pa.Table]) -> tuple[list[tuple[Baseline, dict[int, FloatArray]]], int]:
        """What the rows add to each baseline's profiles, and how many rows have no baseline."""
        counted, unmeasured = [], 0
        for table in columns.group_by_schema(tables):
            for version, rows in columns.split(table, "model_version").items():
                baseline = self._baseline_of(model, version)
                if baseline is None:
                    unmeasured += rows.num_rows
                else:
                    counted.append((baseline, fold(baseline.layout, rows, baseline.slice_seconds)))
        return counted, unmeasured

    def _writes(self, turn: _Turn) -> list[Write]:
        writes = self._profiles.writes(int(self.ownership.state.get("commits", "0")) + 1)
        counts = keys.counts(self._slot)
        if turn.aside:
            turn.counts["aside"] += len(turn.aside)
        writes += [Write("HINCRBY", counts, (name, count)) for name, count in turn.counts.items()]
        if turn.newest:
            writes.append(Write("HSET", counts, tuple(word for pair in turn.newest.items() for word in pair)))
        for entry, reason in turn.aside:
            words = (
                "MAXLEN",
                "~",
                _MOST_ASIDE,
                "*",
                "id",
                entry.id,
                "model",
                entry.model,
                "reason",
                reason,
                "b",
                entry.body,
            )
            writes.append(Write("XADD", keys.aside(self._slot), words))
        return writes
