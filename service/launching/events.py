"""Events: what a trainer outside says of its training, each kept once, in whatever order they come.

How a training goes follows from the set of what was said and not from its order: nothing that comes late, twice or by
another way changes it.
"""

import hashlib
from datetime import datetime
from typing import Annotated, Literal

import msgspec

from service.errors import MalformedBody, ServiceError
from service.intake.bodies.rows import explain
from service.storage import keys
from service.storage.store import Store, Word

MOST_BYTES = 64 * 1024
"""Of one event: a checkpoint of 500 segments with four metrics each."""
MOST_EVENTS = 500
_MOST_SAID_BYTES = 4 << 20
# A start and an end find room where checkpoints have taken all of theirs.
_SPARE, _SPARE_BYTES = 20, 1 << 20
_Text = Annotated[str, msgspec.Meta(max_length=2_000)]
_Name = Annotated[str, msgspec.Meta(min_length=1, max_length=500)]


class Started(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="started"):
    """The training runs. `run` is the pipeline's own name for it: of several runs the first one has the order."""

    run: _Text = ""


class Scored(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="checkpoint"):
    """A step was scored: segment → metric → value, None where it could not be measured; `all` is the whole. `progress`
    is how much of the training is done, 0 to 1.
    """

    step: Annotated[int, msgspec.Meta(ge=0, le=10**9)]
    metrics: dict[_Name, dict[_Name, float | None]] = {}
    loss: float | None = None
    validation_loss: float | None = None
    progress: float | None = None
    candidate: _Text = ""


class Succeeded(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="succeeded"):
    """The training ended with a model. Of one that stays outside `uri` says where it is, and `digest` which it is.
    `metrics` are shown and not believed.
    """

    uri: _Text = ""
    digest: _Text = ""
    metrics: dict[_Name, float | dict[_Name, float | None] | None] = {}


class Failed(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="failed"):
    """The training ended without a model."""

    reason: Annotated[str, msgspec.Meta(min_length=1, max_length=20_000)]


Event = Started | Scored | Succeeded | Failed
_DECODER: msgspec.json.Decoder[Event] = msgspec.json.Decoder(Event)


class Noted(msgspec.Struct, frozen=True):
    """An event as it is kept. `by` says how the sender proved who it is; what came when the training had been judged
    does not count. `digest` is the SHA-256 of the body.
    """

    id: str
    at: datetime
    by: Literal["signature", "token"]
    digest: str
    counts: bool
    event: Event


class EventDiffers(ServiceError):
    """Something else was said under this id."""

    def __init__(self, identity: str) -> None:
        super().__init__(
            f"another event came before with the webhook-id {identity[:80]!r}: give each event its own id, and send "
            "exactly the same bytes where one is tried again"
        )


class AnotherRun(ServiceError):
    """Another run of the pipeline has begun this training."""

    def __init__(self, run: str, first: str) -> None:
        super().__init__(
            f"the run {first[:80]!r} has started this training already: the run {run[:80]!r} is one too many"
        )


class TooMuchSaid(ServiceError):
    """A training has said as much as is kept of one."""

    def __init__(self) -> None:
        super().__init__(
            f"at most {MOST_EVENTS} events of {_MOST_SAID_BYTES >> 20} MiB in all are kept of one training: send fewer "
            "checkpoints; its end is still taken"
        )


def read_event(body: bytes) -> Event:
    """The event that a body says. Raises MalformedBody, where NaN stands for a number too."""
    try:
        return _DECODER.decode(body)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise MalformedBody(f"the event cannot be used: {explain(error, body)}") from error


def digest_of(body: bytes) -> str:
    """The SHA-256 of a body, in hex."""
    return hashlib.sha256(body).hexdigest()


class Events:
    """What was said of the training of one order, in the store."""

    def __init__(self, store: Store, model: str, order: str) -> None:
        self._store = store
        self._events, self._said, self._run = (keys.outside(model, order, part) for part in ("events", "said", "run"))

    def all(self) -> list[Noted]:
        """All that was said, in the order of the ids."""
        found = self._store.do("HGETALL", self._events)
        return sorted((msgspec.json.decode(each, type=Noted) for each in found[1::2]), key=lambda noted: noted.id)

    def counted(self) -> list[Event]:
        """What of it counts."""
        return [each.event for each in self.all() if each.counts]

    def find(self, identity: str, digest: str) -> Noted | None:
        """The event that was kept under this id. Raises EventDiffers where it had another body."""
        found = self._store.do("HGET", self._events, identity)
        noted = msgspec.json.decode(found, type=Noted) if found else None
        if noted is not None and noted.digest != digest:
            raise EventDiffers(identity)
        return noted

    def keep(self, noted: Noted) -> bool:
        """Keep an event; False where it was kept before.

        Raises:
            EventDiffers: another one was kept under its id.
            TooMuchSaid: there is no room.
        """
        spare, bytes_spare = (0, 0) if isinstance(noted.event, Scored) else (_SPARE, _SPARE_BYTES)
        limits = MOST_EVENTS + spare, _MOST_SAID_BYTES + bytes_spare, keys.OUTSIDE_SECONDS
        words: list[Word] = [noted.id, noted.digest, msgspec.json.encode(noted), *limits]
        answer = self._store.run("keep_event", [self._events, self._said], words)
        if answer == -1:
            raise EventDiffers(noted.id)
        if answer < 0:
            raise TooMuchSaid
        return bool(answer)

    def claim(self, run: str) -> None:
        """Give the order to the first run that says its name. Raises AnotherRun for every other one."""
        self._store.do("SET", self._run, run, "NX", "EX", keys.OUTSIDE_SECONDS)
        first = (self._store.do("GET", self._run) or b"").decode()
        if first != run:
            raise AnotherRun(run, first)
