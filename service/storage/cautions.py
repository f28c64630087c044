"""What a person should know about a store that we did not start ourselves: settings under which rows can be lost."""

from collections.abc import Iterator

from redis.exceptions import ResponseError

from service.storage.store import Store


def cautions(store: Store) -> list[str]:
    """Sentences for the log at start, none where all is well or the server does not tell (managed ones may not).

    Raises:
        StoreAway: the store does not answer.
    """
    return list(_look(store))


def _look(store: Store) -> Iterator[str]:
    for evicts in _configured(store, "maxmemory-policy") - {"noeviction"}:
        yield f"the store may drop keys when memory is short (maxmemory-policy {evicts}): set it to noeviction"
    if "no" in _configured(store, "appendonly"):
        yield "the store forgets what came since its last snapshot when it restarts (appendonly no): set it to yes"
        return
    for fsync in _configured(store, "appendfsync") - {"always"}:
        if store.durability.fsync == "always":
            yield f"TIDEGATE_DURABILITY is always, but the store decides: its appendfsync is {fsync}"


def _configured(store: Store, name: str) -> set[str]:
    """What the servers have set, nothing where they do not tell."""
    try:
        return {found[1].decode() for found in store.do_everywhere("CONFIG", "GET", name) if found}
    except ResponseError:
        return set()
