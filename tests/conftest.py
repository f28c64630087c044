"""Real stores for tests: the embedded server, a Redis, a cluster; each started once, emptied before each test."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from stores import KINDS, cluster, running

from service.storage.embedded import Embedded
from service.storage.store import Store

if TYPE_CHECKING:
    from buckets import ObjectStorage

# They make the recordings, with libraries of other environments.
collect_ignore_glob = ["conventions/record_*.py"]

# What these files promise holds on every kind of store. Laws run many examples, and do so on the embedded store.
ON_EVERY_STORE = {"test_archive", "test_fold", "test_ingest", "test_labels", "test_store", "test_stores"}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    is_law = hasattr(metafunc.function, "hypothesis")
    is_everywhere = metafunc.definition.path.stem in ON_EVERY_STORE and not is_law
    if "any_store" in metafunc.fixturenames or ("store_url" in metafunc.fixturenames and is_everywhere):
        metafunc.parametrize("store_url", KINDS, indirect=True)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Embedded]:
    with Embedded(tmp_path_factory.mktemp("data")) as embedded:
        yield embedded


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with running(tmp_path_factory.mktemp("redis"), kind="redis") as redis:
        yield redis.url


@pytest.fixture(scope="session")
def cluster_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with cluster(tmp_path_factory.mktemp("cluster")) as masters:
        yield masters.url


@pytest.fixture
def store_url(request: pytest.FixtureRequest) -> str:
    """The address of an empty store of one kind, the embedded one where no other is asked for."""
    kind = getattr(request, "param", KINDS[0])
    url = request.getfixturevalue("server").url if kind == KINDS[0] else request.getfixturevalue(f"{kind}_url")
    store = Store(url)
    store.do("FLUSHALL")
    store.close()
    return str(url)


@pytest.fixture
def store(store_url: str) -> Iterator[Store]:
    store = Store(store_url)
    yield store
    store.close()


@pytest.fixture
def any_store(store: Store) -> Store:
    """The store of each kind in turn, in whatever file the test is."""
    return store


@pytest.fixture(scope="session")
def object_storage() -> "Iterator[ObjectStorage]":
    from buckets import ObjectStorage

    storage = ObjectStorage()
    yield storage
    storage.close()
