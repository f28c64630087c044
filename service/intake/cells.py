"""What all partitions counted together, read for the evaluator; only slices that changed are fetched again."""

from dataclasses import dataclass, field, replace
from threading import Lock

import numpy as np

from monitors.baseline.baselines import Baseline
from monitors.readings import FloatArray
from service.intake.open_profiles import vectors_of
from service.storage import keys
from service.storage.store import Store


@dataclass
class _Known:
    """Sums over the slots, and for each slot the epoch and the commit up to which they are known."""

    upto: dict[str, tuple[bytes, int]] = field(default_factory=dict)
    slices: dict[int, FloatArray] = field(default_factory=dict)
    total: FloatArray | None = None

    def newest(self, since: int, most: int | None) -> dict[int, FloatArray]:
        """The slices from `since` on in order of time, at most so many of the last."""
        starts = [start for start in sorted(self.slices) if start >= since]
        chosen = starts if most is None else starts[max(0, len(starts) - most) :]
        return {start: self.slices[start] for start in chosen}


class Cells:
    """Reads profiles. Remembers those of the baselines it was last asked for; may be used by several threads."""

    def __init__(self, store: Store, partitions: int, *, most_baselines: int = 16) -> None:
        self._store = store
        self._slots = [keys.slot(partition) for partition in range(partitions)]
        self._most_baselines = most_baselines
        self._known: dict[tuple[str, str, str, str], _Known] = {}
        self._lock = Lock()

    def load(self, baseline: Baseline, since: int = 0, newest: int | None = None) -> dict[int, FloatArray]:
        """Slice start (unix seconds) -> profile [S, width] of slices from `since` on. Not to be written to.

        With `newest` only so many of them, the last ones.
        """
        return self._read(baseline, self._slots, baseline.layout.width).newest(since, newest)

    def load_labelled(self, baseline: Baseline, since: int = 0, newest: int | None = None) -> dict[int, FloatArray]:
        """Slice start -> labelled profile [S, labelled_width]. Not to be written to."""
        return self._read(baseline, [keys.LABELS], baseline.layout.labelled_width).newest(since, newest)

    def total_labelled(self, baseline: Baseline) -> FloatArray:
        """The sum of all labelled profiles [S, labelled_width]: everything since the version was released."""
        total = self._read(baseline, [keys.LABELS], baseline.layout.labelled_width).total
        return np.zeros((len(baseline.layout.segments), baseline.layout.labelled_width)) if total is None else total

    def _read(self, baseline: Baseline, slots: list[str], width: int) -> _Known:
        name = (slots[0], baseline.model, baseline.version, baseline.fingerprint)
        with self._lock:
            known = self._known.pop(name, None) or _Known()
            self._known[name] = known
            while len(self._known) > self._most_baselines:
                del self._known[next(iter(self._known))]
            try:
                self._refresh(known, baseline, slots, width)
            except BaseException:
                self._known.pop(name, None)
                raise
            return replace(known, slices=dict(known.slices))

    def _refresh(self, known: _Known, baseline: Baseline, slots: list[str], width: int) -> None:
        owner = (baseline.model, baseline.version, baseline.fingerprint)
        commands: list[tuple[str | int, ...]] = []
        for slot in slots:
            after = known.upto.get(slot, (b"", 0))[1]
            commands.append(("HGET", keys.state(slot), "epoch"))
            commands.append(("ZRANGEBYSCORE", keys.slices(slot, *owner), f"({after}", "+inf", "WITHSCORES"))
        answers = self._store.do_all(commands)
        epochs, found = [epoch or b"" for epoch in answers[::2]], answers[1::2]
        changed: set[int] = set()
        for slot, epoch, scored in zip(slots, epochs, found, strict=True):
            before = known.upto.get(slot)
            if before is not None and before[0] != epoch:
                # A new owner may have gone on from an older copy of the store: look at everything again.
                known.upto.clear()
                known.slices.clear()
                known.total = None
                self._refresh(known, baseline, slots, width)
                return
            newest = max((int(score) for score in scored[1::2]), default=before[1] if before else 0)
            known.upto[slot] = (epoch, newest)
            changed.update(int(start) for start in scored[::2])
        self._fetch(known, sorted(changed), slots, owner, (len(baseline.layout.segments), width))

    def _fetch(
        self, known: _Known, starts: list[int], slots: list[str], owner: tuple[str, str, str], shape: tuple[int, int]
    ) -> None:
        hashes = self._store.do_all(
            [("HGETALL", keys.cells(slot, *owner, start)) for start in starts for slot in slots]
        )
        for at, start in enumerate(starts):
            vectors = vectors_of(hashes[at * len(slots) : (at + 1) * len(slots)], shape)
            vectors.flags.writeable = False
            before = known.slices.get(start)
            change = vectors if before is None else vectors - before
            known.total = change.copy() if known.total is None else known.total + change
            known.slices[start] = vectors
