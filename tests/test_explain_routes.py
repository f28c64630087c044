import json
import re
from collections.abc import Iterator
from datetime import timedelta

import httpx
import pytest
from houses import NOON, POLICY, client_of, evaluate, give_baseline, ingest, open_shop
from streams import START, predictions
from test_pages import Page, flat

from service.cli import main
from service.deciding.cycle import Cycle
from service.house import House
from service.ledger.records import Request, Retraining
from service.storage.embedded import Embedded
from service.web.auth import create_key

EXPLAIN = "/v1/models/shop/explain"
SHADOW = POLICY + "shadow: true\npersist: 1\n"


@pytest.fixture
def house(server: Embedded, tmp_path) -> Iterator[House]:
    with open_shop(server, tmp_path, POLICY.replace("retrain: {", "retrain: {cooldown: 3d, ")) as opened:
        yield opened


@pytest.fixture
def client(house: House) -> Iterator[httpx.Client]:
    with client_of(house) as opened:
        yield opened


def worse(house: House) -> None:
    """Two days in which the model is wrong more often, evaluated once."""
    evaluate(house, predictions(2_800, seed=1, error=0.3))


def everything(house: House) -> dict[bytes, object]:
    """All that is in the store."""
    kinds = {
        "string": ("GET",),
        "hash": ("HGETALL",),
        "list": ("LRANGE", 0, -1),
        "zset": ("ZRANGE", 0, -1),
        "set": ("SMEMBERS",),
    }
    found = {}
    for key in house.store.do("KEYS", "*"):
        kind = house.store.do("TYPE", key).decode()
        if kind in kinds:
            verb, *rest = kinds[kind]
            found[key] = house.store.do(verb, key, *rest)
    return found


def test_it_says_what_is_missing_and_how_far_each_condition_is(house, client):
    worse(house)
    found = client.get(EXPLAIN).json()
    assert found["action"] == "watch"
    assert found["summary"] == "nearest to a retraining: performance in all; missing: 1 of 2 evaluations in a row"
    nearest = {part["text"]: part["fulfilled"] for part in found["nearest"]["conditions"]}
    assert nearest["1 of 2 evaluations in a row"] is False
    assert nearest["2,800 of 500 labelled rows since the change"] is True
    assert {prospect["trigger"] for prospect in found["prospects"]} == {"performance", "drift+estimated_drop", "twin"}
    assert [hold["code"] for hold in found["holds"]][-1] == "awaiting_approval"


def test_it_is_what_the_next_evaluation_decides(house, client):
    worse(house)
    ingest(house, predictions(60, seed=2, error=0.3, start=START + 170_000))
    told = client.get(EXPLAIN).json()
    assert (told["action"], told["missing"]) == ("retrain", [])
    assert "nothing is missing" in told["summary"]
    decided = Cycle(house).step("shop")
    assert decided is not None
    assert decided.action == "retrain"


def test_asking_changes_nothing(house, client):
    worse(house)
    ingest(house, predictions(60, seed=2, error=0.3, start=START + 170_000))
    before = everything(house)
    for query in ("", "?segment=intent%3Dreturns", "?segment=nowhere"):
        client.get(EXPLAIN + query)
    client.get("/models/shop/explain")
    after = everything(house)
    assert {key for key in after if after[key] != before.get(key)} <= {key for key in after if b"roster" in key}
    assert set(before) == set(after)


def test_a_segment_far_from_firing_is_answered_too(house, client):
    evaluate(house)
    found = client.get(EXPLAIN, params={"segment": "intent=fit"}).json()
    assert {prospect["segment"] for prospect in found["prospects"]} == {"intent=fit"}
    assert (found["action"], found["segment"]) == ("hold", "intent=fit")
    told = [part["text"] for prospect in found["prospects"] for part in prospect["conditions"] if not part["fulfilled"]]
    assert any(re.fullmatch(r"evidence \(ln e\) .* of 12.4", text) for text in told)
    assert set(found["missing"]) <= set(told)


def test_an_unknown_segment_names_those_that_are_near(house, client):
    evaluate(house)
    refused = client.get(EXPLAIN, params={"segment": "intent=return"})
    assert refused.status_code == 404
    assert "did you mean intent=returns" in refused.json()["detail"]


def test_a_cooldown_is_told_with_the_moment_of_its_end(house, client):
    worse(house)
    ended = NOON - timedelta(hours=20)
    done = Retraining("r-1", "shop", "d-0", "0", "released", ended, (), (), finished_at=ended)
    house.ledger.open_retraining(done)
    ingest(house, predictions(60, seed=2, error=0.3, start=START + 170_000))
    assert client.get(EXPLAIN).json()["missing"] == ["cooling down until 2026-01-05 16:00 UTC"]


def test_a_model_without_a_baseline_is_blind_and_says_what_to_do(client):
    found = client.get(EXPLAIN).json()
    assert "tidegate baseline build FILE --model shop" in found["blind"]
    assert found["missing"] == [found["blind"]]
    assert found["prospects"] == []


def test_a_model_without_a_policy_says_so(server: Embedded, tmp_path):
    with open_shop(server, tmp_path) as house:
        give_baseline(house)
        (tmp_path / "policies.d" / "shop.yaml").unlink()
        house.policies.reload()
        with client_of(house) as client:
            refused = client.get(EXPLAIN)
    assert refused.status_code == 404
    assert "model shop has no policy, so nothing is decided" in refused.json()["detail"]


def test_a_request_of_a_person_is_all_it_takes(house, client):
    evaluate(house)
    house.ledger.put_request("shop", Request("retrain", "ana", "new intents", NOON))
    found = client.get(EXPLAIN).json()
    assert found["summary"] == "nothing is missing: ana asked for a retraining: new intents"


def test_only_callers_that_may_see_the_model_are_told(house, client):
    _, other = create_key(house.store, "other", ["read"], ["another"], NOON)
    refused = client.get(EXPLAIN, headers={"Authorization": f"Bearer {other}"})
    assert refused.status_code == 403
    assert client.get("/models/shop/explain", headers={"Authorization": f"Bearer {other}"}).status_code == 403


# ---- a shadow's own


def test_a_shadow_is_explained_by_its_own_policy_and_runs(house, client, tmp_path):
    (tmp_path / "policies.d" / "eager.yaml").write_text(SHADOW)
    house.policies.reload()
    worse(house)
    own = client.get(EXPLAIN, params={"policy": "eager"}).json()
    assert own["shadow"] == "eager"
    assert own["policy"] != client.get(EXPLAIN).json()["policy"]
    assert own["missing"][0].startswith("retraining eager@2026-01-03T12:00 is running")


def test_an_unknown_shadow_names_those_there_are(house, client, tmp_path):
    (tmp_path / "policies.d" / "eager.yaml").write_text(SHADOW)
    house.policies.reload()
    give_baseline(house)
    refused = client.get(EXPLAIN, params={"policy": "eagle"})
    assert refused.status_code == 404
    assert "there are: eager" in refused.json()["detail"]


# ---- for people


def test_the_page_is_one_click_from_the_model_and_from_each_segment(house, client):
    worse(house)
    links = [attributes.get("href") for tag, attributes in Page(client.get("/").text).elements if tag == "a"]
    asked = [link for link in links if link and "/explain" in link]
    assert {"/models/shop/explain", "/models/shop/explain?segment=intent%3Dreturns"} <= set(asked)
    for link in asked:
        answer = client.get(link)
        assert answer.status_code == 200
        text = flat(Page(answer.text))
        assert "nearest to a retraining" in text
        assert "Reasons to wait" in text


def test_the_page_of_a_blind_model_says_what_to_do(client):
    text = flat(Page(client.get("/models/shop/explain").text))
    assert "blind, so nothing is decided" in text


def typed(client: httpx.Client, capsys, *words: str) -> tuple[int, str]:
    code = main(["policy", "explain", "shop", "--url", str(client.base_url), *words])
    told = capsys.readouterr()
    return code, told.out + told.err


def test_the_command_ends_with_one_line_and_stays_within_its_width(house, client, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "90")
    worse(house)
    code, told = typed(client, capsys)
    assert code == 0
    assert told.startswith("shop 1: watch at 2026-01-03 12:00 UTC\n")
    assert "performance in all (watch)\n  [x] drop of accuracy" in told
    assert "  [ ] 1 of 2 evaluations in a row\n" in told
    assert told.endswith("nearest to a retraining: performance in all; missing: 1 of 2 evaluations in a row\n")
    assert max(map(len, told.splitlines())) <= 90
    assert told.isascii()


def test_the_command_gives_the_answer_as_it_came_too(house, client, capsys):
    evaluate(house)
    code, told = typed(client, capsys, "--segment", "intent=fit", "--json")
    assert code == 0
    assert json.loads(told) == client.get(EXPLAIN, params={"segment": "intent=fit"}).json()


def test_the_command_fails_for_an_unknown_segment(house, client, capsys):
    evaluate(house)
    assert typed(client, capsys, "--segment", "intent=fitt") == (
        1,
        "tidegate: there is no segment 'intent=fitt'; did you mean intent=fit or intent=other or intent=returns?\n",
    )
