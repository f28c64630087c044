"""The client: what a service that predicts holds on to."""

from __future__ import annotations

import asyncio
import atexit
import os
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Self

from tidegate_client.batches import LABELS, PREDICTIONS
from tidegate_client.courier import Courier
from tidegate_client.direct import Direct
from tidegate_client.errors import BadOption
from tidegate_client.notices import Notices
from tidegate_client.options import Options, default_spool
from tidegate_client.queue import Entry
from tidegate_client.replies import Answer, Rejection
from tidegate_client.rows import Label, Prediction, Row, Values, new_row
from tidegate_client.tally import Counts, Tally


def connect(
    url: str | None = None,
    model: str | None = None,
    *,
    key: str | None = None,
    model_version: str | None = None,
    spool: str | os.PathLike[str] | bool = True,
    spool_bytes: int = Options.spool_bytes,
    fsync: bool = Options.fsync,
    batch_rows: int = Options.batch_rows,
    batch_bytes: int = Options.batch_bytes,
    batch_seconds: float = Options.batch_seconds,
    queue_rows: int = Options.queue_rows,
    memory_bytes: int = Options.memory_bytes,
    timeout_seconds: float = Options.timeout_seconds,
    retry_seconds: float = Options.retry_seconds,
    exit_seconds: float = Options.exit_seconds,
    compress: bool = Options.compress,
    strict: bool = Options.strict,
    on_rejected: Callable[[Rejection], object] | None = None,
) -> Client:
    """A client for one model of the Tidegate at `url`. It connects to nothing yet, and never fails because of it.

    Args:
        url: the service's address; TIDEGATE_URL where it is left out.
        model: the model's name; TIDEGATE_MODEL where it is left out.
        key: an access key of scope `ingest`; TIDEGATE_KEY where it is left out.
        model_version: the version of rows that do not say theirs; without it the champion of when they arrive.
        spool: the folder where batches lie until they are acknowledged; True for `TIDEGATE_SPOOL` or the user's folder
            for state, False for memory only.
        spool_bytes: what the folder may hold for this model, over all processes; beyond it new rows are dropped.
        fsync: whether a batch is to be on the disk, and not only with the system, before it is sent.
        batch_rows: a batch is sent when it has so many rows,
        batch_bytes: or so many bytes,
        batch_seconds: or after so many seconds.
        queue_rows: rows that may wait in memory to be packed; beyond it new rows are dropped.
        memory_bytes: batches that may wait in memory where the spool cannot take them.
        timeout_seconds: how long a request may take.
        retry_seconds: the longest pause between tries.
        exit_seconds: how long the end of the program may be held up to send what is left.
        compress: send gzip, where the service takes it.
        strict: raise what is otherwise logged, for tests of your service.
        on_rejected: called in the background with each row that the service rejects.

    Raises:
        BadOption: a value cannot be used.
    """
    return Client(
        Options(
            url=url or os.environ.get("TIDEGATE_URL", ""),
            model=model or os.environ.get("TIDEGATE_MODEL", ""),
            key=os.environ.get("TIDEGATE_KEY", "") if key is None else key,
            model_version=model_version,
            spool=_folder(spool),
            spool_bytes=spool_bytes,
            fsync=fsync,
            batch_rows=batch_rows,
            batch_bytes=batch_bytes,
            batch_seconds=batch_seconds,
            queue_rows=queue_rows,
            memory_bytes=memory_bytes,
            timeout_seconds=timeout_seconds,
            retry_seconds=retry_seconds,
            exit_seconds=exit_seconds,
            compress=compress,
            strict=strict,
            on_rejected=on_rejected,
        )
    )


def _folder(spool: str | os.PathLike[str] | bool) -> Path | None:  # noqa: FBT001  the user's own word
    if isinstance(spool, bool):
        return default_spool() if spool else None
    if not os.fspath(spool):
        raise BadOption("spool is ''; give a folder, or spool=False for memory only")
    return Path(spool).absolute()


class Client:
    """Sends what is logged, in the background. Safe in threads, in event loops, and after a fork.

    Nothing runs before the first row (or `start`), so it can be made at import, and before a server forks. After
    `close` the next row starts it again.
    """

    def __init__(self, options: Options) -> None:
        self.options = options
        self._begin()

    def _begin(self) -> None:
        self._tally = Tally()
        self._notices = Notices(self.options.model)
        self._direct = Direct(self.options)
        self._courier: Courier | None = None

    def log(
        self,
        prediction_id: str | int,
        prediction: object,
        *,
        features: Values | None = None,
        scores: Mapping[str, float] | None = None,
        confidence: float | None = None,
        tags: Values | None = None,
        timestamp: datetime | None = None,
        model_version: str | None = None,
    ) -> None:
        """Note a prediction: at once, and without ever raising, unless the client is strict.

        The mappings are copied, the values in them are not: leave lists and arrays as they are for `batch_seconds`.
        `timestamp` is now where it is left out, and UTC where it has no zone.
        """
        try:
            more = {
                "features": features,
                "scores": scores,
                "confidence": confidence,
                "tags": tags,
                "timestamp": timestamp,
                "model_version": model_version or self.options.model_version,
            }
            self.take(Entry(PREDICTIONS, 1, (new_row("prediction", prediction_id, prediction, more),)))
        except Exception as error:  # noqa: BLE001  the caller's request is worth more than its row
            self.unusable(error)

    def label(
        self,
        prediction_id: str | int,
        label: object,
        *,
        outcome: Values | None = None,
        timestamp: datetime | None = None,
    ) -> None:
        """Note the true answer to a prediction, in the same way; `outcome` is what the user experienced."""
        try:
            more = {"outcome": outcome, "timestamp": timestamp}
            self.take(Entry(LABELS, 1, (new_row("label", prediction_id, label, more),)))
        except Exception as error:  # noqa: BLE001  same
            self.unusable(error)

    def take(self, entry: Entry) -> None:
        """Take rows as they are; `log` and `label` make them."""
        (self._courier or self.start()).take(entry)

    def unusable(self, error: Exception, rows: int = 1) -> None:
        """Count rows that cannot be sent, and say it once; raise the error where the client is strict."""
        if self.options.strict:
            raise error
        self._tally.log(rows)
        self._tally.add(unusable=rows)
        self._notices.once(
            f"unusable:{error!r:.80}", f"a row cannot be sent, and others like it are only counted: {error}"
        )

    def post(self, rows: Iterable[Prediction], *, key: str | None = None, seconds: float = 30.0) -> Answer:
        """Send predictions as one batch now, and wait for the service's answer; tried again for so many seconds.

        The same key and rows again count once; without a key one is made. Neither queue nor spool is used.

        Raises:
            Refused: the service will not take them; `rejected` has its reasons.
            Away: it did not say in time that it took them; `key` is for sending the same rows again.
            BadRow: a row cannot be written as JSON.
        """
        return self._direct.post(PREDICTIONS, map(self._versioned, rows), key, seconds)

    def post_labels(self, rows: Iterable[Label], *, key: str | None = None, seconds: float = 30.0) -> Answer:
        """The same for labels."""
        return self._direct.post(LABELS, rows, key, seconds)

    async def apost(self, rows: Iterable[Prediction], *, key: str | None = None, seconds: float = 30.0) -> Answer:
        """`post` for asyncio."""
        return await self._direct.post_async(PREDICTIONS, map(self._versioned, rows), key, seconds)

    async def apost_labels(self, rows: Iterable[Label], *, key: str | None = None, seconds: float = 30.0) -> Answer:
        """`post_labels` for asyncio."""
        return await self._direct.post_async(LABELS, rows, key, seconds)

    def flush(self, seconds: float | None = None) -> bool:
        """Whether every row logged until now has come to an end within so many seconds (`exit_seconds`)."""
        courier = self._courier
        return courier is None or courier.flush(self.options.exit_seconds if seconds is None else seconds)

    async def aflush(self, seconds: float | None = None) -> bool:
        """`flush` for asyncio: waits in a thread, so the loop goes on."""
        return await asyncio.to_thread(self.flush, seconds)

    def close(self, seconds: float | None = None) -> None:
        """Flush, then stop. Rows that the service has not acknowledged stay in the spool; without one they are lost."""
        with _lock:
            courier, self._courier = self._courier, None
            _open.discard(self)
        if courier is not None:
            courier.close(self.options.exit_seconds if seconds is None else seconds)
        self._direct.close()

    async def aclose(self, seconds: float | None = None) -> None:
        """`close` for asyncio."""
        await asyncio.to_thread(self.close, seconds)
        await self._direct.close_async()

    def counts(self) -> Counts:
        """What became of the rows of this process."""
        return self._tally.counts()

    def start(self) -> Courier:
        """Start the threads now, which also sends what an ended process has left in the spool."""
        with _lock:
            if self._courier is None:
                self._courier = Courier(self.options, self._tally, self._notices)
                _open.add(self)
            return self._courier

    def forget(self) -> None:
        """Begin anew in the child of a fork: threads, connections and rows stay with the parent."""
        if self._courier is not None:
            self._courier.forget()
        self._begin()

    def _versioned(self, row: Prediction) -> Row:
        version = self.options.model_version
        return {**row} if version is None else {"model_version": version, **row}

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self.aclose()


# Clients that run in this process. Held while a process forks, so that the child finds them whole.
_open: set[Client] = set()
_lock = threading.RLock()


@atexit.register
def _close_all() -> None:
    """Send what is left, all clients together within the patience of the most patient one."""
    begun = time.monotonic()
    for client in list(_open):
        client.close(max(0.0, client.options.exit_seconds - (time.monotonic() - begun)))


def _after_fork() -> None:
    _lock.release()
    for client in list(_open):
        client.forget()
    _open.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_lock.acquire, after_in_parent=_lock.release, after_in_child=_after_fork)
