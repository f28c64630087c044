"""What all partitions counted together, read for the evaluator; only slices that changed are fetched again."""

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field
from threading import Lock

import numpy as np
import pyarrow as pa

from monitors.baseline.baselines import Baseline
from monitors.readings import FloatArray
from service.intake.folding.open_profiles import vectors_of
from service.storage import keys
from service.storage.store import Store

_CODEC = pa.Codec("zstd", 1)
_FETCHED = 256
"""Slices fetched at once: what is on its way is in memory whole."""

# slot, model, version, fingerprint
_Name = tuple[str, str, str, str]


@dataclass
class _Known:
    """Sums over the slots, packed, and for each slot its epoch, how often it merged, and the commit they are of."""

    upto: dict[str, tuple[tuple[bytes, bytes], int]] = field(default_factory=dict)
    slices: dict[int, bytes] = field(default_factory=dict)
    total: FloatArray | None = None

    def newest(self, since: int, most: int | None) -> list[int]:
        """The slices from `since` on in order of time, at most so many of the last."""
        starts = [start for start in sorted(self.slices) if start >= since]
        return starts if most is None else starts[max(0, len(starts) - most) :]


class Cells:
    """Reads profiles. Remembers those of the baselines it was last asked for; may be used by several threads.

    A profile is mostly zeros and small numbers: it is kept packed, as it was to the last bit, and `most_bytes` of those
    read last also as they are.
    """

    def __init__(self, store: Store, partitions: int, *, most_baselines: int = 16, most_bytes: int = 256 << 20) -> None:
        self._store = store
        self._slots = [keys.slot(partition) for partition in range(partitions)]
        self._most_baselines = most_baselines
        self._most_bytes = most_bytes
        self._known: dict[_Name, _Known] = {}
        self._plain: OrderedDict[tuple[_Name, int], FloatArray] = OrderedDict()
        self._plain_bytes = 0
        self._lock = Lock()

    def load(self, baseline: Baseline, since: int = 0, newest: int | None = None) -> dict[int, FloatArray]:
        """Slice start (unix seconds) -> profile [S, width] of slices from `since` on. Not to be written to.

        With `newest` only so many of them, the last ones.
        """
        return self._read(baseline, self._slots, baseline.layout.width, since, newest)

    def load_labelled(self, baseline: Baseline, since: int = 0, newest: int | None = None) -> dict[int, FloatArray]:
        """Slice start -> labelled profile [S, labelled_width]. Not to be written to."""
        return self._read(baseline, [keys.LABELS], baseline.layout.labelled_width, since, newest)

    def total_labelled(self, baseline: Baseline) -> FloatArray:
        """The sum of all labelled profiles [S, labelled_width]: everything since the version was released."""
        shape = (len(baseline.layout.segments), baseline.layout.labelled_width)
        with self._lock:
            known = self._refreshed(_name(keys.LABELS, baseline), [keys.LABELS], shape)
            return np.zeros(shape) if known.total is None else known.total.copy()

    def _read(
        self, baseline: Baseline, slots: list[str], width: int, since: int, newest: int | None
    ) -> dict[int, FloatArray]:
        name, shape = _name(slots[0], baseline), (len(baseline.layout.segments), width)
        with self._lock:
            known = self._refreshed(name, slots, shape)
            found = {start: self._vectors(name, known, start, shape) for start in known.newest(since, newest)}
            self._shrink()
            return found

    def _refreshed(self, name: _Name, slots: list[str], shape: tuple[int, int]) -> _Known:
        known = self._known.pop(name, None) or _Known()
        try:
            self._refresh(known, name, slots, shape)
        except BaseException:
            # It may be half of the new and half of the old.
            self._forget_plain(name, known.slices)
            raise
        self._known[name] = known
        while len(self._known) > self._most_baselines:
            dropped = next(iter(self._known))
            self._forget_plain(dropped, self._known.pop(dropped).slices)
        return known

    def _refresh(self, known: _Known, name: _Name, slots: list[str], shape: tuple[int, int]) -> None:
        owner = name[1:]
        commands: list[tuple[str | int, ...]] = []
        for slot in slots:
            after = known.upto.get(slot, (None, 0))[1]
            commands.append(("HMGET", keys.state(slot), "epoch", "merged"))
            commands.append(("ZRANGEBYSCORE", keys.slices(slot, *owner), f"({after}", "+inf", "WITHSCORES"))
        answers = self._store.do_all(commands)
        changed: set[int] = set()
        for slot, state, scored in zip(slots, answers[::2], answers[1::2], strict=True):
            times = _times(state)
            before = known.upto.get(slot)
            if before is not None and before[0] != times:
                self._look_again(known, name, slots, shape)
                return
            newest = max((int(score) for score in scored[1::2]), default=before[1] if before else 0)
            known.upto[slot] = (times, newest)
            changed.update(int(start) for start in scored[::2])
        starts = sorted(changed)
        for at in range(0, len(starts), _FETCHED):
            self._fetch(known, name, starts[at : at + _FETCHED], slots, shape)
        if starts:
            # What was merged after the list of slices was read may be missing in them, or be there twice.
            states = self._store.do_all([("HMGET", keys.state(slot), "epoch", "merged") for slot in slots])
            if any(known.upto[slot][0] != _times(state) for slot, state in zip(slots, states, strict=True)):
                self._look_again(known, name, slots, shape)

    def _look_again(self, known: _Known, name: _Name, slots: list[str], shape: tuple[int, int]) -> None:
        """Read everything anew: a new owner may have gone on from an older copy of the store, or slices were merged."""
        self._forget_plain(name, known.slices)
        known.upto, known.slices, known.total = {}, {}, None
        self._refresh(known, name, slots, shape)

    def _fetch(self, known: _Known, name: _Name, starts: list[int], slots: list[str], shape: tuple[int, int]) -> None:
        hashes = self._store.do_all(
            [("HGETALL", keys.cells(slot, *name[1:], start)) for start in starts for slot in slots]
        )
        for at, start in enumerate(starts):
            vectors = vectors_of(hashes[at * len(slots) : (at + 1) * len(slots)], shape)
            vectors.flags.writeable = False
            change = vectors - self._vectors(name, known, start, shape) if start in known.slices else vectors
            known.total = change.copy() if known.total is None else known.total + change
            self._forget_plain(name, [start])
            known.slices[start] = _CODEC.compress(vectors.tobytes(), asbytes=True)
            self._hold_plain(name, start, vectors)
        self._shrink()

    def _vectors(self, name: _Name, known: _Known, start: int, shape: tuple[int, int]) -> FloatArray:
        found = self._plain.get((name, start))
        if found is None:
            unpacked = _CODEC.decompress(known.slices[start], shape[0] * shape[1] * 8, asbytes=True)
            found = np.frombuffer(unpacked).reshape(shape)
            self._hold_plain(name, start, found)
        else:
            self._plain.move_to_end((name, start))
        return found

    def _hold_plain(self, name: _Name, start: int, vectors: FloatArray) -> None:
        self._plain[name, start] = vectors
        self._plain_bytes += vectors.nbytes

    def _forget_plain(self, name: _Name, starts: Iterable[int]) -> None:
        for start in starts:
            dropped = self._plain.pop((name, start), None)
            self._plain_bytes -= dropped.nbytes if dropped is not None else 0

    def _shrink(self) -> None:
        while self._plain_bytes > self._most_bytes:
            _, dropped = self._plain.popitem(last=False)
            self._plain_bytes -= dropped.nbytes


def _times(state: list[bytes | None]) -> tuple[bytes, bytes]:
    return state[0] or b"", state[1] or b""


def _name(slot: str, baseline: Baseline) -> _Name:
    return (slot, baseline.model, baseline.version, baseline.fingerprint)
