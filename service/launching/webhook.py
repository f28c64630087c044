"""Webhook: a user's own pipeline as a trainer. The order is posted, signed; what comes of it is said by callbacks.

The order has the same `webhook-id` and the same bytes at every try, so a receiver can tell that it has seen it. It
counts as launched when the receiver has taken it, or when the trainer has said anything.
"""

import os
from dataclasses import replace
from datetime import datetime, timedelta

from policies.file.trainers import WebhookTrainer
from service.house import House
from service.launching.events import Events
from service.launching.invitation import invitation
from service.launching.outside import clean, heard
from service.launching.port import LaunchFailed, Order, OrderDiffers, Progress
from service.launching.posting import Posting, Postings
from service.notices.messages import CLOUDEVENT, Message, signed
from service.notices.post import Reply, post
from service.signatures import SECRET_FORM, is_secret

SECONDS = 4.0
"""How long a receiver may take to reply: the leader's other work on this model waits meanwhile."""
FIRST_PAUSE = timedelta(seconds=5)
LONGEST_PAUSE = timedelta(minutes=10)
_STARTED_ALREADY = 409
_MOST_WORDS = 2_000


class Webhook:
    """Launches trainers of kind webhook. Its state is in the store: whoever leads goes on with it."""

    def __init__(self, house: House, *, seconds: float = SECONDS) -> None:
        self._house = house
        self._postings = Postings(house.store)
        self._seconds = seconds

    def launch(self, order: Order) -> None:
        """Post the order, unless it was taken or refused before.

        Raises:
            OrderDiffers: another order of this name was taken.
            LaunchFailed: it was not taken, or it is too early for another try.
        """
        posting, now = self._postings.of(order), self._house.clock()
        if posting.state != "waiting":
            if posting.digest != order.digest:
                raise OrderDiffers(order.name, order.digest, posting.digest)
            return
        if Events(self._house.store, order.model, order.name).all():
            # It was taken by a receiver whose answer got lost.
            self._postings.keep(order, replace(posting, state="taken", digest=order.digest, words="it has begun"))
            return
        if posting.due_at is not None and now < posting.due_at:
            raise LaunchFailed(f"{posting.words}; tried {posting.tries} times, next at {posting.due_at:%H:%M:%S} UTC")
        message = self._message(order)
        reply = post(_trainer(order).url, message, seconds=self._seconds, most_words=_MOST_WORDS)
        after = after_try(replace(posting, digest=order.digest), _without(reply, message), self._house.clock())
        self._postings.keep(order, after)
        if after.state == "waiting":
            raise LaunchFailed(after.words)

    def look(self, order: Order) -> Progress:
        """How it goes, by what the trainer says; its answer is in the folder when this says `succeeded`."""
        progress = heard(self._house, order)
        if progress.state != "waiting":
            return progress
        posting = self._postings.of(order)
        ends = {"refused": Progress("failed", posting.words), "waiting": Progress("lost", "it was not taken yet")}
        return ends.get(posting.state, progress)

    def cancel(self, order: Order) -> None:
        """Nothing is posted: nobody could tell whether a pipeline knows the word. It hears of it when it next asks for
        a file, says or sends something, all of which is refused once the retraining has ended.
        """

    def _message(self, order: Order) -> Message:
        trainer, now = _trainer(order), self._house.clock()
        body = invitation(self._house, order, trainer.format)
        media_type = CLOUDEVENT if trainer.format == "cloudevents" else "application/json"
        message = signed(body, order.name, now, secret=secret_of(trainer.secret_env), media_type=media_type)
        if trainer.authorization_env is None:
            return message
        said = os.environ.get(trainer.authorization_env, "").strip()
        if not said.isprintable() or not said.isascii() or not said:
            raise LaunchFailed(f"the environment variable {trainer.authorization_env} holds no Authorization header")
        return replace(message, headers={**message.headers, "Authorization": said})


def secret_of(variable: str) -> str:
    """The secret that an environment variable holds. Raises LaunchFailed where it holds none."""
    secret = os.environ.get(variable, "").strip()
    if not is_secret(secret):
        raise LaunchFailed(f"the environment variable {variable} of this process holds no secret: {SECRET_FORM}")
    return secret


def after_try(posting: Posting, reply: Reply, now: datetime) -> Posting:
    """How the posting goes after a try: taken, refused for good, or due again.

    >>> from datetime import UTC
    >>> noon = datetime(2026, 11, 23, 12, tzinfo=UTC)
    >>> after_try(Posting(), Reply(202, "202 Accepted"), noon).state
    'taken'
    >>> after_try(Posting(), Reply(409, "409 Conflict"), noon).state
    'taken'
    >>> after_try(Posting(), Reply(404, "404 Not Found", words=b"no such DAG"), noon).words
    'the receiver refused the order: 404 Not Found, no such DAG'
    >>> after_try(Posting(tries=2), Reply(503, "503 Service Unavailable"), noon).due_at - noon
    datetime.timedelta(seconds=20)
    """
    tried = replace(posting, tries=posting.tries + 1, due_at=None)
    if reply.is_taken or reply.status == _STARTED_ALREADY:
        return replace(tried, state="taken", words=reply.text)
    words = clean(reply.words.decode(errors="replace"))
    said = f"{reply.text}, {words}" if words else reply.text
    if reply.is_final:
        return replace(tried, state="refused", words=f"the receiver refused the order: {said}")
    pause = max(min(FIRST_PAUSE * 2 ** min(posting.tries, 20), LONGEST_PAUSE), reply.retry_after or timedelta(0))
    return replace(tried, due_at=now + min(pause, LONGEST_PAUSE), words=f"the receiver did not take the order: {said}")


def _without(reply: Reply, message: Message) -> Reply:
    """The reply without the Authorization header, which a receiver may repeat in its words."""
    said = message.headers.get("Authorization", "").encode()
    return replace(reply, words=reply.words.replace(said, b"(the authorization)")) if said else reply


def _trainer(order: Order) -> WebhookTrainer:
    assert isinstance(order.trainer, WebhookTrainer)  # noqa: S101  launchers are chosen by the trainer's kind
    return order.trainer
