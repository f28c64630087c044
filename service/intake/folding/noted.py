"""What is noted about columns, versions and segments: held by the owner of a slot, and read over all slots."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import reduce

import msgspec

from service.intake.folding.schema import NAMES_KEPT, SEGMENT, UNKNOWN, UNMEASURED, Fact, heaviest
from service.storage import keys
from service.storage.ownership import Write
from service.storage.store import Store

# Of names that a sender can invent: so many of a kind, version and slot. A name has at most 256 bytes, or that for each
# column of its cut: about 40 kB for 100 names. Missing and retyped columns are the baseline's own.
_MOST = {UNKNOWN: 100, UNMEASURED: 100, SEGMENT: NAMES_KEPT}


class _Name(msgspec.Struct, frozen=True, array_like=True):
    """What is noted, within a model: a hash field."""

    version: str
    kind: str
    group: str
    name: str


class _Seen(msgspec.Struct, frozen=True, array_like=True):
    """How many rows, and the event times (unix seconds) of the first and the last."""

    rows: int
    since: float
    until: float
    form: str

    def and_(self, other: "_Seen") -> "_Seen":
        newer = self if self.until >= other.until else other
        since, until = min(self.since, other.since), max(self.until, other.until)
        return _Seen(self.rows + other.rows, since, until, newer.form)


@dataclass(frozen=True)
class Noted:
    """One fact over all partitions: see `Fact`. `since` and `until` are event times in unix seconds."""

    version: str
    kind: str
    group: str
    name: str
    rows: int
    since: float
    until: float
    form: str


class Notes:
    """What one slot has noted, in memory as in the store. After a failed commit call `forget`."""

    def __init__(self, store: Store, slot: str) -> None:
        self._store = store
        self._slot = slot
        self._held: dict[str, dict[_Name, _Seen]] = {}
        self._changed: dict[str, set[_Name]] = {}

    def add(self, model: str, version: str, facts: Iterable[Fact], since: float, until: float) -> None:
        """Note facts about rows of a version with event times in this span."""
        groups = set()
        for fact in facts:
            held = self._load(model)
            name, seen = _Name(version, fact.kind, fact.group, fact.name), _Seen(fact.rows, since, until, fact.form)
            held[name] = held[name].and_(seen) if name in held else seen
            self._changed.setdefault(model, set()).add(name)
            groups.add((fact.kind, fact.group))
        for kind, group in groups:
            if kind in _MOST:
                self._bound(model, version, kind, group)

    def writes(self) -> list[Write]:
        """What changed since the last call."""
        found = []
        for model, names in self._changed.items():
            held, key = self._held[model], keys.noted(self._slot, model)
            kept = [(_packed(name), _packed(held[name])) for name in names if name in held]
            gone = tuple(_packed(name) for name in names if name not in held)
            found.append(Write("HSET", key, tuple(word for pair in kept for word in pair)))
            found.append(Write("HDEL", key, gone))
        self._changed.clear()
        return [write for write in found if write.words]

    def forget(self) -> None:
        """Hold nothing: what is in memory may differ from what is stored."""
        self._held.clear()
        self._changed.clear()

    def _load(self, model: str) -> dict[_Name, _Seen]:
        if model not in self._held:
            self._held[model] = dict(_unpack(self._store.do("HGETALL", keys.noted(self._slot, model))))
        return self._held[model]

    def _bound(self, model: str, version: str, kind: str, group: str) -> None:
        held = self._held[model]
        names = {n.name: n for n in held if (n.version, n.kind, n.group) == (version, kind, group)}
        rows = {name: held[n].rows for name, n in names.items()}
        kept = heaviest(rows, _MOST[kind])
        if kept == rows:
            return
        rest = _Name(version, kind, group, "")
        merged = [held[rest]] if rest in held else []
        merged += [held.pop(n) for name, n in names.items() if name not in kept]
        for name in filter(None, kept):
            held[names[name]] = msgspec.structs.replace(held[names[name]], rows=kept[name])
        held[rest] = msgspec.structs.replace(reduce(_Seen.and_, merged), rows=kept[""], form="")
        self._changed[model].update(names.values(), [rest])


def read(store: Store, partitions: int, models: Sequence[str]) -> dict[str, list[Noted]]:
    """What all slots noted of each of the models, most rows first; one round trip."""
    wanted = [(model, keys.noted(keys.slot(number), model)) for model in models for number in range(partitions)]
    sums: dict[str, dict[_Name, _Seen]] = {model: {} for model in models}
    answers = store.do_all([("HGETALL", key) for _, key in wanted])
    for (model, _), answer in zip(wanted, answers, strict=True):
        for name, seen in _unpack(answer):
            before = sums[model].get(name)
            sums[model][name] = before.and_(seen) if before else seen
    return {
        model: sorted(
            (Noted(n.version, n.kind, n.group, n.name, s.rows, s.since, s.until, s.form) for n, s in found.items()),
            key=lambda each: (-each.rows, each.kind, each.name),
        )
        for model, found in sums.items()
    }


def newcomers(noted: Iterable[Noted], version: str) -> dict[str, dict[str, int]]:
    """Names of new segments of a version with their rows, the largest first, by the tail that they are in."""
    found: dict[str, dict[str, int]] = {}
    for each in noted:
        if each.kind == SEGMENT and each.version == version and each.name:
            found.setdefault(each.group, {})[each.name] = each.rows
    return found


def _packed(value: msgspec.Struct) -> bytes:
    return msgspec.json.encode(value)


def _unpack(answer: Sequence[bytes]) -> Iterable[tuple[_Name, _Seen]]:
    decode = msgspec.json.decode
    for name, seen in zip(answer[::2], answer[1::2], strict=True):
        yield decode(name, type=_Name), decode(seen, type=_Seen)
