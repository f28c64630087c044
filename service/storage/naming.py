"""Errors of the client library by the names that the service gives them."""

from collections.abc import Iterator
from contextlib import contextmanager

from redis.exceptions import (
    AskError,
    AuthenticationError,
    BusyLoadingError,
    ClusterDownError,
    ConnectionError,  # noqa: A004  redis' own
    OutOfMemoryError,
    ReadOnlyError,
    ResponseError,
    TimeoutError,  # noqa: A004  redis' own
    TryAgainError,
)

from service.errors import StoreAway, StoreFull


@contextmanager
def naming_errors() -> Iterator[None]:
    """Turns what the client library raises into StoreAway and StoreFull."""
    try:
        yield
    except OutOfMemoryError as error:
        raise StoreFull(
            f"the store is out of memory: raise its maxmemory or let workers drain the log ({error})"
        ) from error
    except AuthenticationError as error:
        raise StoreAway(f"the store refuses our name and password: {error}") from error
    except (BusyLoadingError, ReadOnlyError) as error:
        raise StoreAway(f"the store cannot serve now: {error}") from error
    except AskError as error:
        raise StoreAway("the store is a node of a cluster: give its address as redis+cluster://HOST:PORT") from error
    except (ConnectionError, TimeoutError, OSError) as error:
        raise StoreAway(f"the store does not answer: {error}") from error
    except ResponseError as error:
        if str(error).startswith(("OOM", "-OOM")):
            raise StoreFull(f"the store is out of memory: {error}") from error
        if isinstance(error, ClusterDownError | TryAgainError) or str(error).startswith(("MISCONF", "NOREPLICAS")):
            raise StoreAway(f"the store cannot serve now: {error}") from error
        raise
