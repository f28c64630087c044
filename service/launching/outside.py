"""Trainers outside: how they prove who they are, what they may read, and what they have said and sent."""

import hashlib
import hmac
import re
import secrets
from base64 import urlsafe_b64encode
from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase

import msgspec

from service.house import House
from service.launching.events import Event, Events, Failed, Scored, Succeeded
from service.launching.port import Order, Progress
from service.launching.uploads import bring, upload_of
from service.storage import keys
from service.storage.store import Store
from service.training.checkpoints import Checkpoint
from service.training.told import told_checkpoint, with_best

READABLE = ("job.json", "train-*.parquet", "validation.parquet", "unseen.parquet", "failures.json")
"""What a trainer may read of an order's folder. The answers to `unseen.parquet` never are among it."""
_TOKEN_SIGN = "tgt_"  # noqa: S105  what every token begins with
_TOKEN = re.compile(rf"{_TOKEN_SIGN}[\w-]*")
_MOST_CHARACTERS = 500


@dataclass(frozen=True)
class Shared:
    """A file that a trainer may read: its `path` below the place of the house's files, its size and its SHA-256."""

    name: str
    path: str
    bytes: int
    sha256: str


def token_of(store: Store, order: str) -> str:
    """The token of an order's trainer: the same whoever makes it, and worth nothing for any other order."""
    secret = store.do("GET", keys.TOKEN_SECRET)
    if not secret:
        store.do("SET", keys.TOKEN_SECRET, secrets.token_bytes(32), "NX")
        secret = store.do("GET", keys.TOKEN_SECRET)
    digest = hmac.digest(secret, f"trainer of {order}".encode(), hashlib.sha256)
    return _TOKEN_SIGN + urlsafe_b64encode(digest).decode().rstrip("=")


def is_token_of(store: Store, order: str, token: str) -> bool:
    """Whether this is the token of that order."""
    return hmac.compare_digest(token_of(store, order).encode(), token.encode())


def share(house: House, order: Order) -> list[Shared]:
    """Let the trainer of an order read its files; gives them by name. They are where the house's files are: in the data
    folder, or put there by whoever prepared them.
    """
    base = order.folder.relative_to(house.settings.data_dir).as_posix()
    names = sorted(f.name for f in order.folder.iterdir() if any(fnmatchcase(f.name, form) for form in READABLE))
    found = []
    for name in names:
        with (order.folder / name).open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            found.append(Shared(name, f"{base}/{name}", file.tell(), digest))
    place = keys.outside(order.model, order.name, "files")
    house.store.do("SET", place, msgspec.json.encode(found), "EX", keys.OUTSIDE_SECONDS)
    return found


def shared(store: Store, model: str, order: str) -> list[Shared]:
    """The files that the trainer of an order may read, by name; none before it was launched."""
    found = store.do("GET", keys.outside(model, order, "files"))
    return msgspec.json.decode(found, type=list[Shared]) if found else []


def progress_of(events: Iterable[Event]) -> Progress:
    """How a training goes, by the set of what was said of it: their order, and a thing said twice, change nothing.

    Who says both that it succeeded and that it failed is taken for failed.

    >>> from service.launching.events import Started
    >>> progress_of([]).state, progress_of([Succeeded(), Started()]).state
    ('waiting', 'succeeded')
    >>> progress_of([Failed("out of memory"), Started(), Succeeded()]).reason
    'out of memory'
    """
    said = list(events)
    checkpoints = _checkpoints([each for each in said if isinstance(each, Scored)])
    failures = sorted(clean(each.reason) for each in said if isinstance(each, Failed))
    if failures:
        return Progress("failed", failures[0], checkpoints)
    if any(isinstance(each, Succeeded) for each in said):
        return Progress("succeeded", checkpoints=checkpoints)
    return Progress("running" if said else "waiting", checkpoints=checkpoints)


def heard(house: House, order: Order) -> Progress:
    """How an order goes by what its trainer has said; its answer is in the order's folder where it succeeded.

    Raises:
        ArchiveAway: what it sent cannot be read now.
    """
    progress = progress_of(Events(house.store, order.model, order.name).counted())
    if progress.state == "succeeded" and not fetch_answer(house, order):
        reason = "it said that it succeeded, and sent neither predictions (PUT …/answer) nor a model (PUT …/model)"
        return Progress("failed", reason, progress.checkpoints)
    return progress


def fetch_answer(house: House, order: Order) -> bool:
    """Bring what the trainer sent into the order's folder: `model/`, or `answer/predictions.parquet` and beside it what
    it says of its model, `answer.json`. False where it sent nothing. Again is no change.

    Raises:
        ArchiveAway: it cannot be read now.
    """
    upload = upload_of(house.store, order.model, order.name)
    if upload is None:
        return False
    said = [e for e in Events(house.store, order.model, order.name).counted() if isinstance(e, Succeeded)]
    told = max(said, key=msgspec.json.encode, default=Succeeded())
    words = {"uri": told.uri, "digest": told.digest, "metrics": told.metrics}
    bring(house, order, upload, {"answer.json": msgspec.json.encode(words)} if upload.what == "answer" else {})
    return True


def clean(text: str) -> str:
    """A foreign text as it may stand in a record and on a page: one line of printable characters, not too long, without
    a token: who refuses a request may repeat it.
    """
    text = _TOKEN.sub(f"{_TOKEN_SIGN}…", text)
    line = " ".join("".join(sign if sign.isprintable() else " " for sign in text[: 10 * _MOST_CHARACTERS]).split())
    return line if len(line) <= _MOST_CHARACTERS else line[:_MOST_CHARACTERS] + "…"


def _checkpoints(scored: list[Scored]) -> tuple[Checkpoint, ...]:
    """One for each step and candidate. Where two say it differently the greater as text counts: any, but the same."""
    told = {(each.step, each.candidate): each for each in sorted(scored, key=msgspec.json.encode)}
    return with_best(told_checkpoint(msgspec.to_builtins(each)) for _, each in sorted(told.items()))
