"""Access keys: who may do what, for which models. The store keeps their digests, never the keys.

While there is no key at all, everything is open to this machine and closed to all others. Revoked keys stay on the
list, so that revoking the last one closes the service instead of opening it.
"""

import hashlib
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from threading import Lock

import msgspec

from service import keys
from service.errors import ServiceError
from service.store import Store

SCOPES = ("ingest", "read", "operate", "admin")
FRESH_SECONDS = 2.0
"""How long a replica trusts what it read of the keys: a revoked one works at most this much longer."""

_KEYS = keys.key("auth", "keys")
_SIGN = "tg_"
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
    token = _SIGN + secrets.token_urlsafe(32)
    made = AccessKey(secrets.token_hex(4), name, tuple(dict.fromkeys(scopes)), tuple(dict.fromkeys(models)), now)
    store.do("HSET", _KEYS, _digest(token), msgspec.json.encode(made))
    return made, token


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
