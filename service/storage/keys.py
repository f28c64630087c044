"""How every key of the partition log is named; the only place that spells them.

A slot is a cluster hash tag: one per partition (`p0`, `p1`, ...) and one for the label join (`labels`). Keys of one
slot live on one server, so one script may write them together.
"""

import re

from service.errors import BadName

LABELS = "labels"

_SAFE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


def is_safe_name(name: str) -> bool:
    """Whether a model or version name can be part of a key and the name of a folder."""
    return _SAFE.fullmatch(name) is not None


def check_name(what: str, name: str) -> str:
    """The name itself. Raises BadName where it cannot be part of a key and the name of a folder."""
    if not is_safe_name(name):
        raise BadName(what, name)
    return name


def slot(partition: int) -> str:
    """The slot of a partition."""
    return f"p{partition}"


def key(slot: str, *parts: str) -> str:
    """A key of a slot."""
    return f"tg:{{{slot}}}:" + ":".join(parts)


# String: how many partitions the rows of this store are spread over.
PARTITIONS = key("layout", "partitions")
# Hash: worker -> how often it has shown life.
ROSTER = key("workers", "roster")


def log(slot: str) -> str:
    """Stream of accepted batches."""
    return key(slot, "log")


def state(slot: str) -> str:
    """Hash: owner, epoch, commits, position, archived, archiving, merged, and the row counts that bound the log."""
    return key(slot, "state")


def counts(slot: str) -> str:
    """Hash of counters, written by the slot's owner together with the position."""
    return key(slot, "counts")


def refused(slot: str) -> str:
    """Hash of rows in bodies that were refused whole, written by whoever refused them."""
    return key(slot, "refused")


def trace(slot: str, scope: str) -> str:
    """String: the answer given to one idempotency key."""
    return key(slot, "trace", scope)


def halves(slot: str) -> str:
    """Hash: exchange -> the half of it that came first, and the bytes of all of them."""
    return key(slot, "halves")


def paired(slot: str, scope: str) -> str:
    """String: the digests of both halves of an exchange that is done."""
    return key(slot, "paired", scope)


def half_ages(slot: str) -> str:
    """Sorted set: exchange -> when its first half came, in unix seconds."""
    return key(slot, "half-ages")


def aside(slot: str) -> str:
    """Hash: log id -> what is known of a batch that was set aside, with its reason."""
    return key(slot, "aside", "batches")


def aside_body(slot: str, identity: str) -> str:
    """String: the rows of a batch that was set aside, as they stood in the log."""
    return key(slot, "aside", "body", identity)


def discarded(slot: str) -> str:
    """List: batches that a person has thrown away, with who and why, the newest first."""
    return key(slot, "aside", "discarded")


def noted(slot: str, model: str) -> str:
    """Hash: version, kind and name -> how many rows had an unusual column or segment, or no baseline, and when."""
    return key(slot, "noted", model)


def files(slot: str) -> str:
    """List of archive files; `files_generation` of the state counts how often it was more than added to."""
    return key(slot, "files")


def plan(slot: str) -> str:
    """String: which archive files are being put in the place of which; absent while nothing is."""
    return key(slot, "plan")


def dropped(slot: str) -> str:
    """Sorted set: archive file that is in the list no longer -> when it may be deleted (unix seconds)."""
    return key(slot, "dropped")


def cells(slot: str, model: str, version: str, fingerprint: str, slice_start: int) -> str:
    """Hash: segment index -> packed float64 counts of one slice."""
    return key(slot, "cells", model, version, fingerprint, str(slice_start))


def slices(slot: str, model: str, version: str, fingerprint: str) -> str:
    """Sorted set: slice start -> number of the commit that changed it last."""
    return key(slot, "slices", model, version, fingerprint)


def profiles(slot: str) -> str:
    """Hash: model:version:fingerprint -> newest commit of its slices, and when that was first seen (unix seconds)."""
    return key(slot, "profiles")


def waiting() -> str:
    """Hash: model:prediction_id -> a label whose prediction has not come yet."""
    return key(LABELS, "waiting")


def label_hours() -> str:
    """Hash: model:hour:came, :met or :delay -> how the labels of that hour fare."""
    return key(LABELS, "hours")


def outcomes(model: str, version: str, fingerprint: str) -> str:
    """Hash: the field that is counted, since when, and day -> packed float64 counts of outcomes by segment."""
    return key(LABELS, "outcomes", model, version, fingerprint)


def measured() -> str:
    """Hash: model:version:fingerprint -> log positions from which labels were counted under this baseline."""
    return key(LABELS, "measured")


def orders(model: str) -> str:
    """Hash: id -> a silence or freeze that a person ordered for the model."""
    return key(f"m:{model}", "orders")


def outside(model: str, order: str, part: str) -> str:
    """What there is of the order of a trainer outside. `events`, hash: id -> what it said; `said`, string: bytes of all
    that; `run`, string: the run of its pipeline that has the order; `files`, string: what it may read; `upload`,
    string: what it sent; `posting`, string: how far the order has come to the receiver.
    """
    return key(f"m:{model}", "outside", order, part)


OUTSIDE_SECONDS = 366 * 86_400
"""So long all that is kept after it was last written."""


# String: the secret that the tokens of trainers are made with, from which none of them can be guessed.
TOKEN_SECRET = key("auth", "trainers")


def failures(model: str, part: str) -> str:
    """Of a model's failure categories: the last `look`, as a string; hashes by id of what is `known` and was `said`."""
    return key(f"m:{model}", "failures", part)
