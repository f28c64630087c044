"""What a person should know about a store that we did not start ourselves: settings under which rows can be lost."""

from collections.abc import Iterator

from redis.exceptions import ResponseError

from service.errors import StoreAway
from service.storage.store import Store


def cautions(store: Store) -> list[str]:
    """Sentences for the log at start, none where all is well or the server does not tell (managed ones may not).

    Raises:
        StoreAway: the store does not answer.
    """
    return list(_look(store))


def _look(store: Store) -> Iterator[str]:
    evicts = _configured(store, "maxmemory-policy")
    if evicts not in {"", "noeviction"}:
        yield f"the store may drop keys when memory is short (maxmemory-policy {evicts}): set it to noeviction"
    if _configured(store, "appendonly") == "no":
        yield "the store forgets what came since its last snapshot when it restarts (appendonly no): set it to yes"
        return
    fsync = _configured(store, "appendfsync")
    if fsync and store.durability.fsync == "always" and fsync != "always":
        yield f"TIDEGATE_DURABILITY is always, but the store decides: its appendfsync is {fsync}"


def _configured(store: Store, name: str) -> str:
    try:
        found = store.do("CONFIG", "GET", name)
    except (ResponseError, StoreAway):
        store.ping()
        return ""
    return found[1].decode() if found else ""
