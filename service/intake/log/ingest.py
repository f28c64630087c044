"""Accept checked batches: fill in what the sender left out, append once, and give the answer."""

import hashlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from service.errors import NothingAcceptable, ServiceError
from service.intake.bodies.wire import Batch
from service.intake.log.entries import LABELS, PREDICTIONS
from service.intake.log.log import Log
from service.intake.log.posts import Part, post_of, scope_of
from service.storage import keys

# Rejections told one by one in an answer; the count is always whole. The answer is kept for a day under its key.
_MOST_TOLD = 1000
# Rows of a model that has no champion yet, and do not say their version.
UNVERSIONED = "unversioned"


class Ingest:
    """The way into the log. `champion_of` gives a model's current version, None where there is none."""

    def __init__(self, partition_log: Log, champion_of: Callable[[str], str | None]) -> None:
        self.log = partition_log
        self._champion_of = champion_of

    def accept_predictions(
        self, model: str, batch: Batch, key: str | None, body_hash: str, now: datetime
    ) -> dict[str, Any]:
        """`{"batch", "accepted", "rejected": [{"row", "field", "problem"}], "rejected_rows", "durability"}` once the
        rows are durable.

        Rows without a version get the current champion's. `batch.table` is as `wire` makes it.

        Raises:
            BadName: the model's name cannot be used.
            NothingAcceptable: the batch has no rows left.
            KeyConflict, Backlogged, NotDurable, StoreAway, StoreFull: see `Log.append`.
        """
        return self.accept(PREDICTIONS, model, batch, key, body_hash, now)

    def accept_labels(self, model: str, batch: Batch, key: str | None, body_hash: str, now: datetime) -> dict[str, Any]:
        """The same for labels."""
        return self.accept(LABELS, model, batch, key, body_hash, now)

    def accept(
        self, kind: str, model: str, batch: Batch, key: str | None, body_hash: str, now: datetime
    ) -> dict[str, Any]:
        """The same for either kind."""
        keys.check_name("model", model)
        reasons = Counter(rejection.reason for rejection in batch.rejected)
        if not batch.table.num_rows:
            self._count_refused(model, reasons)
            raise NothingAcceptable(batch.rejected)
        post = post_of(kind, model, key, body_hash, _answer(batch))
        part = Part(kind, model, self._versioned(kind, model, batch.table), [post], reasons)
        before = self.log.append(part, now)
        return self.told(post.scope, post.answer if before is None else before)

    def accept_all(self, parts: Sequence[Part], now: datetime) -> list[bytes | ServiceError | None]:
        """Append parts all of whose rows are good, all at once; see `Log.append_all`."""
        filled = [replace(part, table=self._versioned(part.kind, part.model, part.table)) for part in parts]
        return self.log.append_all(filled, now)

    def told(self, scope: str, answer: bytes) -> dict[str, Any]:
        """An answer as it is kept, in full."""
        kept = msgspec.json.decode(answer)
        kept = kept if isinstance(kept, dict) else {"accepted": kept, "rejected": [], "rejected_rows": 0}
        return {"batch": scope, **kept, "durability": self.log.store.assured}

    def _versioned(self, kind: str, model: str, table: pa.Table) -> pa.Table:
        if kind != PREDICTIONS:
            return table
        version = table.column("model_version")
        if not version.null_count:
            return table
        champion = self._champion_of(model) or UNVERSIONED
        filled = pc.fill_null(version, pa.scalar(champion, pa.string()))
        return table.set_column(table.column_names.index("model_version"), "model_version", filled)

    def _count_refused(self, model: str, reasons: Counter[str]) -> None:
        # Spread by model, so that no one slot takes the blows of a broken sender alone.
        slot = keys.slot(int(scope_of("", model, "")[:8], 16) % self.log.partitions)
        self.log.store.do_all(
            [("HINCRBY", keys.refused(slot), f"rejected:{model}:{reason}", count) for reason, count in reasons.items()]
        )


def _answer(batch: Batch) -> bytes:
    """What to answer, as it is kept: the number of rows alone where all were taken."""
    if not batch.rejected:
        return msgspec.json.encode(batch.table.num_rows)
    told = [
        {"row": rejection.row, "field": rejection.field, "problem": rejection.problem}
        for rejection in batch.rejected[:_MOST_TOLD]
    ]
    kept = {"accepted": batch.table.num_rows, "rejected": told, "rejected_rows": len(batch.rejected)}
    return msgspec.json.encode(kept)


def hash_body(body: bytes) -> str:
    """What tells one body from another, as 64 hexadecimal digits."""
    # On processors of today twice as fast as blake2b.
    return hashlib.sha256(body).hexdigest()
