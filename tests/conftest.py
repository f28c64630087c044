"""A real store for tests: the embedded server, started once, emptied before each test."""

import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from service.errors import StoreAway
from service.storage.embedded import Embedded
from service.storage.store import Store


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Embedded]:
    with Embedded(tmp_path_factory.mktemp("data")) as embedded:
        yield embedded


@pytest.fixture
def store(server: Embedded) -> Iterator[Store]:
    store = Store(server.url)
    store.do("FLUSHALL")
    yield store
    store.close()


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    program = shutil.which("redis-server")
    if program is None:
        # A second kind of store, which a new machine need not have; .ci/run installs it and fails without it.
        pytest.skip("there is no redis-server on this machine")
    folder = tmp_path_factory.mktemp("redis")
    socket = Path(folder) / "redis.sock"
    options = ["--port", "0", "--unixsocket", str(socket), "--appendonly", "yes", "--save", ""]
    child = subprocess.Popen([program, *options], cwd=folder, stdout=subprocess.DEVNULL)
    store = Store(f"unix://{socket}")
    while child.poll() is None:
        try:
            store.ping()
            break
        except StoreAway:
            time.sleep(0.01)  # it is starting, and tells nobody when it is up
    store.close()
    yield f"unix://{socket}"
    child.terminate()
    child.wait()


@pytest.fixture(params=["valkey", "redis"])
def any_store(request: pytest.FixtureRequest) -> Iterator[Store]:
    """The embedded valkey, then the machine's redis-server where it has one."""
    url = request.getfixturevalue("redis_url") if request.param == "redis" else request.getfixturevalue("server").url
    store = Store(url)
    store.do("FLUSHALL")
    yield store
    store.close()
