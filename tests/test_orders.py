"""Silences and freezes that people order: what they hide, how they end, who may, and what the ledger keeps of it."""

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta

import httpx
import pytest
from houses import HOSTILE, NOON, POLICY, client_of, evaluate, give_baseline, open_shop
from streams import predictions

from policies.file.parse import digest, parse
from service import cli
from service.deciding.cycle import Cycle
from service.house import House
from service.ledger.records import Act, Release
from service.orders import orders
from service.orders.orders import Order, Orders
from service.storage.embedded import Embedded
from service.web.auth import create_key

SAID = {"who": "ann", "why": "the new app rolls out"}
DAY = timedelta(days=1)
WRITTEN = """
silences:
  - {column: debug_*, until: 2027-01-01, reason: noise, who: ops}
  - {segment: group=b, until: 2025-01-01, reason: old, who: ops}
"""
FROZEN = POLICY.replace("retrain: {", 'retrain: {freeze: ["2027-01-01/2027-01-02"], ')


@pytest.fixture
def house(server: Embedded, tmp_path) -> Iterator[House]:
    with open_shop(server, tmp_path) as opened:
        yield opened


@pytest.fixture
def client(house: House) -> Iterator[httpx.Client]:
    with client_of(house) as opened:
        yield opened


def at(house: House, now: datetime) -> House:
    return replace(house, clock=lambda: now)


def order(client: httpx.Client, kind: str, status: int = 201, **what: object) -> dict:
    answer = client.post(f"/v1/models/shop/{kind}", json={**SAID, **what})
    assert answer.status_code == status, answer.text
    return answer.json()


def listed(client: httpx.Client, kind: str) -> list[dict]:
    return client.get(f"/v1/models/shop/{kind}").json()[kind]


def end(client: httpx.Client, kind: str, identity: str, status: int = 200) -> dict:
    answer = client.delete(f"/v1/models/shop/{kind}/{identity}", params={"who": "ben", "why": "it is done"})
    assert answer.status_code == status, answer.text
    return answer.json()


def met(house: House) -> dict[str, str]:
    return {r["code"]: r["text"] for r in house.ledger.evaluation("shop").reasons if r["met"]}


def test_a_silence_hides_a_fault_from_the_next_evaluation_on_and_says_whose_it_is(house, client):
    evaluate(house, predictions(2_800, seed=1, missing=0.4))
    assert house.ledger.evaluation("shop").faults
    given = order(client, "silences", column="x1", **{"for": "2d"})
    assert given["covers"]["columns"] == 1
    # Nothing else is new: the order alone is news.
    Cycle(house).step("shop")
    hushed = house.ledger.evaluation("shop")
    assert hushed.faults == ()
    assert "silenced by ann until" in met(house)["silenced"]
    assert hushed.segments[0]["state"] != "ok"
    assert house.ledger.decisions("shop")[0].policy == digest(parse(POLICY))
    end(client, "silences", given["id"])
    Cycle(house).step("shop")
    assert house.ledger.evaluation("shop").faults


def test_a_silence_expires_by_itself_and_stays_in_the_list(house, client):
    evaluate(house, predictions(2_800, seed=1, missing=0.4))
    order(client, "silences", column="x1", **{"for": "3h"})
    Cycle(house).step("shop")
    assert house.ledger.evaluation("shop").faults == ()
    later = at(house, NOON + timedelta(hours=3))
    Cycle(later).step("shop")
    assert house.ledger.evaluation("shop").faults
    with client_of(later) as later_client:
        assert [(each["state"], each["who"]) for each in listed(later_client, "silences")] == [("expired", "ann")]


def test_a_freeze_holds_back_a_persons_wish_and_ends_early_or_by_itself(house, client):
    evaluate(house)
    client.post("/v1/models/shop/retrain", json=SAID)
    first = order(client, "freezes", until="2026-01-05")
    Cycle(house).step("shop")
    assert met(house)["frozen"] == "frozen by ann until 2026-01-05T00:00:00+00:00: the new app rolls out"
    assert house.ledger.evaluation("shop").action == "watch"
    ended = end(client, "freezes", first["id"])
    assert (ended["ended_by"], ended["ended_why"]) == ("ben", "it is done")
    assert [each["state"] for each in listed(client, "freezes")] == ["ended"]
    order(client, "freezes", **{"from": "2026-01-04", "for": "1d"})
    assert [each["state"] for each in listed(client, "freezes")] == ["planned", "ended"]
    Cycle(at(house, NOON + timedelta(minutes=1))).step("shop")
    assert house.ledger.evaluation("shop").action == "retrain"


def test_the_lists_hold_what_the_file_says_too_with_its_origin(server: Embedded, tmp_path):
    with open_shop(server, tmp_path, FROZEN + WRITTEN) as house, client_of(house) as client:
        order(client, "silences", segment="group=a", **{"for": "1d"})
        silences = listed(client, "silences")
        assert [(each["origin"], each["state"], each["who"]) for each in silences] == [
            ("policy", "active", "ops"),
            ("order", "active", "ann"),
            ("policy", "expired", "ops"),
        ]
        assert (silences[0]["id"], silences[0]["column"]) == (None, "debug_*")
        (freeze,) = listed(client, "freezes")
        assert (freeze["state"], freeze["since"]) == ("planned", "2027-01-01T00:00:00Z")
        assert 'tidegate_silences{model="shop"} 2.0' in client.get("/metrics").text
        page = client.get("/").text
        assert "Silences and freezes" in page
        assert "planned freeze from" in page


@pytest.mark.parametrize(
    ("kind", "body", "says"),
    [
        ("silences", {"for": "2d"}, "names a `segment`, a `column` or both"),
        ("silences", {"column": "x1"}, "say how long"),
        ("silences", {"column": "x1", "for": "2d", "until": "2026-02-01"}, "not both"),
        ("silences", {"column": "x1", "for": "two days"}, "cannot be read"),
        ("silences", {"column": "x1", "for": "0"}, "before it begins"),
        ("silences", {"column": "x1", "until": "2025-01-01"}, "before it begins"),
        ("silences", {"column": "x1", "until": "0001-01-01T00:00:00+23:00"}, "cannot be read"),
        ("silences", {"column": "", "for": "2d"}, "`column` must be"),
        ("silences", {"segment": "s" * 501, "for": "2d"}, "`segment` must be"),
        ("silences", {"column": "x1", "for": "2d", "colum": "x1"}, "colum"),
        ("silences", {"column": "x1", "for": "2d", "who": " "}, "`who` must be a text"),
        ("freezes", {}, "say how long"),
        ("freezes", {"from": "soon", "for": "2d"}, "`from` 'soon' cannot be read"),
        ("freezes", {"from": "2025-01-01", "for": "2d"}, "would be over already"),
        ("freezes", {"for": "99999999w"}, "cannot be read"),
    ],
)
def test_an_order_that_cannot_be_meant_is_refused_and_kept_nowhere(client, kind, body, says):
    assert says in order(client, kind, 400, **body)["detail"]
    assert listed(client, kind) == client.get("/v1/models/shop/acts").json()["acts"] == []


def test_only_an_order_that_stands_can_be_ended(house, client):
    assert "has no silence 's-1'" in end(client, "silences", "s-1", 404)["detail"]
    given = order(client, "silences", column="x1", **{"for": "1d"})
    assert "has no freeze" in end(client, "freezes", given["id"], 404)["detail"]
    end(client, "silences", given["id"])
    assert "was ended by ben" in end(client, "silences", given["id"], 409)["detail"]
    assert client.delete(f"/v1/models/shop/silences/{given['id']}").status_code == 422
    short = order(client, "freezes", **{"for": "1d"})
    with client_of(at(house, NOON + DAY)) as later:
        assert "expired" in end(later, "freezes", short["id"], 409)["detail"]
    assert [act["verb"] for act in client.get("/v1/models/shop/acts").json()["acts"]] == [
        "freeze",
        "unsilence",
        "silence",
    ]
    assert client.get("/v1/models/nobody/silences").status_code == 404


def test_every_act_is_in_the_ledger_with_who_when_and_why(house, client):
    for version in ("1", "2"):
        give_baseline(house, version)
    house.ledger.move_champion(Release("shop", "2", "1", NOON, "release", "better"))
    client.post("/v1/models/shop/retrain", json=SAID)
    silence = order(client, "silences", column="x1", segment="all", **{"for": "1d"})
    freeze = order(client, "freezes", **{"for": "1d"})
    end(client, "silences", silence["id"])
    end(client, "freezes", freeze["id"])
    client.post("/v1/models/shop/rollback", json=SAID)
    acts = client.get("/v1/models/shop/acts").json()["acts"]
    assert [act["verb"] for act in acts] == ["rollback", "unfreeze", "unsilence", "freeze", "silence", "retrain"]
    assert {act["who"] for act in acts} == {"ann", "ben"}
    assert all(act["why"] and datetime.fromisoformat(act["at"]) == NOON and act["model"] == "shop" for act in acts)
    assert acts[0]["details"] == {"version": "1", "previous": "2"}
    assert acts[4]["details"] == {
        "id": silence["id"],
        "segment": "all",
        "column": "x1",
        "until": "2026-01-04T12:00:00Z",
    }
    entries = client.get("/v1/models/shop/ledger/entries").text.splitlines()
    assert [json.loads(line)["record"]["verb"] for line in entries] == [act["verb"] for act in reversed(acts)]
    assert client.get("/v1/models/shop/acts?limit=1").json()["acts"] == acts[:1]
    assert house.ledger.acts("shop", 1) == [Act("shop", "rollback", *SAID.values(), NOON, acts[0]["details"])]


def test_orders_are_given_by_who_operates_and_read_by_who_reads(house):
    def bearer(scope: str, models: list[str]) -> dict[str, str]:
        return {"Authorization": f"Bearer {create_key(house.store, scope, [scope], models, NOON)[1]}"}

    reader, operator, other = bearer("read", []), bearer("operate", ["shop"]), bearer("operate", ["boots"])
    with client_of(house) as client:
        for kind, what in (("silences", {"column": "x1"}), ("freezes", {})):
            said = {**SAID, **what, "for": "1d"}
            post = f"/v1/models/shop/{kind}"
            assert [client.post(post, json=said, headers=h).status_code for h in (reader, other)] == [403, 403]
            given = client.post(post, json=said, headers=operator).json()
            assert given["who"] == "ann (access key operate)"
            assert [client.get(post, headers=h).status_code for h in (reader, operator)] == [200, 403]
            ending, by = f"{post}/{given['id']}", {"who": "ben", "why": "done"}
            assert client.delete(ending, params=by, headers=reader).status_code == 403
            assert client.delete(ending, params=by, headers=operator).json()["ended_by"] == "ben (access key operate)"


def test_the_command_line_gives_lists_and_ends_them(house, client, capsys):
    give_baseline(house)
    url = ["--url", str(client.base_url).rstrip("/")]

    def told(*words: str) -> str:
        assert cli.main([*words, *url]) == 0
        return capsys.readouterr().out

    said = ["--who", "ann", "--why", "it rolls out"]
    assert told("silences", "shop") == "there are no silences\n"
    assert told("acts", "shop") == "nobody did anything yet\n"
    assert "no column of the champion's baseline" in told("silence", "shop", "--column", "x9", "--for", "2d", *said)
    given = told("silence", "shop", "--segment", "group=a", "--until", "2026-02-01", *said)
    assert given.endswith("until 2026-02-01T00:00:00Z segment group=a\n")
    identity = given.split()[0]
    frozen = told("freeze", "shop", "--for", "3d", "--from", "2026-01-04", *said).split()[0]
    assert "ann: it rolls out" in told("silences", "shop")
    assert "planned" in told("freezes", "shop")
    assert "is ended" in told("unsilence", "shop", identity, *said)
    assert "is ended" in told("unfreeze", "shop", frozen, *said)
    acts = told("acts", "shop")
    assert [line.split()[1] for line in acts.splitlines()] == ["unfreeze", "unsilence", "freeze", "silence", "silence"]
    assert cli.main(["unsilence", "shop", identity, *said, *url]) == 1
    assert "was ended by ann" in capsys.readouterr().err


def test_what_people_write_is_text_on_the_page(client):
    order(client, "silences", segment=HOSTILE, why=HOSTILE, **{"for": "1d"})
    assert HOSTILE not in client.get("/").text


def test_orders_do_not_fill_the_store(house, monkeypatch):
    monkeypatch.setattr(orders, "MOST_OVER", 2)
    kept = Orders(house.store, "shop")
    for number in range(5):
        since = NOON + number * timedelta(hours=1)
        kept.give(
            Order(f"s-{number}", "silence", "ann", "why", since, since, since + timedelta(minutes=30), column="x")
        )
    assert [each.id for each in kept.all()] == ["s-4", "s-3", "s-2"]
