"""The past as it is stored, asked over HTTP and on the command line, and as a file where no service is."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from xml.etree import ElementTree as ET

import httpx
import pytest
from houses import NOON, POLICY, client_of, evaluate, give_baseline, ingest, open_shop
from streams import predictions

from policies.file.parse import parse
from service.backtest import backtesting
from service.backtest.backtesting import past_of
from service.backtest.past_files import BadPastFile, pack, unpack
from service.backtest.picture import draw
from service.cli import main
from service.house import House
from service.storage.embedded import Embedded
from service.web.routes import backtests

HOURLY = POLICY + "evaluate: 2h\n"
EAGER = HOURLY + "performance: {max_drop: 0.01}\npersist: 1\nretrain: {requires: {labelled_rows: 100}}\n"
EAGER = EAGER.replace("retrain: {budget: {count: 2, per: 30d}}\n", "")
SINCE = NOON - timedelta(days=2)


@pytest.fixture(scope="module")
def shop(server: Embedded, tmp_path_factory) -> Iterator[House]:
    """Two days of traffic of which the second went wrong, and one evaluation."""
    with open_shop(server, tmp_path_factory.mktemp("shop"), HOURLY) as house:
        give_baseline(house)
        ingest(house, predictions(1_440, seed=1))
        evaluate(house, predictions(1_400, seed=2, error=0.4, start=int(NOON.timestamp()) - 86_400))
        yield house


@pytest.fixture(scope="module")
def client(shop: House) -> Iterator[httpx.Client]:
    with client_of(shop) as opened:
        yield opened


@pytest.fixture
def files(tmp_path) -> tuple[Path, Path]:
    careful, eager = tmp_path / "careful.yaml", tmp_path / "eager.yaml"
    careful.write_text(HOURLY)
    eager.write_text(EAGER)
    return careful, eager


def asked(client: httpx.Client, **body: str) -> httpx.Response:
    return client.post("/v1/policies/backtest", json={"policy": EAGER, "since": "2d", **body}, timeout=60)


def test_a_policy_is_held_against_the_one_in_force(client):
    found = asked(client).json()
    assert [policy["name"] for policy in found["policies"]] == ["policy", "in force"]
    eager, in_force = found["policies"]
    assert eager["retrainings"][0]["reasons"] == ["performance_drop"]
    assert eager["retrainings"][0]["confirmation"] == "confirmed"
    assert in_force["budget"]["count"] == 2
    assert found["same"] is False
    assert found["pairs"]
    assert any("labels are taken to have come" in note for note in found["notes"])


def test_a_policy_against_itself_is_the_same(client):
    found = asked(client, against=EAGER).json()
    assert found["same"] is True
    assert found["policies"][0]["retrainings"] == found["policies"][1]["retrainings"]


@pytest.mark.parametrize(
    ("body", "status", "told"),
    [
        ({"policy": EAGER.replace("shop", "unknown")}, 404, "there is no model 'unknown'"),
        ({"policy": "model: shop\ntask: {kind: nothing}"}, 422, "policy:2:14"),
        ({"since": "yesterday"}, 400, "a span like 30d"),
        ({"since": "500d"}, 400, "in the last 400 days"),
        ({"label_delay": "soon"}, 400, "label_delay: expected a span"),
        ({"until": "now"}, 400, "unknown field"),
    ],
)
def test_what_cannot_be_asked_is_said(client, body, status, told):
    found = asked(client, **body)
    assert found.status_code == status
    assert told in found.text


def test_a_second_one_at_a_time_is_sent_away(client):
    with backtests._turn():
        found = asked(client)
    assert found.status_code == 503
    assert int(found.headers["Retry-After"]) > 0
    assert asked(client).status_code == 200


def test_a_span_that_is_too_much_says_how_much_is_not(shop, monkeypatch):
    monkeypatch.setattr(backtesting, "MOST_BYTES", 500_000)
    with pytest.raises(backtesting.CannotBacktest, match=r"\d+ days"):
        past_of(shop, "shop", NOON - timedelta(days=300), NOON)


def test_before_the_first_release_there_is_nothing_to_look_at(shop):
    with pytest.raises(backtesting.CannotBacktest, match="it had no champion then"):
        past_of(shop, "shop", NOON - timedelta(days=30), NOON - timedelta(days=20))


def test_the_command_prints_judges_and_draws(client, files, tmp_path, capsys):
    careful, eager = files
    url, picture = str(client.base_url), tmp_path / "out.svg"
    command = ["policy", "backtest", str(eager), "--since", "2d", "--url", url]
    assert main([*command, "--against", str(careful), "--picture", str(picture)]) == 0
    told = capsys.readouterr().out
    assert f"{eager}: " in told
    assert "performance_drop" in told
    assert "note: " in told
    ET.fromstring(picture.read_text())  # noqa: S314  our own picture
    assert main([*command, "--fail-on-difference"]) == 3
    assert "at other times" in capsys.readouterr().err
    assert main([*command, "--most-retrainings", "0", "--json"]) == 3
    assert json.loads(capsys.readouterr().out)["model"] == "shop"
    assert main([*command, "--against", str(eager), "--fail-on-difference", "--most-retrainings", "5"]) == 0


def test_a_file_that_is_no_policy_is_one(tmp_path, capsys):
    bad = tmp_path / "bad.yaml"
    bad.write_text("model: shop\ntask: {kind: classification}\npersist: often\n")
    assert main(["policy", "backtest", str(bad)]) == 1
    assert f"{bad}:3:10" in capsys.readouterr().err


def test_an_exported_past_gives_what_the_service_gave(client, files, tmp_path, capsys):
    _, eager = files
    past = tmp_path / "shop.past"
    assert main(["profiles", "export", "shop", str(past), "--since", "2d", "--url", str(client.base_url)]) == 0
    capsys.readouterr()
    assert main(["policy", "backtest", str(eager), "--profiles", str(past), "--json"]) == 0
    offline, online = json.loads(capsys.readouterr().out), asked(client).json()
    assert offline["policies"][0]["retrainings"] == online["policies"][0]["retrainings"]
    assert [policy["digest"] for policy in offline["policies"]] == [policy["digest"] for policy in online["policies"]]


def test_a_past_survives_its_file(shop):
    past = past_of(shop, "shop", SINCE, NOON)
    read, policy = unpack(pack(past, POLICY))
    assert policy == POLICY
    assert pack(read, policy) == pack(past, POLICY)
    assert read.reigns[0].baseline.fingerprint == past.reigns[0].baseline.fingerprint


def test_a_file_of_something_else_is_refused(shop):
    whole = pack(past_of(shop, "shop", SINCE, NOON), "")
    for bad in (b"", b"PK\x03\x04", whole[:200], whole[:-40]):
        with pytest.raises(BadPastFile):
            unpack(bad)


def test_the_picture_tells_in_words_and_runs_nothing(shop):
    hostile = '<script>alert(1)</script>"'
    policy = parse(EAGER)
    past = past_of(shop, "shop", SINCE, NOON)
    found = backtesting.told(past, [(hostile, policy), ("other", policy)], backtesting.Assumed())
    text = draw(found)
    root = ET.fromstring(text)  # noqa: S314  our own picture
    assert "<script" not in text
    assert "href" not in text
    assert "prefers-color-scheme: dark" in text
    titles = [each.text for each in root.iter("{http://www.w3.org/2000/svg}title")]
    assert any("performance_drop" in title for title in titles)
    assert len([each for each in titles if each.startswith("version ")]) == len(found["versions"])


def test_days_that_were_added_up_are_known_once_they_are_over():
    day, hour = 86_400, 3_600
    now = 40 * day
    profiles = {0: "first day", day: "second day", 2 * day: "an hour", 2 * day + hour: "the next"}
    days = backtesting._days(profiles, hour, now)
    assert days == {0, day}
    moved = backtesting._at_their_ends(profiles, days, hour)
    assert sorted(moved) == [day - hour, 2 * day - hour, 2 * day, 2 * day + hour]


def test_kept_decisions_tell_of_twins():
    class Kept:
        version, at = "7", datetime(2026, 1, 1, tzinfo=UTC)
        reasons = (
            {"code": "evidence_below_threshold", "observed": 1.0},
            {"code": "twin_better", "observed": -30.0},
            {"code": "evidence_below_threshold", "observed": 4.5},
            {"code": "not_persistent", "observed": 3},
            {"code": "insufficient_labels", "observed": 1500},
            {"code": "in_flight", "observed": 0.0},
        )

    [(at, twin)] = backtesting._twin_tests([Kept()], timedelta(hours=1))["7"]
    assert at == Kept.at - timedelta(hours=2)  # it had lasted for three evaluations
    assert (twin.wins, twin.losses, twin.evidence_ln, twin.labelled) == (0, 30, 4.5, 1500)


def test_a_champion_without_profiles_is_no_empty_backtest(server, tmp_path):
    with open_shop(server, tmp_path) as house:
        give_baseline(house)
        with pytest.raises(backtesting.CannotBacktest, match="its profiles are not stored"):
            past_of(house, "shop", SINCE, NOON)
