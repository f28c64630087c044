"""What holds on every kind of store, and what happens when one is full, hangs, or loses its replica."""

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace

import houses
import httpx
import numpy as np
import pytest
from intake import Intake, batch
from stores import Running, running, wait_until

from service.deciding.cycle import Cycle
from service.errors import NotDurable, StoreAway, StoreFull
from service.intake.archive.archiving import Roll
from service.intake.log.tide import Tide
from service.ledger.records import Release
from service.settings import Durability
from service.storage.ownership import Ownership, Write
from service.storage.store import Store
from service.web.auth import create_key, list_keys, revoke_key, take_keys

HANGS_AFTER_SECONDS = 0.3
ROOM_BYTES = 3 << 20
WAITING = Durability("everysec", 1)


@contextlib.contextmanager
def hung(server: Running) -> Iterator[None]:
    """The server keeps its connections and answers nothing."""
    os.kill(server.process.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(server.process.pid, signal.SIGCONT)


@contextlib.contextmanager
def connected(url: str) -> Iterator[Store]:
    with contextlib.closing(Store(url, answer_seconds=HANGS_AFTER_SECONDS)) as store:
        yield store


@contextlib.contextmanager
def small(store: Store) -> Iterator[None]:
    """Every server of the store has room for a little more than it holds."""
    told = store.do_everywhere("INFO", "memory")
    used = max(int(each.split(b"used_memory:")[1].split()[0]) for each in told)
    store.do("CONFIG", "SET", "maxmemory", used + ROOM_BYTES)
    try:
        yield
    finally:
        store.do("CONFIG", "SET", "maxmemory", 0)


@contextlib.contextmanager
def replicated(folder: Path, kind: str) -> Iterator[tuple[Running, Running]]:
    """A server and its replica."""
    with running(folder / "first", kind=kind) as first, running(folder / "second", kind=kind) as second:
        follow(second, first)
        yield first, second


def follow(second: Running, first: Running) -> None:
    second.ask("REPLICAOF", "127.0.0.1", first.port)
    wait_until(lambda: b"master_link_status:up" in second.ask("INFO", "replication"), second.process)


def is_answered(store: Store) -> bool:
    try:
        store.check_writable()
    except StoreAway:
        return False
    return True


def test_a_shop_lives_on_every_kind_of_store(store_url, tmp_path):
    with houses.open_shop(SimpleNamespace(url=store_url), tmp_path) as house:
        houses.evaluate(house)
        rows = houses.with_group(houses.predictions(600, seed=5, start=houses.START + 180_000), "b")
        houses.ingest(house, rows)
        Cycle(house).step("shop")
        second = houses.give_baseline(house, "2").version
        house.ledger.move_champion(Release("shop", second, "1", houses.NOON, "gate", ""))
        assert house.ledger.champion("shop") == "2"
        assert house.ledger.evaluation("shop").segments
        assert houses.counted(house) == 3_400
        labels = house.archive.labelled("shop", houses.NOON.replace(year=2000), houses.NOON.replace(year=2100))
        assert labels.num_rows == 3_400
        made, token = create_key(house.store, "grafana", ["read"], [], houses.NOON)
        with houses.client_of(house) as client:
            allowed = {"Authorization": f"Bearer {token}"}
            for path in ("/v1/models", "/v1/models/shop", "/v1/models/shop/decisions", "/v1/models/shop/releases"):
                assert client.get(path, headers=allowed).status_code == 200
            assert 'tidegate_predictions_total{model="shop"} 3400.0' in client.get("/metrics", headers=allowed).text
            assert client.get("/readyz").status_code == 200
        revoke_key(house.store, made.id, houses.NOON)
        assert take_keys(house.store, "", houses.NOON) == 0
        assert [key.revoked_at for key in list_keys(house.store)] == [houses.NOON]


def test_a_full_store_drains_without_help_and_takes_rows_again(store, tmp_path):
    roll = Roll(rows=1_000_000)  # too few rows come for files, were there room
    intake = Intake(store, tmp_path, roll=roll)
    with small(store):
        posted = 0
        with contextlib.suppress(StoreFull):
            while posted < 10_000:
                intake.post(batch(100, seed=posted))
                posted += 1
        # Those who drain it may have to start first, and must not seem dead to one another.
        late = Intake(store, tmp_path, roll=roll)
        late.now += timedelta(seconds=11)
        worker, joiner = late.new_worker(alone=False), late.new_joiner(alone=False)

        def is_taken() -> bool:
            worker.acquire()
            worker.step()
            joiner.step(late.now)
            try:
                late.post(batch(100, seed=posted), "key")
            except StoreFull:
                return False
            return True

        wait_until(is_taken)
        joiner.release()
        worker.release()
    assert 10 < posted < 10_000
    intake.run()
    assert intake.counted()[0, 0] == 100 * (posted + 1)
    assert np.isclose(intake.numbers().predictions["m"], 100 * (posted + 1))


@pytest.mark.parametrize("kind", ["valkey", "redis"])
def test_a_store_that_hangs_is_refused_at_once_and_found_again(tmp_path, kind):
    with running(tmp_path, kind=kind) as server, connected(server.url) as store:
        store.check_writable()
        with hung(server):
            with pytest.raises(StoreAway):
                store.do("GET", "k")
            for _ in range(500):  # each would take its time, were it asked
                with pytest.raises(StoreAway, match="again and again"):
                    store.run("tell", ["k"], ["0-0"])
        wait_until(lambda: is_answered(store))
        server.kill()
        for _ in range(500):
            with pytest.raises(StoreAway):
                store.do("GET", "k")
        with running(tmp_path, kind=kind, port=server.port):
            assert is_answered(store)


def test_senders_are_told_while_the_store_hangs_and_served_when_it_goes_on(tmp_path):
    with running(tmp_path / "store") as server, houses.open_shop(SimpleNamespace(url=server.url), tmp_path) as house:
        with houses.client_of(house) as client, ThreadPoolExecutor(16) as senders:

            def post(number: int) -> httpx.Response:
                row = {**houses.ROW, "prediction_id": str(number)}
                return client.post("/v1/models/shop/predictions", json=[row], headers={"Idempotency-Key": str(number)})

            assert post(0).status_code == 202
            with hung(server):
                answers = list(senders.map(post, range(1, 60)))  # a wait for each would outlast the client's patience
                assert {answer.status_code for answer in answers} == {503}
                assert {answer.json()["type"] for answer in answers} == {"/problems#store-away"}
                assert all(int(answer.headers["Retry-After"]) > 0 for answer in answers)
                assert client.get("/healthz").status_code == 200
                assert client.get("/readyz").status_code == 503
                assert "tidegate_store_up 0.0" in client.get("/metrics").text
            wait_until(lambda: all(post(number).status_code == 202 for number in range(60)))
        assert houses.counted(house) == 60


def test_an_idle_worker_asks_once_until_something_comes_or_two_seconds_are_over(store, tmp_path):
    now = 0.0
    intake = Intake(store, tmp_path)
    tide = Tide(intake.log, lambda: now)
    assert not tide.is_still()
    assert tide.is_still()
    intake.post(batch(1))
    assert not tide.is_still()
    assert tide.is_still()
    now = 2.1
    assert not tide.is_still()


def test_work_is_waited_for_longer_than_what_a_request_asks(tmp_path):
    with running(tmp_path) as server, connected(server.url) as store:
        owner = Ownership(store, "p0", "me")
        assert owner.claim()
        owner.commit(())  # the server has the script now
        with hung(server):
            thread = threading.Thread(target=owner.commit, args=([Write("HSET", "tg:{p0}:counts", ("a", 1))],))
            thread.start()
            with pytest.raises(StoreAway):
                store.do("GET", "k")
        thread.join()
        assert owner.is_held
        wait_until(lambda: is_answered(store))
        assert store.do("HGET", "tg:{p0}:counts", "a") == b"1"


@pytest.mark.parametrize("kind", ["valkey", "redis"])
def test_an_append_that_too_few_replicas_have_is_not_answered(tmp_path, kind):
    with replicated(tmp_path, kind) as (first, second), contextlib.closing(Store(first.url, WAITING)) as store:
        intake = Intake(store, tmp_path / "archive")
        taken = intake.post(batch(10), "first")
        assert (taken["accepted"], taken["durability"]) == (10, "wait:1")
        with hung(second), pytest.raises(NotDurable, match="0 of 1 replicas confirmed in time"):
            intake.post(batch(10, seed=1), "second")
        wait_until(lambda: first.ask("WAIT", 1, 100) == 1)
        assert intake.post(batch(10, seed=1), "second")["accepted"] == 10
        second.kill()
        wait_until(lambda: b"connected_slaves:0" in first.ask("INFO", "replication"))
        for written in ("the rows are written", *["nothing was written"] * 20):
            with pytest.raises(NotDurable, match=written):
                intake.post(batch(10, seed=2), "third")
        with running(tmp_path / "second", kind=kind, port=second.port) as again:
            follow(again, first)
            assert intake.post(batch(10, seed=2), "third")["accepted"] == 10
            intake.run()
            assert intake.counted()[0, 0] == 30


@pytest.mark.parametrize(
    ("options", "word"),
    [
        (("--appendfsync", "always"), "always"),
        (("--appendfsync", "everysec"), "everysec"),
        (("--appendfsync", "no"), "memory"),
        (("--appendonly", "no"), "memory"),
        (("--rename-command", "CONFIG", ""), "unknown"),
    ],
)
def test_an_answer_says_what_the_store_does_and_not_what_was_wished(tmp_path, options, word):
    with running(tmp_path / "store", *options, kind="redis") as server, connected(server.url) as store:
        assert store.durability.fsync == "always"
        assert Intake(store, tmp_path / "archive").post(batch(1))["durability"] == word
