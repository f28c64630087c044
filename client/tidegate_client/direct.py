"""Sending for who waits for the answer: tried again for a while, then raised."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping
from typing import Any

from tidegate_client.backoff import Backoff
from tidegate_client.batches import Batch, Kind
from tidegate_client.errors import Away, BadRow, Refused
from tidegate_client.line import Line
from tidegate_client.options import Options
from tidegate_client.replies import Again, Answer, Final, Reply, Taken, TooLarge, Uncompressed
from tidegate_client.rows import encode


class Direct:
    """Posts rows, each call one batch."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._line = Line(options)

    def post(self, kind: Kind, rows: Iterable[Mapping[str, Any]], key: str | None, seconds: float) -> Answer:
        """The service's answer. Raises BadRow, Refused, Away."""
        attempt = _Attempt(_batch_of(kind, rows, key), self._options, seconds)
        while True:
            outcome = attempt.read(self._line.post(attempt.batch))
            if isinstance(outcome, Answer):
                return outcome
            time.sleep(outcome)  # the pause before the next try

    async def post_async(
        self, kind: Kind, rows: Iterable[Mapping[str, Any]], key: str | None, seconds: float
    ) -> Answer:
        """The same in an event loop."""
        attempt = _Attempt(_batch_of(kind, rows, key), self._options, seconds)
        while True:
            outcome = attempt.read(await self._line.post_async(attempt.batch))
            if isinstance(outcome, Answer):
                return outcome
            await asyncio.sleep(outcome)

    def close(self) -> None:
        """Close the connections of threads."""
        self._line.close()

    async def close_async(self) -> None:
        """Close all connections."""
        await self._line.close_async()


class _Attempt:
    """One batch until it is answered or given up."""

    def __init__(self, batch: Batch, options: Options, seconds: float) -> None:
        self.batch = batch
        self._seconds, self._until = seconds, time.monotonic() + seconds
        self._backoff = Backoff(options.retry_seconds)

    def read(self, reply: Reply) -> Answer | float:
        """The answer, or the seconds to wait before the next try."""
        key = self.batch.key
        match reply:
            case Taken():
                rejected = self.batch.named(reply.told)
                return Answer(reply.batch, reply.accepted, reply.rejected_rows, rejected, reply.durability)
            case Uncompressed():
                return 0.0
            case Final():
                raise Refused(reply.why, key, self.batch.named(reply.told))
            case TooLarge():
                raise Refused(f"{reply.why}: send fewer rows at a time", key)
            case Again(passes=False):
                raise Away(reply.why, key)
        wait = self._backoff.failed(reply.after_seconds)
        if time.monotonic() + wait > self._until:
            raise Away(f"not taken within {self._seconds:g} s: {reply.why}; send it again with key={key!r}", key)
        return wait


def _batch_of(kind: Kind, rows: Iterable[Mapping[str, Any]], key: str | None) -> Batch:
    now = time.time()
    lines = [encode({"timestamp": now, **row}) for row in rows]
    if not lines:
        raise BadRow(f"there are no {kind} to send")
    return Batch.of(kind, lines, key)
