"""Accept a checked batch: fill in what the sender left out, append it once, and give the answer."""

import hashlib
import uuid
from collections import Counter
from collections.abc import Callable
from datetime import datetime
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from service.errors import NothingAcceptable
from service.intake import log
from service.intake.entries import LABELS, PREDICTIONS
from service.intake.wire import Batch
from service.storage import keys

# Rejections told one by one in an answer; the count is always whole. The answer is kept for a day under its key.
_MOST_TOLD = 1000
# Rows of a model that has no champion yet, and do not say their version.
UNVERSIONED = "unversioned"


class Ingest:
    """The way into the log. `champion_of` gives a model's current version, None where there is none."""

    def __init__(self, partition_log: log.Log, champion_of: Callable[[str], str | None]) -> None:
        self._log = partition_log
        self._champion_of = champion_of

    def accept_predictions(
        self, model: str, batch: Batch, key: str | None, body_hash: str, now: datetime
    ) -> dict[str, Any]:
        """`{"batch", "accepted", "rejected": [{"row", "field", "problem"}], "rejected_rows"}` once it is durable.

        Rows without a version get the current champion's. `batch.table` is as `wire` makes it.

        Raises:
            BadName: the model's name cannot be used.
            NothingAcceptable: the batch has no rows left.
            KeyConflict, Backlogged, NotDurable, StoreAway, StoreFull: see `Log.append`.
        """
        keys.check_name("model", model)
        version = batch.table.column("model_version")
        if version.null_count:
            champion = self._champion_of(model) or UNVERSIONED
            index = batch.table.column_names.index("model_version")
            filled = pc.fill_null(version, pa.scalar(champion, pa.string()))
            batch = Batch(batch.table.set_column(index, "model_version", filled), batch.rejected)
        return self._append(PREDICTIONS, model, batch, key, body_hash, now)

    def accept_labels(self, model: str, batch: Batch, key: str | None, body_hash: str, now: datetime) -> dict[str, Any]:
        """The same for labels."""
        keys.check_name("model", model)
        return self._append(LABELS, model, batch, key, body_hash, now)

    def _append(
        self, kind: str, model: str, batch: Batch, key: str | None, body_hash: str, now: datetime
    ) -> dict[str, Any]:
        reasons = Counter(rejection.reason for rejection in batch.rejected)
        if not batch.table.num_rows:
            self._count_refused(model, reasons)
            raise NothingAcceptable(batch.rejected)
        name = log.scope_of(kind, model, key or uuid.uuid4().hex)
        answer = {
            "batch": name,
            "accepted": batch.table.num_rows,
            "rejected": [
                {"row": rejection.row, "field": rejection.field, "problem": rejection.problem}
                for rejection in batch.rejected[:_MOST_TOLD]
            ],
            "rejected_rows": len(batch.rejected),
        }
        given = self._log.append(
            kind,
            model,
            batch.table,
            key=key,
            body_hash=body_hash,
            answer=msgspec.json.encode(answer),
            rejected=reasons,
            now=now,
        )
        decoded: dict[str, Any] = msgspec.json.decode(given)
        return decoded

    def _count_refused(self, model: str, reasons: Counter[str]) -> None:
        # Spread by model, so that no one slot takes the blows of a broken sender alone.
        slot = keys.slot(int(log.scope_of("", model, "")[:8], 16) % self._log.partitions)
        self._log.store.do_all(
            [("HINCRBY", keys.refused(slot), f"rejected:{model}:{reason}", count) for reason, count in reasons.items()]
        )


def hash_body(body: bytes) -> str:
    """What tells one body from another, as 64 hexadecimal digits."""
    return hashlib.blake2b(body, digest_size=32).hexdigest()
