import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from stores import wait_until

from service.errors import DataDirInUse, NoEmbeddedStore, StoreAway, StoreDidNotStart
from service.settings import Durability
from service.storage import embedded
from service.storage.embedded import Embedded
from service.storage.keeper import kept_running
from service.storage.store import Store

OWNER = """
import sys, time
from pathlib import Path
from service.storage.embedded import Embedded
server = Embedded(Path(sys.argv[1])).start()
print(server.pid, flush=True)
time.sleep(600)  # until the test kills it
"""


def start_owner(folder: Path) -> tuple[subprocess.Popen, int]:
    root = Path(__file__).parents[1]
    child = subprocess.Popen([sys.executable, "-c", OWNER, str(folder)], stdout=subprocess.PIPE, text=True, cwd=root)
    return child, int(child.stdout.readline())


def test_what_was_written_is_there_after_stop_and_start(tmp_path):
    with Embedded(tmp_path) as server:
        Store(server.url).do("SET", "k", "v")
    with Embedded(tmp_path) as server:
        assert Store(server.url).do("GET", "k") == b"v"


def test_what_was_written_is_there_after_the_server_was_killed(tmp_path):
    with Embedded(tmp_path) as server:
        store = Store(server.url)
        store.do("SET", "k", "v")
        os.kill(server.pid, signal.SIGKILL)
        server._child.wait()
        assert server.pid is None
        with pytest.raises(StoreAway):
            store.ping()
        server.start()
        assert store.do("GET", "k") == b"v"


def test_a_killed_server_is_started_again_while_it_is_kept_running(tmp_path):
    with Embedded(tmp_path) as server:
        store = Store(server.url)
        with kept_running(server):
            for life in range(2):
                store.do("SET", life, "v")
                killed = server.pid
                os.kill(killed, signal.SIGKILL)
                wait_until(lambda killed=killed: server.pid not in {killed, None} and is_there(store))
            assert store.do("MGET", 0, 1) == [b"v", b"v"]
        store.close()
    assert server.pid is None


def is_there(store: Store) -> bool:
    try:
        store.ping()
    except StoreAway:
        return False
    return True


def test_the_server_listens_on_its_socket_only_and_keeps_an_append_only_file(tmp_path):
    with Embedded(tmp_path) as server:
        store = Store(server.url)
        asked = ("port", "appendonly", "appendfsync")
        assert [store.do("CONFIG", "GET", name)[1] for name in asked] == [b"0", b"yes", b"always"]
        assert server.socket.stat().st_mode & 0o077 == 0


def test_durability_is_handed_to_the_server(tmp_path):
    with Embedded(tmp_path, Durability("everysec")) as server:
        assert Store(server.url).do("CONFIG", "GET", "appendfsync")[1] == b"everysec"


def test_a_data_folder_has_one_owner(tmp_path):
    with Embedded(tmp_path), pytest.raises(DataDirInUse, match=f"process {os.getpid()}"):
        Embedded(tmp_path).start()
    with Embedded(tmp_path):
        pass


def test_a_killed_owner_leaves_nothing_that_blocks_the_next_start(tmp_path):
    owner, pid = start_owner(tmp_path)
    store = Store(Embedded(tmp_path).url)
    store.do("SET", "k", "v")
    owner.kill()
    owner.communicate()
    store.close()
    with Embedded(tmp_path) as server:
        assert server.pid != pid
        assert Store(server.url).do("GET", "k") == b"v"


def test_an_orphan_that_outlived_its_owner_is_ended(tmp_path):
    # As on macOS, where a child does not learn of its parent's death.
    first = Embedded(tmp_path)
    first.start()
    Store(first.url).do("SET", "k", "v")
    first._lock.close()
    with Embedded(tmp_path) as server:
        assert first._child.wait(5) == 0
        assert Store(server.url).do("GET", "k") == b"v"


def test_a_path_too_long_for_a_socket_gets_a_short_one(tmp_path):
    long = tmp_path / ("x" * 60) / ("y" * 60)
    with Embedded(long) as server:
        assert len(os.fsencode(server.socket)) < 104
        Store(server.url).ping()
        assert (long / "store").is_dir()


def test_stop_is_quick_and_may_be_repeated(tmp_path):
    server = Embedded(tmp_path).start()
    began = time.monotonic()
    server.stop()
    server.stop()
    assert time.monotonic() - began < 2.5
    assert not server.socket.exists()


def test_a_server_that_cannot_start_says_why_and_frees_the_folder(tmp_path):
    broken = tmp_path / "store" / "appendonlydir"
    broken.mkdir(parents=True)
    (broken / "appendonly.aof.manifest").write_text("no manifest\n")
    with pytest.raises(StoreDidNotStart, match=r"(?s)ended with code 1.*AOF"):
        Embedded(tmp_path).start()
    (broken / "appendonly.aof.manifest").unlink()
    with Embedded(tmp_path):
        pass


@pytest.mark.parametrize(("system", "libc", "hint"), [("win32", "", "not supported"), ("linux", "", "musl")])
def test_where_there_is_no_server_the_message_asks_for_an_address(tmp_path, monkeypatch, system, libc, hint):
    # The real part cannot run here: these are other systems, and only the message is tried.
    monkeypatch.setattr(embedded.sys, "platform", system)
    monkeypatch.setattr(embedded.platform, "libc_ver", lambda: (libc, ""))
    with pytest.raises(NoEmbeddedStore, match=f"(?s){hint}.*TIDEGATE_STORE"):
        Embedded(tmp_path).start()
