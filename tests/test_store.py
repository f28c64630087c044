import threading

import pytest

from service.errors import NotDurable, StaleOwner, StoreAway, StoreFull
from service.settings import Durability
from service.storage.cautions import cautions
from service.storage.embedded import Embedded
from service.storage.ownership import Ownership, Write
from service.storage.store import Store


class Beats:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_scripts_are_found_again_after_the_server_forgot_them(any_store):
    owner = Ownership(any_store, "p0", "me")
    assert owner.claim()
    any_store.do("SCRIPT", "FLUSH")
    owner.commit((), position="1-1")
    assert any_store.do("HGET", "tg:{p0}:state", "position") == b"1-1"


def test_an_owner_that_was_followed_by_another_writes_nothing(any_store):
    old, new = Ownership(any_store, "p0", "old"), Ownership(any_store, "p0", "new", alone=True)
    assert old.claim()
    assert new.claim()
    with pytest.raises(StaleOwner):
        old.commit([Write("HSET", "tg:{p0}:counts", ("a", 1))], position="9-9")
    assert any_store.do("EXISTS", "tg:{p0}:counts") == 0
    new.commit([Write("HSET", "tg:{p0}:counts", ("a", 2))])
    assert any_store.do("HGET", "tg:{p0}:counts", "a") == b"2"


def test_an_owner_whose_commit_was_undone_by_a_failover_is_refused(any_store):
    owner = Ownership(any_store, "p0", "me")
    owner.claim()
    owner.commit((), position="1-1")
    owner.commit((), position="2-2")
    any_store.do("HSET", "tg:{p0}:state", "commits", 1, "position", "1-1")
    with pytest.raises(StaleOwner):
        owner.commit((), position="3-3")
    assert owner.claim()
    assert owner.state["position"] == "1-1"


def test_a_living_owner_keeps_its_slot_and_a_silent_one_loses_it_after_the_lease(store):
    beats = Beats()
    owner, rival = (Ownership(store, "p0", name, beats=beats) for name in ("owner", "rival"))
    assert owner.claim()
    for _ in range(5):
        assert not rival.claim()
        beats.now += 4
        owner.renew()
    assert not rival.claim()
    beats.now += 9.9
    assert not rival.claim()
    beats.now += 0.2
    assert rival.claim()
    with pytest.raises(StaleOwner):
        owner.renew()


def test_a_released_slot_is_free_at_once(store):
    owner, rival = Ownership(store, "p0", "owner"), Ownership(store, "p0", "rival")
    owner.claim()
    owner.release()
    assert rival.claim()


def test_two_that_claim_at_once_do_not_both_get_it(store):
    owners = [Ownership(store, "p0", f"owner{n}") for n in range(8)]
    barrier = threading.Barrier(len(owners))

    def claim(owner: Ownership) -> None:
        barrier.wait()
        owner.claim()

    threads = [threading.Thread(target=claim, args=(owner,)) for owner in owners]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    alive = 0
    for owner in owners:
        try:
            owner.commit(())
            alive += 1
        except StaleOwner:
            pass
    assert alive == 1


def test_a_commit_larger_than_a_script_can_unpack_is_written_whole(any_store):
    owner = Ownership(any_store, "p0", "me")
    owner.claim()
    words = tuple(word for n in range(30_000) for word in (n, b"x" * 20))
    owner.commit([Write("HSET", "tg:{p0}:cells", words)])
    assert any_store.do("HLEN", "tg:{p0}:cells") == 30_000


def test_a_full_store_refuses_rows_and_still_lets_owners_commit(any_store):
    owner = Ownership(any_store, "p0", "me")
    owner.claim()
    any_store.do("CONFIG", "SET", "maxmemory", "1")
    try:
        with pytest.raises(StoreFull):
            any_store.check_writable()
        owner.commit([Write("HSET", "tg:{p0}:counts", ("a", 1))])
    finally:
        any_store.do("CONFIG", "SET", "maxmemory", "0")
    any_store.check_writable()


def test_waiting_for_replicas_that_do_not_exist_is_said_and_not_hidden(any_store, monkeypatch):
    monkeypatch.setattr("service.storage.store._WAIT_MILLISECONDS", 50)
    url = any_store.client.connection_pool.connection_kwargs["path"]
    store = Store(f"unix://{url}", Durability("everysec", 1))
    with pytest.raises(NotDurable, match="0 of 1 replicas"):
        store.run_durably("claim", ["tg:{p0}:state"], ["0", "0", "me"])
    store.close()


def test_settings_of_a_store_that_can_lose_rows_are_told(any_store):
    for name, value in (("appendonly", "yes"), ("appendfsync", "always"), ("maxmemory-policy", "noeviction")):
        any_store.do("CONFIG", "SET", name, value)
    assert cautions(any_store) == []
    for name, value, hint in (
        ("appendfsync", "everysec", "appendfsync is everysec"),
        ("maxmemory-policy", "allkeys-lru", "set it to noeviction"),
        ("appendonly", "no", "forgets"),
    ):
        before = any_store.do("CONFIG", "GET", name)[1]
        any_store.do("CONFIG", "SET", name, value)
        try:
            assert [hint in sentence for sentence in cautions(any_store)] == [True]
        finally:
            any_store.do("CONFIG", "SET", name, before)


def test_a_store_that_is_away_is_named_and_found_again(tmp_path):
    with Embedded(tmp_path) as server:
        store = Store(server.url)
        store.check_writable()
    with pytest.raises(StoreAway, match="does not answer"):
        store.check_writable()
    with Embedded(tmp_path):
        store.check_writable()
    store.close()
