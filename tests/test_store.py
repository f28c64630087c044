import threading
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service.errors import NotDurable, StaleOwner, StoreAway, StoreFull
from service.settings import Durability
from service.storage import keys
from service.storage.cautions import cautions
from service.storage.embedded import Embedded
from service.storage.ownership import Ownership, Write
from service.storage.roster import Roster
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


def test_a_lease_does_not_run_while_nobody_could_have_shown_life(tmp_path):
    beats = Beats()
    with Embedded(tmp_path) as server:
        store = Store(server.url)
        owner, rival = (Ownership(store, "p0", name, beats=beats) for name in ("owner", "rival"))
        owner.claim()
        assert not rival.claim()
    beats.now += 11
    with pytest.raises(StoreAway):
        rival.claim()
    with Embedded(tmp_path):
        assert not rival.claim()
        beats.now += 9.9
        assert not rival.claim()
        beats.now += 0.2
        assert rival.claim()
    store.close()


def test_an_owner_that_is_known_to_be_dead_is_followed_at_once(store):
    owner, rival = (
        Ownership(store, "p0", "owner"),
        Ownership(store, "p0", "rival", is_dead=lambda name: name == "owner"),
    )
    owner.claim()
    assert rival.claim()


class Crowd:
    """Workers on one store; `look` moves the clock by a third of a lease, after which those who live show it."""

    def __init__(self, store: Store) -> None:
        self.beats, self.store = Beats(), store
        self.living: dict[str, Roster] = {}

    def join(self, name: str) -> None:
        self.living[name] = Roster(self.store, name, lease=timedelta(seconds=9), beats=self.beats)

    def look(self) -> None:
        self.beats.now += 3.1
        for roster in self.living.values():
            roster.show()


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.tuples(st.sampled_from(["join", "die", "leave"]), st.integers(0, 9)), max_size=12), st.integers(1, 9)
)
def test_shares_of_the_living_are_even_and_add_up(store, moves, things):
    store.do("FLUSHALL")
    crowd = Crowd(store)
    for move, number in [*moves, ("join", 0)]:
        name = f"worker {number}"
        if move == "join":
            crowd.join(name)
        elif gone := crowd.living.pop(name, None):
            gone.leave() if move == "leave" else None
        crowd.look()
    for _ in range(4):
        crowd.look()
    shares = [roster.share(things) for roster in crowd.living.values()]
    assert sum(shares) == things
    assert max(shares) - min(shares) <= 1


def test_while_the_store_is_away_nobody_dies_and_the_dead_stay_dead(tmp_path):
    with Embedded(tmp_path) as server:
        store = Store(server.url)
        crowd = Crowd(store)
        for name in ("one", "two", "dead"):
            crowd.join(name)
        crowd.look()
        del crowd.living["dead"]
        for _ in range(4):
            crowd.look()
    for roster in crowd.living.values():
        crowd.beats.now += 30
        with pytest.raises(StoreAway):
            roster.show()
    with Embedded(tmp_path):
        crowd.look()
        assert [roster.share(4) for roster in crowd.living.values()] == [2, 2]
        assert all(roster.is_dead("dead") for roster in crowd.living.values())
    store.close()


def test_names_that_are_silent_for_long_are_struck_off(store):
    crowd = Crowd(store)
    crowd.join("dead")
    crowd.look()
    crowd.join("alive")
    del crowd.living["dead"]
    for _ in range(40):
        crowd.look()
    assert store.do("HKEYS", keys.ROSTER) == [b"alive"]
    assert not crowd.living["alive"].is_dead("dead")


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


def test_waiting_for_replicas_that_do_not_exist_is_said_and_not_hidden(store_url):
    store = Store(store_url, Durability("everysec", 1), answer_seconds=1)
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
