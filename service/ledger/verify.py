"""Following a chain of entries: recomputed from the stored bytes alone, whoever keeps them."""

from collections.abc import Iterable
from dataclasses import dataclass

import msgspec

from service.errors import ServiceError
from service.ledger.chain import GENESIS, Head, digest_of


class ChainBroken(ServiceError):
    """Entry `number` is not what was written: changed, missing, out of its place or cut off."""

    def __init__(self, number: int, problem: str) -> None:
        super().__init__(f"entry {number}: {problem}")
        self.number = number


@dataclass(frozen=True)
class Followed:
    """What was followed: how many entries, when the first and the last of them were made, and the last one's hash."""

    entries: int = 0
    first_at: str = ""
    last_at: str = ""
    head: str = GENESIS


class _Dated(msgspec.Struct):
    at: str = ""


class _Line(msgspec.Struct):
    number: int
    previous: str
    record: _Dated


def follow(entries: Iterable[bytes], head: Head | None = None, noted: str = "") -> Followed:
    """Recompute the chain of these entries, from the first one on.

    Args:
        entries: the bytes as they are stored, in the order in which they are given out.
        head: what their keeper says the last one is; None where nobody says.
        noted: a hash that somebody noted earlier, of the head then.

    Raises:
        ChainBroken: with the first entry that is not what was written.
    """
    read, is_met = Followed(), noted in {"", GENESIS}
    for entry in entries:
        line = _read(entry, read.entries + 1)
        if line.previous != read.head:
            # The bytes of one of the two are not those that were hashed; the older one is what a reader must doubt.
            problem = f"entry {line.number} was written after other bytes: one of the two was changed"
            raise ChainBroken(max(1, read.entries), problem)
        at, digest = line.record.at, digest_of(entry)
        read = Followed(line.number, read.first_at or at, at, digest)
        is_met = is_met or digest == noted
    if head is not None and head.number > read.entries:
        raise ChainBroken(read.entries + 1, f"it is missing, and so is all after it: the head is entry {head.number}")
    if head is not None and head.number == read.entries and head.hash != read.head:
        raise ChainBroken(read.entries, f"it was changed: its hash is {read.head}, the head says {head.hash}")
    if not is_met:
        problem = (
            f"no entry up to {read.entries} has the hash {noted}: the chain was cut off or written anew since then"
        )
        raise ChainBroken(read.entries + 1, problem)
    return read


def _read(entry: bytes, expected: int) -> _Line:
    try:
        line = msgspec.json.decode(entry, type=_Line)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ChainBroken(expected, f"it was changed: it is no entry any more ({error})") from error
    if line.number > expected:
        raise ChainBroken(expected, f"it is missing: entry {line.number} stands in its place")
    if line.number < expected:
        raise ChainBroken(expected, f"entry {line.number} stands in its place")
    return line
