"""Clusters and sentinels as they fail: nothing is sent twice, moved keys are followed, the living parts go on."""

import contextlib
import os
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
import redis
from intake import Intake, batch
from redis.backoff import NoBackoff
from redis.crc import key_slot
from redis.retry import Retry
from stores import Running, RunningCluster, cluster, free_port, lossy_door, running, sentinel, wait_until

from service.errors import StoreAway
from service.storage import keys
from service.storage.addresses import address_of
from service.storage.ownership import Ownership, Write
from service.storage.store import Store

HANGS_AFTER_SECONDS = 0.3


@pytest.fixture(scope="module")
def masters(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningCluster]:
    # So that the living masters of a cluster go on without the dead one.
    with cluster(tmp_path_factory.mktemp("cluster"), "--cluster-require-full-coverage", "no") as found:
        yield found


@contextlib.contextmanager
def connected(url: str) -> Iterator[Store]:
    with contextlib.closing(Store(url, answer_seconds=HANGS_AFTER_SECONDS)) as store:
        yield store


@contextlib.contextmanager
def hung(node: Running) -> Iterator[None]:
    """The node keeps its connections and answers nothing; what was sent to it, it does afterwards."""
    os.kill(node.process.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(node.process.pid, signal.SIGCONT)


def key_on(masters: RunningCluster, node: Running, name: str) -> str:
    """A key of this node."""
    return next(key for number in range(1000) if masters.node_of(key := f"{{{name}{number}}}") is node)


def try_again(store: Store, *words: str) -> bool:
    try:
        store.do(*words)
    except StoreAway:
        return False
    return True


SENDERS = {
    "a command": lambda store, key: store.do("INCR", key),
    "several commands": lambda store, key: store.do_all([("INCR", key), ("GET", "elsewhere")]),
    "a script": lambda store, key: store.run("beat", [key], ["me"]),
    "a durable script": lambda store, key: store.run_durably("beat", [key], ["me"]),
}


@dataclass(frozen=True)
class LossyNode:
    """A cluster of one node behind a door. The door loses the next answer to what names `lost`; then `is_lost`."""

    node: Running
    port: int
    is_lost: threading.Event


@pytest.fixture(scope="module")
def lossy_node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LossyNode]:
    inside, outside = free_port(), free_port()
    options = ("--cluster-enabled", "yes", "--cluster-port", free_port(), "--cluster-announce-port", outside)
    with (
        running(tmp_path_factory.mktemp("lossy"), *options, port=inside) as node,
        lossy_door(outside, inside, b"lost") as is_lost,
    ):
        node.ask("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
        wait_until(lambda: b"cluster_state:ok" in node.ask("CLUSTER", "INFO"), node.process)
        yield LossyNode(node, outside, is_lost)


@pytest.mark.parametrize("send", SENDERS.values(), ids=SENDERS)
def test_what_was_done_is_not_sent_again_when_its_answer_is_lost(lossy_node, send):
    node = lossy_node.node
    with connected(f"redis+cluster://127.0.0.1:{lossy_node.port}") as store:
        store.run("beat", ["warm"], ["me"])
        node.ask("DEL", "lost")
        lossy_node.is_lost.clear()
        with pytest.raises(StoreAway):
            send(store, "lost")
        assert lossy_node.is_lost.is_set()
        kind = node.ask("TYPE", "lost")
        assert (node.ask("GET", "lost") if kind == b"string" else node.ask("HGET", "lost", "me")) == b"1"


def test_the_librarys_own_pipeline_counts_twice(lossy_node):
    # The control of the test above, and the reason for a router of our own: its retries are off here too.
    lossy_node.node.ask("DEL", "lost")
    lossy_node.is_lost.clear()
    with redis.RedisCluster("127.0.0.1", lossy_node.port, retry=Retry(NoBackoff(), 0)) as client:
        client.pipeline().incr("lost").execute()
    assert lossy_node.node.ask("GET", "lost") == b"2"


def test_a_hanging_node_is_refused_at_once_and_the_others_go_on(masters):
    there, elsewhere = (key_on(masters, node, "hang") for node in masters.nodes[:2])
    with connected(masters.url) as store:
        store.ping()
        with hung(masters.nodes[0]):
            with pytest.raises(StoreAway, match="does not answer"):
                store.do("SET", there, 1)
            for _ in range(200):
                with pytest.raises(StoreAway, match="again and again"):
                    store.do("SET", there, 1)
                store.do("SET", elsewhere, 1)
            store.check_writable()
        wait_until(lambda: try_again(store, "SET", there, "1"), masters.nodes[0].process)


def test_what_lies_on_living_masters_is_taken_and_counted_while_one_hangs(masters, tmp_path):
    with connected(masters.url) as store:
        store.do("FLUSHALL")
        intake = Intake(store, tmp_path, partitions=6)

        def post(number: int) -> bool:
            try:
                intake.post(batch(10, seed=number), f"key {number}")
            except StoreAway:
                return False
            return True

        assert intake.worker.acquire() == 6
        with hung(masters.nodes[0]):
            taken = [number for number in range(30) if post(number)]
            assert 0 < len(taken) < 30
            with pytest.raises(StoreAway):
                intake.worker.step()
            assert 0 < intake.worker.acquire() < 6
            living = [keys.state(f"p{number}") for number in intake.worker.owned]
            assert sum(int(store.do("HGET", state, "folded") or 0) for state in living) == 10 * len(taken)
        wait_until(lambda: all(map(post, range(30))))
        intake.run()
        assert intake.counted()[0, 0] == 300


def test_keys_are_followed_while_their_slot_moves(masters):
    source, target = masters.nodes[1:]
    slot_name = next(f"p{number}" for number in range(1000) if masters.node_of(keys.state(f"p{number}")) is source)
    state, counts = keys.state(slot_name), keys.counts(slot_name)
    slot, ended, done = key_slot(state.encode()), threading.Event(), []
    with connected(masters.url) as store:
        owner = Ownership(store, slot_name, "me", alone=True)
        assert owner.claim()

        def commit() -> None:
            while not ended.is_set():
                owner.commit([Write("HINCRBY", counts, ("rows", 1))])
                done.append(1)

        thread = threading.Thread(target=commit)
        thread.start()
        wait_until(lambda: len(done) > 20, source.process)
        ids = {node: node.ask("CLUSTER", "MYID").decode() for node in masters.nodes}
        target.ask("CLUSTER", "SETSLOT", slot, "IMPORTING", ids[source])
        source.ask("CLUSTER", "SETSLOT", slot, "MIGRATING", ids[target])
        for key in source.ask("CLUSTER", "GETKEYSINSLOT", slot, 100):
            source.ask("MIGRATE", "127.0.0.1", target.port, key, 0, 1000)
            time.sleep(0.05)  # so that commits come while its keys lie on two nodes
        for node in (target, source, masters.nodes[0]):
            node.ask("CLUSTER", "SETSLOT", slot, "NODE", ids[target])
        moved_at = len(done)
        wait_until(lambda: len(done) > moved_at + 20 or not thread.is_alive(), target.process)
        ended.set()
        thread.join()
        assert len(done) > moved_at + 20
        assert int(store.do("HGET", counts, "rows")) == len(done)
        assert target.ask("HGET", counts, "rows") == store.do("HGET", counts, "rows")
        found = store.do_all([("HGET", counts, "rows"), ("EXISTS", key_on(masters, source, "x"))])
        assert int(found[0]) == len(done)


def test_a_dead_master_is_followed_by_its_replica(tmp_path):
    quickly = ("--cluster-node-timeout", 1000)
    with cluster(tmp_path / "masters", *quickly) as masters, contextlib.ExitStack() as closing:
        bus, master = free_port(), masters.nodes[0]
        replica = closing.enter_context(
            running(
                tmp_path / "replica",
                *("--cluster-enabled", "yes", "--cluster-config-file", "nodes.conf", "--cluster-port", bus),
                *quickly,
            )
        )
        masters.nodes[1].ask("CLUSTER", "MEET", "127.0.0.1", replica.port, bus)
        wait_until(lambda: replica.ask("CLUSTER", "REPLICATE", master.ask("CLUSTER", "MYID")) == b"OK", replica.process)
        wait_until(lambda: b"master_link_status:up" in replica.ask("INFO", "replication"), replica.process)
        key = key_on(masters, master, "failover")
        with connected(masters.url) as store:
            store.do("SET", key, "before")
            wait_until(lambda: master.ask("WAIT", 1, 100) == 1, replica.process)
            master.kill()
            with pytest.raises(StoreAway):
                store.do("SET", key, "lost")
            wait_until(lambda: try_again(store, "APPEND", key, "-and-after"), replica.process)
            assert store.do("GET", key) == b"before-and-after"
            assert replica.ask("GET", key) == b"before-and-after"


def test_what_sentinels_name_is_followed(tmp_path):
    with running(tmp_path / "first") as first, running(tmp_path / "second") as second:
        second.ask("REPLICAOF", "127.0.0.1", first.port)
        wait_until(lambda: b"master_link_status:up" in second.ask("INFO", "replication"), second.process)
        with sentinel(tmp_path / "sentinel", first) as watch:
            url = f"redis+sentinel://127.0.0.1:{free_port()},127.0.0.1:{watch.port}/shop"
            with connected(url) as store:
                store.do("SET", "k", "before")
                wait_until(lambda: b"slaves=1" in watch.ask("INFO", "sentinel"), watch.process)
                first.kill()
                with pytest.raises(StoreAway):
                    store.do("SET", "k", "lost")
                wait_until(lambda: try_again(store, "APPEND", "k", "-and-after"), second.process)
                assert second.ask("GET", "k") == b"before-and-after"


def test_an_address_of_the_wrong_kind_is_said(masters, tmp_path):
    with connected(masters.nodes[0].url) as store, pytest.raises(StoreAway, match=r"redis\+cluster://"):
        store.do_all([("GET", f"k{number}") for number in range(20)])
    with running(tmp_path) as single, connected(f"redis+cluster://127.0.0.1:{single.port}") as store:
        told = pytest.raises(StoreAway, match="cluster support disabled")
        with told:
            store.ping()
    with connected(f"redis+cluster://127.0.0.1:{free_port()}") as store, pytest.raises(StoreAway, match="refused"):
        store.do("GET", "k")


def test_a_login_counts_for_every_node_and_a_wrong_one_is_said(masters):
    for node in masters.nodes:
        node.ask("ACL", "SETUSER", "shop", "on", ">word", "~*", "+@all")
    places = masters.url.partition("://")[2]
    with connected(f"redis+cluster://shop:word@{places}") as store:
        store.do_all([("SET", f"k{number}", 1) for number in range(20)])
    with connected(f"redis+cluster://shop:other@{places}") as store, pytest.raises(StoreAway, match="password"):
        store.do("GET", "k")


@pytest.mark.parametrize(
    ("text", "hosts", "service", "url"),
    [
        ("redis+cluster://a:7000,b", (("a", 7000), ("b", 6379)), "", "redis://h:1/"),
        (
            "rediss+cluster://me:pw@[::1]:7000?ssl_ca_certs=x",
            (("::1", 7000),),
            "",
            "rediss://me:pw@h:1/?ssl_ca_certs=x",
        ),
        ("redis+sentinel://a,b:2/shop/3", (("a", 26379), ("b", 2)), "shop", "redis://h:1/3"),
    ],
)
def test_addresses_of_several_servers_say_where_each_is(text, hosts, service, url):
    address = address_of(text)
    assert (address.hosts, address.service, address.url_of("h", 1)) == (hosts, service, url)


@pytest.mark.parametrize(
    "text",
    [
        "http://a",
        "redis+cluster://",
        "redis+cluster://a:x",
        "redis+cluster://a/shop",
        "redis+sentinel://a",
        "redis+x://a",
    ],
)
def test_what_is_no_address_is_refused_with_what_is(text):
    with pytest.raises(ValueError, match=r"allowed are redis://HOST"):
        address_of(text)


@pytest.mark.parametrize("slot", ["p0", "p255", keys.LABELS])
def test_all_keys_of_a_slot_lie_on_one_server(slot):
    makers = [make for make in vars(keys).values() if "slot" in getattr(make, "__annotations__", {})]
    made = {make(slot, *["x"] * (make.__code__.co_argcount - 1)) for make in makers}
    assert len(made) > 5
    assert {key_slot(key.encode()) for key in made} == {key_slot(keys.state(slot).encode())}
