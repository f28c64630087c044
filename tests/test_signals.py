import json
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from houses import HOSTILE, NOON, POLICY, client_of, evaluate, give_baseline, open_shop, serve
from hypothesis import given
from hypothesis import strategies as st

from service.conventions.alertmanager import read_signals
from service.conventions.signals import MOST, Signal, Signals
from service.conventions.unusable import Unusable
from service.deciding.cycle import Cycle
from service.house import House
from service.ledger.records import Request
from service.storage.embedded import Embedded
from service.storage.store import Store
from service.web.api import create_app
from service.web.auth import create_key

ALERTMANAGER = shutil.which("prometheus-alertmanager") or shutil.which("alertmanager") or ""
HOUR = timedelta(hours=1)
POST = "/v1/signals/alertmanager"


def alert(status: str = "firing", started: datetime = NOON - HOUR, mark: str = "f1", **labels: str) -> dict:
    """As Alertmanager 0.25 sends it: the end of a firing alert lies at year 1."""
    return {
        "status": status,
        "labels": {"alertname": "WarehouseLoadBroken", **labels},
        "annotations": {"summary": "rows of yesterday"},
        "startsAt": f"{started:%Y-%m-%dT%H:%M:%S.123456789Z}",
        "endsAt": f"{NOON:%Y-%m-%dT%H:%M:%SZ}" if status == "resolved" else "0001-01-01T00:00:00Z",
        "generatorURL": "",
        "fingerprint": mark,
    }


def notification(*alerts: dict) -> dict:
    return {
        "version": "4",
        "groupKey": "{}",
        "status": "firing",
        "receiver": "tidegate",
        "truncatedAlerts": 0,
        "alerts": list(alerts),
    }


@pytest.fixture
def house(server: Embedded, tmp_path) -> Iterator[House]:
    with open_shop(server, tmp_path) as opened:
        yield opened


@pytest.fixture
def client(house: House) -> Iterator[httpx.Client]:
    with client_of(house) as opened:
        yield opened


def signals(client: httpx.Client) -> dict:
    return client.get("/v1/models/shop/signals").raise_for_status().json()


# what is kept


def test_an_alert_is_kept_and_listed_until_it_is_resolved(client):
    told = client.post(POST, json=notification(alert(model="shop")))
    assert (told.status_code, told.json()) == (200, {"kept": 1, "of_no_model_here": 0})
    found = signals(client)
    assert [(each["signal"]["name"], each["is_firing"]) for each in found["signals"]] == [("WarehouseLoadBroken", True)]
    assert found["holds"] is None
    client.post(POST, json=notification(alert("resolved", model="shop")))
    assert [each["is_firing"] for each in signals(client)["signals"]] == [False]


def test_an_alert_without_a_model_is_about_all_and_one_of_a_strange_model_is_not_kept(client):
    told = client.post(POST, json=notification(alert(), alert(mark="f2", model="nobody"))).json()
    assert told == {"kept": 1, "of_no_model_here": 1}
    assert len(signals(client)["signals"]) == 1


def test_a_signal_that_asks_to_hold_says_so(client):
    client.post(POST, json=notification(alert(model="shop", tidegate="hold")))
    assert signals(client)["holds"].startswith("the alert WarehouseLoadBroken has been firing since")
    assert "rows of yesterday" in signals(client)["holds"]


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{}", b'{"version": "3", "alerts": []}', b'{"version": "4", "alerts": [1]}'], ids=str
)
def test_what_is_no_notification_is_refused(client, body):
    answer = client.post(POST, content=body, headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.json()["type"]) == (400, "/problems#bad-request")


@given(st.binary(max_size=300))
def test_no_body_whatever_breaks_the_reading(body):
    with pytest.raises(Unusable):
        read_signals(body, NOON)


def test_a_key_for_one_model_speaks_for_that_one_only(house):
    _, token = create_key(house.store, "alerts", ["operate"], ["shop"], NOON)
    with client_of(house) as client:
        assert client.post(POST, json=notification(alert())).status_code == 401
        headers = {"Authorization": f"Bearer {token}"}
        told = client.post(POST, json=notification(alert(), alert(mark="f2", model="shop")), headers=headers).json()
    assert told == {"kept": 1, "of_no_model_here": 1}


# how long


def kept(store: Store, *told: Signal, now: datetime = NOON) -> Signals:
    found = Signals(store, 12 * HOUR, lambda: now)
    found.keep(told)
    return found


def signal(mark: str = "f1", told: datetime = NOON, started: datetime = NOON - HOUR, **more) -> Signal:
    return Signal(mark, "Broken", "shop", "", started, told, asks_to_hold=True, **more)


def test_a_signal_whose_end_was_lost_is_over_after_its_life(store):
    assert kept(store, signal()).hold("shop")
    assert kept(store, now=NOON + 12 * HOUR - timedelta(seconds=1)).hold("shop")
    assert kept(store, now=NOON + 12 * HOUR).hold("shop") is None
    kept(store, signal(told=NOON + 11 * HOUR))
    assert kept(store, now=NOON + 22 * HOUR).hold("shop")


def test_a_signal_ends_when_it_said_it_would(store):
    kept(store, signal(ended_at=NOON + HOUR))
    assert kept(store, now=NOON + timedelta(minutes=59)).hold("shop")
    assert kept(store, now=NOON + HOUR).hold("shop") is None


def test_news_of_an_earlier_firing_do_not_end_a_later_one(store):
    found = kept(store, signal(started=NOON), signal(started=NOON - HOUR, is_resolved=True))
    assert found.hold("shop")


def test_never_more_than_so_many_are_kept_and_firing_ones_stay(store):
    found = kept(store, signal("hold", told=NOON - HOUR))
    found.keep([signal(f"over-{n}", is_resolved=True) for n in range(MOST + 50)])
    assert len(found.of("shop")) == MOST
    assert found.hold("shop")


def test_what_is_long_over_is_dropped(store):
    found = kept(store, signal(is_resolved=True))
    assert len(found.of("shop")) == 1
    assert len(kept(store, signal("f2", told=NOON + 13 * HOUR), now=NOON + 13 * HOUR).of("shop")) == 1


# what it does


def test_a_decision_is_frozen_by_a_signal_and_names_it(house, client):
    evaluate(house)
    assert reason_of(house, "frozen")["met"] is False
    client.post(POST, json=notification(alert(model="shop", tidegate="hold")))
    # Nothing else is new: the signal alone causes an evaluation, and so does its end.
    Cycle(house).step("shop")
    told = reason_of(house, "frozen")
    assert told["met"]
    assert "WarehouseLoadBroken" in told["text"]
    client.post(POST, json=notification(alert("resolved", model="shop", tidegate="hold")))
    Cycle(house).step("shop")
    assert reason_of(house, "frozen")["met"] is False


def reason_of(house: House, code: str) -> dict:
    return next(each for each in house.ledger.evaluation("shop").reasons if each["code"] == code)


def test_the_console_and_the_metrics_show_it(house, client):
    give_baseline(house)
    client.post(POST, json=notification(alert(model="shop", tidegate="hold") | {"annotations": {"summary": HOSTILE}}))
    page = client.get("/").text
    assert "WarehouseLoadBroken" in page
    assert "Nothing is retrained while it lasts." in page
    assert HOSTILE not in page
    assert 'tidegate_signals{model="shop"} 1.0' in client.get("/metrics").text


# a real Alertmanager


@contextmanager
def alertmanager(target: str, folder: Path) -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    config = {
        "route": {"receiver": "tidegate", "group_wait": "0s", "group_interval": "1s", "repeat_interval": "1h"},
        "receivers": [{"name": "tidegate", "webhook_configs": [{"url": f"{target}{POST}", "send_resolved": True}]}],
    }
    (folder / "alertmanager.yml").write_text(json.dumps(config))
    command = [ALERTMANAGER, f"--config.file={folder}/alertmanager.yml", f"--storage.path={folder}/data"]
    with (folder / "log").open("wb") as log:
        child = subprocess.Popen(
            [*command, f"--web.listen-address=127.0.0.1:{port}", "--cluster.listen-address="], stdout=log, stderr=log
        )
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        child.terminate()
        child.wait(timeout=10)


def tell(address: str, ends: timedelta) -> None:
    now = datetime.now(UTC)
    told = [
        {
            "labels": {"alertname": "WarehouseLoadBroken", "model": "shop", "tidegate": "hold"},
            "annotations": {"summary": "rows of yesterday"},
            "startsAt": f"{now - HOUR:%Y-%m-%dT%H:%M:%SZ}",
            "endsAt": f"{now + ends:%Y-%m-%dT%H:%M:%SZ}",
        }
    ]
    for _ in range(300):
        try:
            httpx.post(f"{address}/api/v2/alerts", json=told).raise_for_status()
        except httpx.TransportError:
            time.sleep(0.1)  # it is still starting
        else:
            return
    pytest.fail("Alertmanager did not start")


def wait_for(claim, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not claim():
        assert time.monotonic() < end, "Alertmanager told nothing"
        time.sleep(0.1)  # its next notification is what is waited for


@pytest.mark.skipif(
    not ALERTMANAGER, reason="Alertmanager is not installed (Debian: apt-get install prometheus-alertmanager)"
)
def test_an_alert_of_a_real_alertmanager_holds_a_retraining_until_it_is_resolved(server, tmp_path):
    with open_shop(server, tmp_path, POLICY) as opened:
        house = replace(opened, clock=lambda: datetime.now(UTC))
        give_baseline(house)
        with serve(create_app(house)) as (host, port), alertmanager(f"http://{host}:{port}", tmp_path) as address:
            held = Signals(house.store, house.settings.signal_life, house.clock)
            tell(address, HOUR)
            wait_for(lambda: held.hold("shop"))
            assert wishes(house) == ("watch", True)
            tell(address, -timedelta(seconds=1))
            wait_for(lambda: held.hold("shop") is None)
            assert wishes(house) == ("retrain", False)


def wishes(house: House) -> tuple[str, bool]:
    """What is decided on a person's wish to retrain, and whether it is frozen: a person overrules all but this."""
    house.ledger.put_request("shop", Request("retrain", "ann", "now", house.clock()))
    decision = Cycle(house).step("shop")
    assert decision is not None
    frozen = next(each for each in decision.reasons if each["code"] == "frozen")
    return decision.action, frozen["met"]
