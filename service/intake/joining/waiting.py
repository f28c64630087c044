"""Labels whose prediction has not come yet: in memory for the owner of the label slot, and in the store."""

from collections.abc import Iterator

import msgspec

from service.intake.joining.ends import Label
from service.intake.joining.recent import Block, Seen
from service.storage import keys
from service.storage.ownership import Write
from service.storage.store import Store


class Waiting:
    """The waiting labels, the one that came first in front. `writes` are what the store does not know yet."""

    def __init__(self, store: Store) -> None:
        found = store.do("HGETALL", keys.waiting())
        labels = [msgspec.msgpack.decode(packed, type=Label) for packed in found[1::2]]
        labels.sort(key=lambda label: label.arrived)
        self._labels = {(label.model, label.identity): label for label in labels}
        self._names: dict[str, set[str]] = {}
        for label in labels:
            self._names.setdefault(label.model, set()).add(label.identity)
        self._changed: set[tuple[str, str]] = set()

    def __len__(self) -> int:
        """How many wait."""
        return len(self._labels)

    def find(self, model: str, identity: str) -> Label | None:
        """The label that waits for this prediction."""
        return self._labels.get((model, identity))

    def among(self, model: str, block: Block) -> dict[str, Seen]:
        """Those of the predictions that a label waits for."""
        names = self._names.get(model)
        if not names:
            return {}
        few = list(names) if len(names) <= block.rows else list(names.intersection(block.ids.to_pylist()))
        found = block.find(few) if few else {}
        return {name: seen for name, seen in found.items() if seen.batch.is_readable()}

    def put(self, label: Label) -> None:
        """Let it wait, in the place of an earlier one for the same prediction."""
        self._labels[label.model, label.identity] = label
        self._names.setdefault(label.model, set()).add(label.identity)
        self._changed.add((label.model, label.identity))

    def pop(self, model: str, identity: str) -> Label:
        """The label that waits for this prediction; it waits no longer."""
        self._changed.add((model, identity))
        self._names[model].discard(identity)
        return self._labels.pop((model, identity))

    def pop_before(self, arrived: int) -> Iterator[Label]:
        """Labels that came before this moment (microseconds since 1970); they wait no longer."""
        while self.has_before(arrived):
            model, identity = next(iter(self._labels))
            yield self.pop(model, identity)

    def has_before(self, arrived: int) -> bool:
        """Whether `pop_before` would give something."""
        return bool(self._labels) and next(iter(self._labels.values())).arrived < arrived

    def writes(self) -> list[Write]:
        """The changes since the last call."""
        kept: list[str | bytes] = []
        gone: list[str] = []
        for name in sorted(self._changed):
            label = self._labels.get(name)
            if label is None:
                gone.append(":".join(name))
            else:
                kept += [":".join(name), msgspec.msgpack.encode(label)]
        self._changed.clear()
        found = [Write("HSET", keys.waiting(), tuple(kept)), Write("HDEL", keys.waiting(), tuple(gone))]
        return [write for write in found if write.words]
