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


def log(slot: str) -> str:
    """Stream of accepted batches."""
    return key(slot, "log")


def state(slot: str) -> str:
    """Hash: owner, epoch, commits, position, archived, archiving, and the row counts that bound the log."""
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


def aside(slot: str) -> str:
    """Stream of entries that could not be read or folded, with their reason."""
    return key(slot, "aside")


def files(slot: str) -> str:
    """List of archive files, in log order."""
    return key(slot, "files")


def cells(slot: str, model: str, version: str, fingerprint: str, slice_start: int) -> str:
    """Hash: segment index -> packed float64 counts of one slice."""
    return key(slot, "cells", model, version, fingerprint, str(slice_start))


def slices(slot: str, model: str, version: str, fingerprint: str) -> str:
    """Sorted set: slice start -> number of the commit that changed it last."""
    return key(slot, "slices", model, version, fingerprint)


def waiting() -> str:
    """Hash: model:prediction_id -> a label whose prediction has not come yet."""
    return key(LABELS, "waiting")


def measured() -> str:
    """Hash: model:version:fingerprint -> log positions from which labels were counted under this baseline."""
    return key(LABELS, "measured")
