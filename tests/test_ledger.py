import hashlib
import json
import threading
from dataclasses import replace
from datetime import timedelta

import msgspec
import pytest
from houses import NOON, client_of, evaluate, ingest, open_shop
from hypothesis import given
from hypothesis import strategies as st
from streams import predictions

from policies.file.parse import digest, parse
from service.cli import main
from service.deciding.cycle import Cycle
from service.deciding.keeping import worth_keeping
from service.ledger.chain import GENESIS, Head, LedgerDamaged, digest_of, encode
from service.ledger.ledger import Ledger
from service.ledger.records import Act, DecisionRecord, Evaluation
from service.ledger.verify import ChainBroken, follow
from service.storage import keys
from service.storage.store import Store

MODEL = "shop"


def act(number: int, **more) -> Act:
    return Act(MODEL, "silence", "ada", f"no. {number}", NOON + timedelta(minutes=number), more)


def decision(number: int) -> DecisionRecord:
    at = NOON + timedelta(hours=number)
    return DecisionRecord(f"d-{number}", MODEL, "1", at, "hold", (), {"all": "ok"}, (), None, "p", "b")


def fill(ledger: Ledger, entries: int = 6) -> list[bytes]:
    """A chain of decisions and acts in turn; gives its entries."""
    for number in range(entries):
        if number % 2:
            ledger.record_act(act(number))
        else:
            ledger.record(Evaluation(MODEL, "1"), decision(number), ["decisions:hold"])
    return ledger.chain(MODEL).page(0)


def encoded(record: object) -> bytes:
    return msgspec.json.encode(record)


def raw(name: str) -> str:
    return keys.key(f"m:{MODEL}", name)


# ---- what is kept


def test_every_entry_names_the_hash_of_the_one_before_it(any_store):
    entries = fill(Ledger(any_store))
    previous = GENESIS
    for number, entry in enumerate(entries, 1):
        told = json.loads(entry)
        assert (told["number"], told["previous"]) == (number, previous)
        previous = hashlib.sha256(entry).hexdigest()
    assert Ledger(any_store).chain(MODEL).head() == Head(len(entries), previous)
    assert [json.loads(entry)["kind"] for entry in entries] == ["decision", "act"] * 3


def test_decisions_and_acts_are_read_back_newest_first(store):
    ledger = Ledger(store)
    fill(ledger)
    assert encoded(ledger.decisions(MODEL)) == encoded([decision(4), decision(2), decision(0)])
    assert encoded(ledger.decisions(MODEL, 1)) == encoded([decision(4)])
    assert encoded(ledger.decision(MODEL, "d-2")) == encoded(decision(2))
    assert ledger.decision(MODEL, "d-9") is None
    assert ledger.acts(MODEL) == [act(5), act(3), act(1)]
    assert ledger.counts(MODEL) == {"decisions:hold": 3}


def test_the_same_act_or_decision_again_is_no_second_entry(store):
    ledger = Ledger(store)
    fill(ledger)
    head = ledger.record_act(act(5))
    ledger.record(Evaluation(MODEL, "2"), decision(4), ["decisions:hold"])
    assert ledger.chain(MODEL).head() == head == Head(6, digest_of(ledger.chain(MODEL).page(5)[0]))
    assert ledger.evaluation(MODEL).version == "2"


def test_writers_at_the_same_time_make_one_chain(store_url):
    def write(who: int) -> None:
        ledger = Ledger(Store(store_url))
        for number in range(25):
            ledger.record_act(act(number, writer=who))

    writers = [threading.Thread(target=write, args=(who,)) for who in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    chain = Ledger(Store(store_url)).chain(MODEL)
    assert follow(chain.page(0), chain.head()).entries == 100


def test_an_entry_made_on_an_older_head_is_not_written(store):
    ledger = Ledger(store)
    fill(ledger)
    chain = ledger.chain(MODEL)
    answer = chain._write("act", [GENESIS, "f" * 64, 1, "late", encode(Head(), "act", act(9))], b"", [])
    assert (answer, len(chain.page(0))) == (b"moved", 6)


def test_decisions_older_than_the_chain_stay_readable(store):
    ledger = Ledger(store)
    old = decision(-1)
    store.do("HSET", raw("decisions"), old.id, encoded(old))
    store.do("RPUSH", raw("order"), old.id)
    fill(ledger, 3)
    assert encoded(ledger.decisions(MODEL)) == encoded([decision(2), decision(0), old])
    assert encoded(ledger.decision(MODEL, old.id)) == encoded(old)
    assert ledger.unchained(MODEL) == 1


# ---- tampering


def damage_changed(store, at: int) -> None:
    entry = store.do("HGET", raw("chain"), at)
    store.do("HSET", raw("chain"), at, entry.replace(b'"hold"', b'"help"').replace(b'"ada"', b'"eve"'))


def damage_dropped(store, at: int) -> None:
    store.do("HDEL", raw("chain"), at)


def damage_swapped(store, at: int) -> None:
    one, two = store.do("HMGET", raw("chain"), at, 6 if at == 1 else 1)
    store.do("HSET", raw("chain"), at, two, 6 if at == 1 else 1, one)


def damage_cut(store, at: int) -> None:
    store.do("HDEL", raw("chain"), *range(at, 7))


@pytest.mark.parametrize("at", range(1, 7))
@pytest.mark.parametrize("damage", [damage_changed, damage_dropped, damage_swapped, damage_cut])
def test_whatever_is_done_to_an_entry_in_the_store_is_found(store, damage, at):
    ledger = Ledger(store)
    fill(ledger)
    chain = ledger.chain(MODEL)
    damage(store, at)
    with pytest.raises(ChainBroken) as broken:
        follow(chain.page(0), chain.head())
    assert broken.value.number == (1 if damage is damage_swapped else at)


@given(st.data())
def test_no_byte_of_a_chain_can_be_another(data):
    entries, head = [], Head()
    for number in range(4):
        entries.append(encode(head, "act", act(number)))
        head = Head(number + 1, digest_of(entries[-1]))
    assert follow(entries, head).head == head.hash
    which = data.draw(st.integers(0, 3))
    entry = bytearray(entries[which])
    entry[data.draw(st.integers(0, len(entry) - 1))] ^= data.draw(st.integers(1, 255))
    with pytest.raises(ChainBroken):
        follow([*entries[:which], bytes(entry), *entries[which + 1 :]], head)


def test_a_chain_that_was_cut_with_its_head_or_written_anew_fails_a_noted_head(store):
    ledger = Ledger(store)
    entries = fill(ledger)
    noted = digest_of(entries[3])
    assert follow(entries, None, noted).entries == 6
    with pytest.raises(ChainBroken, match="cut off or written anew") as broken:
        follow(entries[:3], Head(3, digest_of(entries[2])), noted)
    assert broken.value.number == 4


def test_nothing_is_written_over_an_entry_whose_head_was_lost(store):
    ledger = Ledger(store)
    fill(ledger)
    store.do("DEL", raw("head"))
    with pytest.raises(LedgerDamaged, match="verify shop"):
        ledger.record_act(act(9))
    assert ledger.chain(MODEL).read([1]) == [encode(Head(), "decision", decision(0))]


# ---- over HTTP and on the command line


@pytest.fixture
def house(server, tmp_path):
    with open_shop(server, tmp_path) as house:
        yield house


def verify(house, *words: str) -> int:
    with client_of(house) as client:
        return main(["decisions", *words, "--url", str(client.base_url)])


def test_the_command_recomputes_the_chain_and_finds_the_first_break(house, capsys, tmp_path):
    evaluate(house)
    fill(house.ledger)
    head = house.ledger.chain(MODEL).head()
    assert verify(house, "verify") == 0
    assert f"7 entries from {NOON:%Y-%m-%dT%H:%M:%SZ}" in capsys.readouterr().out
    assert verify(house, "verify", MODEL, "--head", head.hash) == 0
    assert verify(house, "verify", MODEL, "--head", "0" * 63 + "1") == 1
    capsys.readouterr()
    assert verify(house, "export", MODEL) == 0
    copy = tmp_path / "shop.ndjson"
    copy.write_text(capsys.readouterr().out)
    assert verify(house, "verify", "--file", str(copy), "--head", head.hash) == 0
    damage_changed(house.store, 4)
    capsys.readouterr()
    assert verify(house, "verify", "--json") == 1
    assert [each["broken_at"] for each in json.loads(capsys.readouterr().out)] == [4]
    assert verify(house, "verify", MODEL) == 1
    assert "shop: BROKEN at entry 5 was written" not in capsys.readouterr().out


def test_it_pages_through_long_chains_and_says_what_is_older(house, capsys):
    house.ledger.add_model(MODEL)
    fill(house.ledger, 1_200)
    house.store.do("HSET", raw("decisions"), "d-old", encoded(decision(-1)))
    assert verify(house, "verify", MODEL) == 0
    told = capsys.readouterr().out
    assert "1200 entries" in told
    assert "older than the chain, for which nothing vouches: 1" in told
    damage_cut(house.store, 3)
    assert verify(house, "verify", MODEL) == 1


def test_words_that_are_no_command_are_refused(house, capsys):
    assert verify(house, "export") == 2
    assert verify(house, "shop", "verify") == 2
    assert "expected [list|verify] [MODEL]" in capsys.readouterr().err


def test_a_decision_shows_its_entry_and_the_policy_that_made_it(house):
    evaluate(house)
    with client_of(house) as client:
        (told,) = client.get("/v1/models/shop/decisions").json()["decisions"]
        entries = client.get("/v1/models/shop/ledger/entries", params={"after": 0}).content.splitlines()
        assert told["entry"] == {"number": 1, "hash": hashlib.sha256(entries[0]).hexdigest()}
        assert told["confirmation"] is None
        text = client.get(f"/v1/models/shop/policies/{told['policy']}").content
        assert hashlib.sha256(text).hexdigest() == told["policy"] == digest(parse(text.decode()))
        assert client.get("/v1/models/shop/policies/none").status_code == 404
        assert client.get("/v1/models/shop/ledger").json()["entries"] == 1


# ---- what is kept of a decision


def test_a_decision_keeps_the_readings_that_tell_something():
    def read(name: str, state: str, *sizes: float) -> dict:
        columns = [
            {"column": str(n), "size": size, "threshold": 0.1, "evidence_ln": -1.0} for n, size in enumerate(sizes)
        ]
        return {"segment": name, "state": state, "columns": columns}

    segments = [
        read("all", "ok", 0.0, 0.0),
        read("a", "ok", 0.0),
        read("b", "watch", 0.0, 0.2, 0.0),
        read("c", "ok"),
        read("d", "blind"),
    ]
    kept = worth_keeping(segments, [{"segment": "c"}, {"segment": None}])
    assert [(each["segment"], [c["column"] for c in each["columns"]]) for each in kept] == [
        ("all", ["0"]),
        ("b", ["0", "1"]),
        ("c", []),
    ]


def test_a_heartbeat_is_kept_without_readings(server, tmp_path):
    days = [0]
    with open_shop(server, tmp_path) as shop:
        house = replace(shop, clock=lambda: NOON + timedelta(days=days[0]))
        evaluate(house)
        for day in range(1, 4):
            days[0] = day
            start = int(house.clock().timestamp()) - 86_400
            ingest(house, predictions(1_440, seed=day, start=start))
            Cycle(house).step(MODEL)
        heartbeat, *_, first = house.ledger.decisions(MODEL)
        assert (heartbeat.action, list(heartbeat.readings)) == ("hold", [])
        assert heartbeat.reasons
        assert first.readings
