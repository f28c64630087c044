"""Delivery: letters leave the outbox, each tried again until it is taken, refused for good, or a day old."""

import logging
from collections.abc import Callable
from datetime import datetime, timedelta

from service.house import House
from service.notices.notice import Notice
from service.notices.outbox import Letter, Outbox, again, ended
from service.notices.post import SECONDS, Reply, Stopped, post
from service.notices.receivers import VARIABLES, receivers_of

_log = logging.getLogger(__name__)
PATIENCE = timedelta(days=1)
"""So long is a letter tried."""
FIRST_PAUSE = timedelta(seconds=5)
LONGEST_PAUSE = timedelta(hours=1)
_REST = timedelta(seconds=5)
"""A receiver that did not take a letter is left alone so long, whatever else there is for it; or as long as it asks
for, up to an hour."""


class Delivery:
    """Sends what is due. Of two that send at once a receiver gets both: their ids are the same."""

    def __init__(self, house: House, *, goes_on: Callable[[], bool] = lambda: True, seconds: float = SECONDS) -> None:
        self._house = house
        self._outbox = Outbox(house.store)
        self._receivers = receivers_of(house.settings)
        self._goes_on = goes_on
        self._seconds = seconds
        self._rests: dict[str, datetime] = {}

    def step(self) -> int:
        """Try every letter that is due, one after the other. Gives how many were tried."""
        house, tried = self._house, 0
        models = sorted({*house.policies.states(), *house.ledger.models()})
        for letter in self._outbox.due(models, house.clock()):
            if not self._goes_on():
                break
            if self._rests.get(letter.to, house.clock()) <= house.clock():
                try:
                    self._try(letter)
                except Stopped:
                    break
                tried += 1
        return tried

    def _try(self, letter: Letter) -> None:
        receiver, now = self._receivers.get(letter.to), self._house.clock()
        if receiver is None:
            reply = Reply(None, f"{VARIABLES.get(letter.to, letter.to)} is not set any more")
        else:
            message = receiver.message(letter.notice, now)
            reply = post(receiver.url, message, seconds=self._seconds, goes_on=self._goes_on)
        if not reply.is_taken and not reply.is_final:
            self._rests[letter.to] = self._house.clock() + min(reply.retry_after or _REST, LONGEST_PAUSE)
        after = after_try(letter, reply, self._house.clock())
        if self._outbox.settle(after) and after.state == "failed":
            title = letter.notice.title
            _log.error("notice %s (%s) was not delivered to %s: %s", letter.notice.id, title, letter.to, after.reply)


def after_try(letter: Letter, reply: Reply, now: datetime) -> Letter:
    """The letter after a try: sent, failed for good, or due again.

    >>> from datetime import UTC
    >>> noon = datetime(2026, 11, 23, 12, tzinfo=UTC)
    >>> notice = Notice("n-1", "blind", "tidegate.model.blind", "shop", noon, "shop: nothing can be said", ())
    >>> letter = Letter(notice, "webhook", put_at=noon)
    >>> after_try(letter, Reply(503, "503 Service Unavailable"), noon).due_at - noon
    datetime.timedelta(seconds=5)
    >>> after_try(letter, Reply(410, "410 Gone"), noon).state
    'failed'
    """
    if reply.is_taken:
        return ended(letter, "sent", reply.text)
    if reply.is_final:
        return ended(letter, "failed", reply.text)
    pause = max(min(FIRST_PAUSE * 2 ** min(letter.tries, 20), LONGEST_PAUSE), reply.retry_after or timedelta(0))
    if now + pause >= letter.put_at + PATIENCE:
        return ended(letter, "failed", f"given up, a day is over before the next try: {reply.text}")
    return again(letter, now + pause, reply.text)


def try_out(house: House, who: str) -> dict[str, Reply]:
    """Send a test notice to every receiver now, past the outbox. Receiver → what it answered."""
    now = house.clock()
    lines = (f"sent by {who}", "notices of your models arrive here like this one")
    notice = Notice(f"n-test-{now:%Y%m%dT%H%M%S%f}", "test", "tidegate.test", "", now, "Tidegate: a test notice", lines)
    receivers = receivers_of(house.settings).values()
    return {each.name: post(each.url, each.message(notice, now)) for each in receivers}
