"""What servers say of themselves."""

import re

# From the weakest on. `always`: on disk before the answer. `everysec`: on disk within a second or two. `memory`: on
# disk when a snapshot or the system gets to it. `unknown`: it does not tell; managed ones may not.
PERSISTENCE = ("memory", "unknown", "everysec", "always")
# A replica confirms once a second that it follows.
_ONLINE = re.compile(rb"^slave\d+:.*,state=online,.*,lag=[0-2]\b", re.MULTILINE)
_SHORT_SHARE = 0.9


def persistence(told: list[bytes]) -> str:
    """A word of `PERSISTENCE`, from what CONFIG GET append* told."""
    found = dict(zip(told[::2], told[1::2], strict=True))
    if found.get(b"appendonly") == b"no" or found.get(b"appendfsync") == b"no":
        return "memory"
    return found.get(b"appendfsync", b"unknown").decode()


def replicas(told: bytes) -> int:
    """How many replicas follow, from what INFO replication told."""
    return len(_ONLINE.findall(told))


def is_short(told: bytes) -> bool:
    """Whether nine tenths of the memory it may have are used, from what INFO memory told."""
    used, most = (int(told.split(b"\n%s:" % name)[1].split()[0]) for name in (b"used_memory", b"maxmemory"))
    return most > 0 and used >= _SHORT_SHARE * most
