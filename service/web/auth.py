"""Access keys: who may do what, for which models. The store keeps their digests, never the keys.

While there is no key at all, everything is open to this machine and closed to all others. Revoked keys stay on the
list, so that revoking the last one closes the service instead of opening it.
"""

import hashlib
import ipaddress
import re
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import lru_cache
from threading import Lock

import msgspec

from service.errors import ServiceError
from service.storage import keys
from service.storage.store import Store

SCOPES = ("ingest", "read", "operate", "admin")
FRESH_SECONDS = 2.0
"""How long a replica trusts what it read of the keys: a revoked one works at most this much longer."""

_KEYS = keys.key("auth", "keys")
_SIGN = "tg_"
_FROM_FILE = "file-"
_MOST_NAME_CHARACTERS = 100


class BadKey(ServiceError):
    """A key of this name, scopes or models cannot be made."""


class UnknownKey(ServiceError):
    """There is no key of this id."""

    def __init__(self, key_id: str) -> None:
        super().__init__(f"there is no access key {key_id[:40]!r}: `tidegate keys list` shows their ids")


class NoAccess(ServiceError):
    """The request shows no key, or one that does not work."""


class NotAllowed(ServiceError):
    """The key works, but not for this."""


class OnlyLocal(NotAllowed):
    """There are no keys yet, and the request does not come from this machine."""

    def __init__(self) -> None:
        super().__init__(
            "there are no access keys yet, so only requests from this machine, addressed to localhost, are answered: "
            "create a key with `tidegate keys create`"
        )


@dataclass(frozen=True)
class AccessKey:
    """One key. `models` empty means all models; the scope admin includes the others."""

    id: str
    name: str
    scopes: tuple[str, ...]
    models: tuple[str, ...]
    created_at: datetime
    revoked_at: datetime | None = None


@dataclass(frozen=True)
class Caller:
    """Who asks: the name of the key (empty where none is needed) and the models it is for (empty: all)."""

    name: str = ""
    models: tuple[str, ...] = ()

    def may_see(self, model: str) -> bool:
        return not self.models or model in self.models


def create_key(
    store: Store, name: str, scopes: Sequence[str], models: Sequence[str], now: datetime
) -> tuple[AccessKey, str]:
    """A new key, and its text: 256 random bits that are shown this once and kept nowhere.

    Raises:
        BadKey: the name, a scope or a model cannot be used.
    """
    _check(name, scopes, models)
    token = _SIGN + secrets.token_urlsafe(32)
    made = AccessKey(secrets.token_hex(4), name, tuple(dict.fromkeys(scopes)), tuple(dict.fromkeys(models)), now)
    store.do("HSET", _KEYS, _digest(token), msgspec.json.encode(made))
    return made, token


def key_line(name: str, scopes: Sequence[str], models: Sequence[str]) -> tuple[str, str]:
    """A line for a keys file, and the text of its key, which is kept nowhere.

    Raises:
        BadKey: the name, a scope or a model cannot be used.
    """
    _check(name, scopes, models)
    token = _SIGN + secrets.token_urlsafe(32)
    line = {"name": name, "scopes": list(scopes), "models": list(models), "sha256": _digest(token)}
    return msgspec.json.encode(line).decode(), token


def take_keys(store: Store, text: str, now: datetime) -> int:
    """Make the keys of a keys file work, a line each as `key_line` gives it; how many there are.

    Keys that an earlier file brought and this one does not are revoked.

    Raises:
        BadKey: a line cannot be used; no key was changed.
    """
    lines = [line for line in text.splitlines() if line.strip()]
    brought = dict(_read_line(number, line, now) for number, line in enumerate(lines, start=1))
    known = _read(store)
    for digest, made in known.items():
        if made.id.startswith(_FROM_FILE) and digest not in brought and made.revoked_at is None:
            revoke_key(store, made.id, now)
    for digest, made in brought.items():
        before = known.get(digest)
        # A full store takes no writes, and those who drain it must be able to start.
        if before is None or replace(before, created_at=now) != made:
            store.do("HSET", _KEYS, digest, msgspec.json.encode(made))
    return len(brought)


class _Line(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    scopes: list[str]
    sha256: str
    models: list[str] = []


def _read_line(number: int, line: str, now: datetime) -> tuple[str, AccessKey]:
    try:
        said = msgspec.json.decode(line, type=_Line)
    except msgspec.DecodeError as error:
        raise BadKey(
            f"line {number} of the keys file is not as `tidegate keys create --line` gives it: {error}"
        ) from error
    _check(said.name, said.scopes, said.models)
    if not re.fullmatch("[0-9a-f]{64}", said.sha256):
        raise BadKey(f"line {number} of the keys file: sha256 must be 64 hexadecimal digits")
    return said.sha256, AccessKey(_FROM_FILE + said.sha256[:8], said.name, tuple(said.scopes), tuple(said.models), now)


def _check(name: str, scopes: Sequence[str], models: Sequence[str]) -> None:
    if not (0 < len(name) <= _MOST_NAME_CHARACTERS and name.isprintable()):
        raise BadKey(
            f"a key needs a name of 1 to {_MOST_NAME_CHARACTERS} printable characters: who uses it, and for what"
        )
    for scope in scopes:
        if scope not in SCOPES:
            raise BadKey(f"there is no scope {scope!r}; allowed: {', '.join(SCOPES)}")
    if not scopes:
        raise BadKey(f"a key needs at least one scope of {', '.join(SCOPES)}")
    for model in models:
        keys.check_name("model", model)


def list_keys(store: Store) -> list[AccessKey]:
    """All keys that ever were, oldest first."""
    return sorted(_read(store).values(), key=lambda made: (made.created_at, made.id))


def revoke_key(store: Store, key_id: str, now: datetime) -> AccessKey:
    """The key, which stops working in every replica within `FRESH_SECONDS`; a revoked one stays as it is.

    Raises:
        UnknownKey: there is none of this id.
    """
    for digest, made in _read(store).items():
        if made.id == key_id:
            revoked = made if made.revoked_at else replace(made, revoked_at=now)
            store.do("HSET", _KEYS, digest, msgspec.json.encode(revoked))
            return revoked
    raise UnknownKey(key_id)


@lru_cache(maxsize=1024)
def is_loopback(host: str) -> bool:
    """Whether an address or name means this machine alone."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def has_keys(store: Store) -> bool:
    """Whether a key was ever made, so that listening beyond this machine opens nothing."""
    return bool(store.do("HLEN", _KEYS))


class Keyring:
    """What one process knows of the keys, read again when it is older than `fresh_seconds`; for several threads."""

    def __init__(
        self, store: Store, *, fresh_seconds: float = FRESH_SECONDS, beats: Callable[[], float] = time.monotonic
    ) -> None:
        self._store = store
        self._fresh_seconds = fresh_seconds
        self._beats = beats
        self._known: Mapping[str, AccessKey] = {}
        self._read_at: float | None = None
        self._lock = Lock()

    @property
    def is_fresh(self) -> bool:
        """Whether `admit` will answer without asking the store."""
        return self._read_at is not None and self._beats() - self._read_at < self._fresh_seconds

    def admit(self, token: str, scope: str, model: str = "", *, is_local: bool = False) -> Caller:
        """Who shows this token, if it allows this scope (for this model, if one is named).

        Raises:
            NoAccess: there is no token, or it is unknown or revoked.
            NotAllowed: it is for other scopes or models.
            OnlyLocal: there are no keys, and the request is not local.
            StoreAway: the keys cannot be read.
        """
        known = self._keys()
        if not known:
            if not is_local:
                raise OnlyLocal
            return Caller()
        if not token:
            raise NoAccess(f"an access key with the scope {scope} is needed: send it as Authorization: Bearer KEY")
        made = known.get(_digest(token))
        if made is None or made.revoked_at is not None:
            raise NoAccess("this access key is not known or was revoked: ask the operator for another")
        if scope not in made.scopes and "admin" not in made.scopes:
            raise NotAllowed(f"the access key {made.name!r} has the scopes {', '.join(made.scopes)}; {scope} is needed")
        caller = Caller(made.name, made.models)
        if model and not caller.may_see(model):
            raise NotAllowed(f"the access key {made.name!r} is for the models {', '.join(made.models)} only")
        return caller

    def _keys(self) -> Mapping[str, AccessKey]:
        with self._lock:
            if not self.is_fresh:
                now = self._beats()
                self._known = _read(self._store)
                self._read_at = now
            return self._known


def _read(store: Store) -> dict[str, AccessKey]:
    found = store.do("HGETALL", _KEYS)
    pairs = zip(found[::2], found[1::2], strict=True)
    return {digest.decode(): msgspec.json.decode(record, type=AccessKey) for digest, record in pairs}


def _digest(token: str) -> str:
    # A plain digest is enough: there is nothing to guess in 256 random bits.
    return hashlib.sha256(token.encode()).hexdigest()
