"""What a sender has posted, as the log takes it: the rows, and what is remembered so that nothing counts twice."""

import hashlib
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pyarrow as pa

from service.errors import KeyConflict, ServiceError

# Of a body in a trace: for its sender's own mistakes, not against forgery.
_MARK_BYTES = 8


class SeenBefore(ServiceError):
    """Of several bodies that were to be appended together one was taken before: append each alone."""


@dataclass(frozen=True)
class Post:
    """One body: the idempotency key of its sender (empty: none), what the key is unique within, what tells the body
    from others, and what to answer, as short as it can be.
    """

    key: str
    scope: str
    body_hash: str
    answer: bytes

    @property
    def trace(self) -> bytes:
        """What is remembered of it for a day: few bytes, for there is one for each key."""
        return self._mark + self.answer

    def answer_in(self, trace: bytes) -> bytes:
        """The answer of a trace that was left under our key. Raises KeyConflict where another body left it."""
        if trace[:_MARK_BYTES] != self._mark:
            raise KeyConflict(self.key)
        return trace[_MARK_BYTES:]

    @property
    def _mark(self) -> bytes:
        return hashlib.blake2b(self.body_hash.encode(), digest_size=_MARK_BYTES).digest()


def post_of(kind: str, model: str, key: str | None, body_hash: str, answer: bytes) -> Post:
    """A post whose key is unique within its kind and model; without a key it has a scope of its own."""
    return Post(key or "", scope_of(kind, model, key or uuid.uuid4().hex), body_hash, answer)


@dataclass(frozen=True)
class Part:
    """What becomes one entry: the rows of one body, or of several of one partition in order, with their posts.

    `rejected` counts the rows of the bodies that were refused, by reason.
    """

    kind: str
    model: str
    table: pa.Table
    posts: Sequence[Post]
    rejected: Mapping[str, int] = field(default_factory=dict)


def scope_of(kind: str, model: str, key: str) -> str:
    """What an idempotency key is unique within, as 32 hexadecimal digits."""
    return hashlib.blake2b(f"{kind}\n{model}\n{key}".encode(), digest_size=16).hexdigest()
