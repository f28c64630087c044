"""A batch: some rows as one body under one idempotency key."""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass
from typing import Any, Literal

from tidegate_client.replies import Rejection, Told

Kind = Literal["predictions", "labels"]
PREDICTIONS: Kind = "predictions"
LABELS: Kind = "labels"


@dataclass(frozen=True, slots=True)
class Batch:
    """`body` has a JSON object a line, `rows` of them. The key is made once, so that sending twice counts once."""

    kind: Kind
    key: str
    rows: int
    body: bytes

    @classmethod
    def of(cls, kind: Kind, lines: list[bytes], key: str | None = None) -> Batch:
        """The batch of these rows, each the JSON object of one."""
        return cls(kind, key or uuid.uuid4().hex, len(lines), b"\n".join(lines) + b"\n")

    def halves(self) -> tuple[Batch, Batch]:
        r"""Two batches for one that is too large. Their keys follow from its own: split again, they count once.

        >>> whole = Batch.of("labels", [b"1", b"2", b"3"], "k")
        >>> [(half.key, half.body) for half in whole.halves()]
        [('k.0', b'1\n'), ('k.1', b'2\n3\n')]
        """
        lines = self.body.splitlines()
        middle = len(lines) // 2
        return Batch.of(self.kind, lines[:middle], f"{self.key}.0"), Batch.of(
            self.kind, lines[middle:], f"{self.key}.1"
        )

    def named(self, told: tuple[Told, ...]) -> tuple[Rejection, ...]:
        """The rejections that an answer told by row number, each with its prediction's id."""
        lines = self.body.splitlines() if told else []
        return tuple(
            Rejection(self.kind, _id_of(lines[each.row]) if each.row < len(lines) else "", *each) for each in told
        )


def _id_of(line: bytes) -> str:
    row: Any = json.loads(line)
    return str(row.get("prediction_id", ""))
