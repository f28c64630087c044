"""What can go wrong while acting.

ServiceError
├── BadSetting            a TIDEGATE_* value cannot be used
├── BadName               a model or version name that cannot be a key or a folder
├── StoreError            everything about the store
│   ├── NoEmbeddedStore   no embedded server for this platform
│   ├── StoreDidNotStart  the embedded server ended or stayed silent while starting
│   ├── DataDirInUse      another tidegate owns this data folder
│   ├── StoreAway         the store does not answer
│   ├── StoreFull         the store is out of memory
│   ├── NotDurable        fewer replicas confirmed than was asked for
│   └── StaleOwner        another owner has taken this slot over
├── ArchiveAway           files of the archive cannot be read or written now
├── BadBody               a request body that cannot be taken
│   ├── MalformedBody     it is not JSON of the expected form
│   ├── TooManyRows       more rows than one body may hold
│   ├── TooManyValues     more rows x columns than one body may hold
│   ├── UnpackedTooLarge  a compressed body that is too large when it is unpacked
│   └── NothingAcceptable every row was rejected
├── KeyConflict           an idempotency key was used again with another body
├── Backlogged            the log holds as many rows as it may
└── UnreadableEntry       a log entry that cannot be read back
"""

from collections.abc import Sequence
from dataclasses import dataclass


class ServiceError(Exception):
    """Root of everything that the service raises."""


class BadSetting(ServiceError):
    """A setting has a value that cannot be used."""

    def __init__(self, name: str, value: str, allowed: str) -> None:
        super().__init__(f"{name}={value!r} cannot be used: {allowed}")
        self.name = name
        self.value = value
        self.allowed = allowed


class BadName(ServiceError):
    """A model or version name cannot be a key and a folder name."""

    def __init__(self, what: str, name: str) -> None:
        super().__init__(
            f"{what} {name[:80]!r} cannot be used: 1 to 128 letters, digits and . _ - are allowed, "
            "beginning with a letter or digit"
        )
        self.what = what
        self.name = name


class StoreError(ServiceError):
    """Something about the store."""


class NoEmbeddedStore(StoreError):
    """There is no embedded server for this platform."""

    def __init__(self, problem: str) -> None:
        super().__init__(
            f"no embedded store here: {problem}. It runs on Linux (glibc 2.28 or newer) and macOS; "
            "on other systems start a Redis or Valkey server and give its address: "
            "--store redis://HOST:6379 or TIDEGATE_STORE"
        )


class StoreDidNotStart(StoreError):
    """The embedded server ended, or stayed silent, while starting."""


class DataDirInUse(StoreError):
    """Another tidegate owns this data folder."""

    def __init__(self, data_dir: str, owner: str) -> None:
        super().__init__(
            f"the data folder {data_dir} is in use by another tidegate (process {owner or 'unknown'}): "
            "stop that one, or give this one its own --data-dir"
        )
        self.data_dir = data_dir
        self.owner = owner


class StoreAway(StoreError):
    """The store does not answer, or answers that it cannot serve now."""


class StoreFull(StoreError):
    """The store is out of memory and takes no more rows."""


class NotDurable(StoreError):
    """Fewer replicas confirmed an append than was asked for; the same request may be sent again."""

    def __init__(self, confirmed: int, wanted: int, *, is_written: bool = True) -> None:
        what = (
            "confirmed in time: the rows are written but not as safe as TIDEGATE_DURABILITY asks"
            if is_written
            else "are connected, TIDEGATE_DURABILITY asks for all of them: nothing was written"
        )
        super().__init__(
            f"{confirmed} of {wanted} replicas {what}; send the same body with the same Idempotency-Key again"
        )
        self.confirmed = confirmed
        self.wanted = wanted


class StaleOwner(StoreError):
    """Another owner has taken this slot over; nothing was written."""

    def __init__(self, slot: str, epoch: int, seen: str) -> None:
        super().__init__(f"slot {slot} is no longer ours: our epoch {epoch}, the store says {seen}")
        self.slot = slot
        self.epoch = epoch


class ArchiveAway(ServiceError):
    """Files of the archive cannot be read or written now. Nothing is lost: rows stay in the log till they are files."""

    def __init__(self, place: str, problem: Exception) -> None:
        said = str(problem).strip().partition("\n")[0]
        super().__init__(
            f"the archive at {place} cannot be read or written now ({type(problem).__name__}: {said}): "
            "is it reachable, is there room, do the credentials still hold?"
        )
        self.place = place


@dataclass(frozen=True)
class Rejection:
    """Why one row of a body was not taken: its index from 0, the field, and what is wrong with it.

    `reason` is a short stable code, the label of `tidegate_rejected_rows_total`.
    """

    row: int
    field: str
    problem: str
    reason: str


class BadBody(ServiceError):
    """A request body cannot be taken."""


class MalformedBody(BadBody):
    """The body is not JSON of the expected form."""


class TooManyRows(BadBody):
    """The body holds more rows than one body may."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"the body holds more than the {limit} rows allowed (TIDEGATE_MAX_BATCH_ROWS): split it")
        self.limit = limit


class TooManyValues(BadBody):
    """The body makes a table of more values than one may have."""

    def __init__(self, rows: int, columns: int, limit: int) -> None:
        super().__init__(
            f"the body makes a table of {rows} rows and {columns} columns, {rows * columns} values; {limit} are "
            "allowed (TIDEGATE_MAX_VALUES): split it"
        )
        self.limit = limit


class UnpackedTooLarge(BadBody):
    """The body is small as it was sent, and too large when it is unpacked."""

    def __init__(self, limit: int) -> None:
        super().__init__(
            f"the body unpacks to more than the {limit} bytes allowed (TIDEGATE_MAX_BODY_BYTES); nothing of it was "
            "taken: split it into several bodies"
        )
        self.limit = limit


class NothingAcceptable(BadBody):
    """Every row of the body was rejected."""

    def __init__(self, rejected: Sequence[Rejection]) -> None:
        if rejected:
            first = rejected[0]
            message = (
                f"none of the {len(rejected)} rows can be taken; the first: row {first.row}, "
                f"{first.field}: {first.problem}"
            )
        else:
            message = "the body holds no rows"
        super().__init__(message)
        self.rejected = tuple(rejected)


class KeyConflict(ServiceError):
    """An idempotency key was used again with another body."""

    def __init__(self, key: str) -> None:
        super().__init__(
            f"Idempotency-Key {key[:80]!r} was already used with another body: "
            "use a new key for new rows, or send the first body again"
        )
        self.key = key


class Backlogged(ServiceError):
    """The log holds as many rows as it may; the sender should come back later."""

    def __init__(self, held: int, limit: int, retry_after_seconds: int) -> None:
        super().__init__(
            f"the log holds {held} rows of at most {limit} (TIDEGATE_BACKLOG_ROWS), those set aside included: "
            f"is a worker running, is anything aside (tidegate aside list)? try again in {retry_after_seconds} s"
        )
        self.retry_after_seconds = retry_after_seconds


class UnreadableEntry(ServiceError):
    """A log entry cannot be read back."""
