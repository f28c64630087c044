"""The vectors of one slot that are being added to: held in memory, written whole, loaded again when unsure."""

from collections import OrderedDict
from collections.abc import Iterable, Mapping

import numpy as np

from monitors.baseline.baselines import Baseline
from monitors.readings import FloatArray
from service.storage import keys
from service.storage.ownership import Write
from service.storage.store import Store

PACKED = np.dtype("<f8")
"""How a vector is stored."""

# model, version, fingerprint, slice start
_Name = tuple[str, str, str, int]


class OpenProfiles:
    """Profiles of one slot, S segments x `width` for each slice. Only the slot's owner may use it.

    Memory is bounded: what was committed can be forgotten and is loaded again. After a failed commit call `forget`.
    """

    def __init__(self, store: Store, slot: str, *, most_bytes: int = 256 << 20) -> None:
        self._store = store
        self._slot = slot
        self._most_bytes = most_bytes
        self._held: OrderedDict[_Name, FloatArray] = OrderedDict()
        self._held_bytes = 0
        self._touched: dict[_Name, set[int]] = {}
        self._told: set[tuple[str, str, str]] = set()

    def add(self, baseline: Baseline, counts: Mapping[int, FloatArray]) -> None:
        """Add to the slices; a negative count takes an earlier one back."""
        names = [(baseline.model, baseline.version, baseline.fingerprint, start) for start in counts]
        self._load([name for name in names if name not in self._held], counts)
        for name, more in zip(names, counts.values(), strict=True):
            changed = np.flatnonzero(more.any(axis=1))
            self._held[name][changed] += more[changed]
            self._held.move_to_end(name)
            self._touched.setdefault(name, set()).update(changed.tolist())

    def writes(self, commit: int) -> list[Write]:
        """Whole vectors of everything added to since the last call, and the slices they belong to."""
        news = {name[:3] for name in self._touched} - self._told
        self._told |= news
        found = [Write("HSETNX", keys.profiles(self._slot), (":".join(name), "")) for name in sorted(news)]
        for name, segments in self._touched.items():
            model, version, fingerprint, start = name
            vectors = self._held[name]
            words = tuple(
                word for index in sorted(segments) for word in (index, vectors[index].astype(PACKED).tobytes())
            )
            found.append(Write("HSET", keys.cells(self._slot, model, version, fingerprint, start), words))
            found.append(Write("ZADD", keys.slices(self._slot, model, version, fingerprint), (commit, start)))
        self._touched.clear()
        self._shrink()
        return [write for write in found if write.words]

    def drop(self, owner: tuple[str, str, str], starts: Iterable[int]) -> None:
        """Hold nothing of these slices of a baseline: the slot's owner has changed what is stored of them."""
        self._told.discard(owner)
        for start in starts:
            dropped = self._held.pop((*owner, start), None)
            self._held_bytes -= dropped.nbytes if dropped is not None else 0

    def forget(self) -> None:
        """Hold nothing: what is in memory may differ from what is stored."""
        self._told.clear()
        self._held.clear()
        self._held_bytes = 0
        self._touched.clear()

    def _load(self, names: list[_Name], counts: Mapping[int, FloatArray]) -> None:
        answers = self._store.do_all([("HGETALL", keys.cells(self._slot, *name)) for name in names])
        for name, answer in zip(names, answers, strict=True):
            self._held[name] = vectors_of([answer], counts[name[3]].shape)
            self._held_bytes += self._held[name].nbytes

    def _shrink(self) -> None:
        # Called between committing steps only, so everything held is stored or about to be.
        while self._held_bytes > self._most_bytes and len(self._held) > 1:
            _, dropped = self._held.popitem(last=False)
            self._held_bytes -= dropped.nbytes


def vectors_of(answers: list[list[bytes]], shape: tuple[int, ...]) -> FloatArray:
    """The sum of stored hashes (segment index, packed vector, ...) as [S, width]."""
    vectors = np.zeros(shape)
    for answer in answers:
        for index, packed in zip(answer[::2], answer[1::2], strict=True):
            vectors[int(index)] += np.frombuffer(packed, PACKED)
    return vectors
