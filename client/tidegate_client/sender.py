"""Sends what is on the shelf, batch by batch, until each has come to an end."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from tidegate_client.backoff import Backoff
from tidegate_client.batches import Batch
from tidegate_client.line import Line
from tidegate_client.notices import Notices
from tidegate_client.options import Options
from tidegate_client.replies import Again, Final, Rejection, Taken, Told, TooLarge, Uncompressed
from tidegate_client.shelves import Held, Shelf
from tidegate_client.tally import Tally

# How often a sender that has nothing to do looks for what an ended process left.
_LOOK_SECONDS = 10.0


class Sender:
    """Goes through `shelf` again and again. A batch that fails is left for the next round, so it holds up no other.

    `look` is called now and then between rounds. `news` is set when there is something new on the shelf.
    """

    def __init__(
        self, options: Options, shelf: Shelf, look: Callable[[], object], tally: Tally, notices: Notices
    ) -> None:
        self._options, self._shelf, self._look = options, shelf, look
        self._tally, self._notices = tally, notices
        self._line = Line(options)
        self._backoff = Backoff(options.retry_seconds)
        self._stopped, self._is_abandoned = threading.Event(), False
        self._hurry = threading.Event()
        self.news = threading.Event()
        self.ended = threading.Condition()
        """Notified when a batch has come to its end."""

    def run(self) -> None:
        """Send until stopped."""
        looked = -_LOOK_SECONDS
        while not self._stopped.is_set():
            self.news.clear()
            if time.monotonic() - looked >= _LOOK_SECONDS:
                looked = time.monotonic()
                self._look()
            if not self._go_through():
                self.news.wait(_LOOK_SECONDS)
        self._line.close()

    def hurry(self) -> None:
        """Try at once what failed, unless the service has asked for patience."""
        self._hurry.set()
        self.news.set()

    def stop(self) -> None:
        """Let `run` come back after the request that is on its way."""
        self._stopped.set()
        self.hurry()

    def abandon(self) -> None:
        """Count nothing any more: what was on its way is another's now."""
        self._is_abandoned = True

    def _go_through(self) -> bool:
        """One round; whether there was anything."""
        found = False
        for held in self._shelf.waiting():
            found = True
            if self._stopped.is_set():
                break
            self._try(held)
        return found

    def _try(self, held: Held) -> None:
        try:
            wait = self._deliver(held.batch)
        except Exception as error:  # noqa: BLE001  whatever it is, the other batches are not to wait for it
            self._notices.once(f"error:{type(error).__name__}", f"a batch could not be sent: {error!r}")
            wait = Again(repr(error))
        if wait is None:
            held.end()
            with self.ended:
                self.ended.notify_all()
            return
        self._notices.often("again", f"{wait.why}; {self._tally.counts().waiting:,} rows wait and are sent later")
        self._stopped.wait(wait.after_seconds)
        self._hurry.wait(self._backoff.failed())
        self._hurry.clear()

    def _deliver(self, batch: Batch) -> Again | None:
        """None when every row has come to an end; else why it has to be sent again."""
        reply = self._line.post(batch)
        if isinstance(reply, Uncompressed):
            reply = self._line.post(batch)
        if self._is_abandoned:
            return Again("the client was closed")
        match reply:
            case Taken():
                self._works()
                self._tally.add(accepted=reply.accepted, rejected=reply.rejected_rows)
                self._report(batch, reply.told)
            case TooLarge() if batch.rows > 1:
                return self._deliver_halves(batch)
            case Final() | TooLarge():
                self._works()
                self._tally.add(rejected=batch.rows)
                self._notices.once(f"final:{reply.why[:80]}", f"{batch.rows} {batch.kind} were refused: {reply.why}")
                self._report(batch, reply.told if isinstance(reply, Final) else ())
            case Again():
                return reply
        return None

    def _deliver_halves(self, batch: Batch) -> Again | None:
        """Both, or neither counts as sent: what was taken of it is known to the service by its key."""
        before = self._tally.counts()
        for half in batch.halves():
            if (wait := self._deliver(half)) is not None:
                after = self._tally.counts()
                self._tally.add(accepted=before.accepted - after.accepted, rejected=before.rejected - after.rejected)
                return wait
        return None

    def _works(self) -> None:
        self._backoff.worked()
        self._notices.over("again", "the service takes rows again")

    def _report(self, batch: Batch, told: tuple[Told, ...]) -> None:
        for rejection in batch.named(told):
            self._tell(rejection)

    def _tell(self, rejection: Rejection) -> None:
        text = f"{rejection.field} {rejection.problem}".strip()
        # Numbers and names of values would make each of them a reason of its own.
        self._notices.once(
            f"rejected:{rejection.kind}:{rejection.field}",
            f"row {rejection.prediction_id!r} of {rejection.kind} was rejected: {text}; more like it are only counted",
        )
        if self._options.on_rejected is None:
            return
        try:
            self._options.on_rejected(rejection)
        except Exception as error:  # noqa: BLE001  somebody else's code
            self._notices.once("on_rejected", f"on_rejected failed: {error!r}")
