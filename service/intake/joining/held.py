"""What the label join has read and not joined yet: it stays in memory, and the positions in the store stay with it."""

from collections.abc import Mapping, Sequence

import pyarrow as pa

from service.intake.joining.ends import Label
from service.intake.joining.packed import Batch
from service.intake.joining.recent import Block, Recent, Seen
from service.intake.log.entries import Entry


class Held:
    """Predictions by model, and labels; how much was read for them, and the positions it leads to."""

    def __init__(self, positions: Sequence[str]) -> None:
        self.positions = list(positions)
        self._predictions: dict[str, tuple[list[Batch], list[pa.StringArray]]] = {}
        self.labels: list[Label] = []
        self.entries = 0
        self.rows = 0
        self.bytes = 0
        self._found: dict[str, dict[str, Seen]] = {}
        self._sought: tuple[int, int] | None = None

    def add(self, model: str, batch: Batch, ids: pa.StringArray) -> None:
        """Predictions were read."""
        batches, parts = self._predictions.setdefault(model, ([], []))
        batches.append(batch)
        parts.append(ids)

    def predictions(self) -> dict[str, Block]:
        """All of them by model."""
        return {model: Block(*parts) for model, parts in self._predictions.items()}

    def pass_by(self, partition: int, entry: Entry) -> None:
        """The entry was read."""
        self.positions[partition] = entry.id
        self.entries += 1
        self.rows += entry.rows
        self.bytes += len(entry.body)

    def found(self, recent: Recent) -> Mapping[str, dict[str, Seen]]:
        """The recent predictions of the labels held, by model and id. Sought again only where more was read."""
        sought = (self.rows, len(self.labels))
        if sought != self._sought:
            self._sought = sought
            names: dict[str, list[str]] = {}
            for label in self.labels:
                names.setdefault(label.model, []).append(label.identity)
            for model, own in names.items():
                known = self._found.setdefault(model, {})
                known |= recent.find(model, [name for name in own if name not in known])
        return self._found
