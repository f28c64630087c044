import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import httpx
import msgspec
import pytest
from houses import NOON, client_of, evaluate, give_baseline, ingest, open_shop
from streams import START, predictions
from test_pages import Page, flat

from service.cli import main
from service.deciding.cycle import Cycle
from service.deciding.loop import Loop
from service.house import House
from service.ledger.records import Release
from service.notices.announcing import announce
from service.shadows.ledger import Ask, Shadow, ShadowLedger
from service.shadows.shadows import carried
from service.storage.embedded import Embedded
from service.training.registry import Registry

EAGER = """
model: shop
shadow: true
task: {kind: classification, target: intent}
performance: {max_drop: 0.001}
persist: 1
retrain: {when: [performance], requires: {labelled_rows: 0}, cooldown: 0s, budget: {count: 2, per: 30d}}
"""
CALM = EAGER.replace("0.001", "0.9")
SHADOWS = {
    "eager": EAGER,
    "calm": CALM,
    "other task": "model: shop\nshadow: true\ntask: {kind: regression}\n",
    "other readings": EAGER + "drift: {statistic: wasserstein, threshold: 0.001}\n",
    "approval": EAGER.replace("cooldown: 0s", "approval: required"),
    "silenced": EAGER + 'silences: [{segment: "*", until: 2027-01-01, reason: quiet, who: ana}]\n',
}
HOUR = timedelta(hours=1)


def write(house: House, **shadows: str) -> None:
    """Put shadow policies into the folder, each under its name."""
    for name, text in shadows.items():
        (house.settings.policies / f"{name}.yaml").write_text(text)
    house.policies.reload()


def shadow_of(house: House, name: str = "eager") -> Shadow:
    return ShadowLedger(house.store).shadows("shop")[name]


def wrong(house: House, error: float = 0.3) -> None:
    """Two days of rows, evaluated once."""
    evaluate(house, predictions(2_800, seed=1, error=error))


def go_on(house: House, seed: int, *, hours: int = 1, error: float = 0.3) -> None:
    """Sixty rows of an hour after noon, evaluated when it is over."""
    ingest(house, predictions(60, seed=seed, error=error, start=START + (59 + hours) * 3600))
    Cycle(replace(house, clock=lambda: NOON + hours * HOUR)).step("shop")


@pytest.fixture
def house(server: Embedded, tmp_path) -> Iterator[House]:
    with open_shop(server, tmp_path) as opened:
        yield opened


@pytest.fixture
def client(house: House) -> Iterator[httpx.Client]:
    with client_of(house) as opened:
        yield opened


# ---- a shadow only speaks


def story(server: Embedded, folder: Path, **shadows: str) -> dict[str, object]:
    """What a loss of quality leaves behind, but for what shadows said: everything stored of the model, every metric."""
    folder.mkdir()
    with open_shop(server, folder, slack_url="http://127.0.0.1:9/") as house:
        write(house, **shadows)
        give_baseline(house)
        for seed, rows, start in ((1, 2_800, START), (2, 60, START + 170_000)):
            ingest(house, predictions(rows, seed=seed, error=0.3, start=start))
            turn = Loop(house, Registry(folder), makes_reports=False).decide("shop")
            announce(house, "shop")
        assert turn.opened is not None
        stored = {key.decode(): house.store.do("DUMP", key) for key in house.store.do("KEYS", "*")}
        # Whichever partition a batch fell into is chance, and so is how long an evaluation took.
        kept = {key: value for key, value in stored.items() if not re.match(r"tg:\{(p\d|labels)\}", key)}
        kept = {key: value for key, value in kept.items() if ":shadow" not in key and not key.endswith(":evaluation")}
        evaluation = msgspec.to_builtins(replace(house.ledger.evaluation("shop"), seconds=0.0))
        with client_of(house) as client:
            lines = client.get("/metrics").text.splitlines()
        return kept | {"evaluation": evaluation, "metrics": [line for line in lines if "shadow" not in line]}


@pytest.fixture(scope="module")
def alone(server: Embedded, tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    return story(server, tmp_path_factory.mktemp("alone") / "house")


@pytest.mark.parametrize("name", SHADOWS)
def test_nothing_of_the_policy_in_force_changes_whatever_a_shadow_says(server, tmp_path, alone, name):
    beside = story(server, tmp_path / "house", **{name: SHADOWS[name]})
    assert "tg:{m:shop}:retrainings" in beside
    assert beside == alone


def test_a_retraining_of_a_shadow_opens_nothing(house):
    write(house, eager=EAGER)
    give_baseline(house)
    ingest(house, predictions(2_800, seed=1, error=0.3))
    turn = Loop(house, Registry(house.settings.data_dir), makes_reports=False).decide("shop")
    assert [ask.segments[0] for ask in shadow_of(house).asks] == ["all"]
    assert turn.opened is None
    assert house.ledger.retrainings("shop") == []


def test_a_shadow_with_an_error_hurts_neither_the_policy_in_force_nor_another_shadow(house, caplog):
    write(house, broken=SHADOWS["other task"], eager=EAGER)
    wrong(house)
    assert house.ledger.evaluation("shop").action == "watch"
    assert shadow_of(house).action == "retrain"
    assert "make them the same" in shadow_of(house, "broken").problem
    told = len(caplog.records)
    go_on(house, 2)
    assert not [r for r in caplog.records[told:] if "broken" in r.getMessage()], "the same problem is told once"


def test_a_store_that_refuses_a_shadows_document_stops_nothing(house):
    write(house, eager=EAGER)
    house.store.do("SET", "tg:{m:shop}:shadows", "of another kind")
    wrong(house)
    assert house.ledger.evaluation("shop").action == "watch"


# ---- what it would have done


def test_one_change_is_one_would_be_retraining(house):
    write(house, eager=EAGER)
    wrong(house)
    for seed in (2, 3):
        go_on(house, seed, hours=seed - 1)
    shadow = shadow_of(house)
    assert len(shadow.asks) == 1
    assert (shadow.asks[0].opened_at, shadow.asks[0].ended_at) == (NOON, None)
    assert shadow.action == "watch"
    assert shadow.missing[0] == "retraining eager@2026-01-03T12:00 is running"


def test_another_champion_ends_the_change_and_the_shadow_may_ask_again(house):
    write(house, eager=EAGER)
    wrong(house)
    give_baseline(house, "2")
    house.ledger.move_champion(Release("shop", "2", "1", NOON, "release", "better"))
    rows = predictions(2_800, seed=5, error=0.3)
    versions = rows.set_column(rows.column_names.index("model_version"), "model_version", [["2"] * rows.num_rows])
    ingest(house, versions)
    Cycle(replace(house, clock=lambda: NOON + HOUR)).step("shop")
    first, second = shadow_of(house).asks
    assert (first.champion, first.ended_at) == ("1", NOON + HOUR)
    assert (second.champion, second.ended_at) == ("2", None)


def test_a_change_that_went_away_ends_and_the_shadow_may_ask_again(house):
    write(house, eager=EAGER)
    wrong(house)
    write(house, eager=CALM)
    go_on(house, 2)
    assert shadow_of(house).asks[0].ended_at == NOON + HOUR
    write(house, eager=EAGER)
    go_on(house, 3, hours=2)
    assert len(shadow_of(house).asks) == 2


def test_would_be_retrainings_spend_the_shadows_own_budget(house):
    write(house, eager=EAGER)
    ended = tuple(Ask(f"eager@{n}", "1", NOON - n * HOUR, (), ("all",), NOON - n * HOUR) for n in (3, 2))
    give_baseline(house)
    ShadowLedger(house.store).record("shop", Shadow("eager", version="1", asks=ended), None, counted=False)
    wrong(house)
    assert shadow_of(house).action == "watch"
    assert shadow_of(house).missing == ("budget spent until 2026-02-02 09:00 UTC",)


def test_an_approval_is_taken_as_given_and_a_persons_request_as_not_made(house, client):
    write(house, approval=SHADOWS["approval"], calm=CALM)
    give_baseline(house)
    client.post("/v1/models/shop/retrain", json={"who": "ana", "why": "new intents"})
    wrong(house)
    assert house.ledger.evaluation("shop").action == "retrain"
    assert shadow_of(house, "approval").action == "retrain"
    assert shadow_of(house, "calm").action != "retrain"


def test_another_version_takes_runs_with_it_and_no_would_be_retraining():
    open_ask = Ask("eager@1", "1", NOON, (), ("all",))
    after = carried(Shadow("eager", version="1", runs={"performance:all": 2}, asks=(open_ask,)), "2", NOON + HOUR)
    assert (after.version, after.runs, after.asks) == ("2", {}, (replace(open_ask, ended_at=NOON + HOUR),))
    assert carried(after, "2", NOON) is after


# ---- what is kept


def test_only_changes_and_a_heartbeat_are_kept(house):
    write(house, calm=CALM)
    wrong(house, error=0.1)
    for seed in (2, 3, 4):
        go_on(house, seed, hours=seed - 1, error=0.1)
    kept = ShadowLedger(house.store).decisions("shop", "calm")
    assert 1 <= len(kept) < 4
    assert ShadowLedger(house.store).counts("shop") == {("calm", kept[0].action): 4}
    go_on(house, 5, hours=30, error=0.1)
    assert ShadowLedger(house.store).decisions("shop", "calm")[0].at == NOON + 30 * HOUR


def test_no_more_shadows_than_allowed_are_evaluated(server: Embedded, tmp_path):
    with open_shop(server, tmp_path, max_shadows=1) as house:
        write(house, calm=CALM, eager=EAGER)
        wrong(house)
        assert shadow_of(house, "calm").at == NOON
        assert "TIDEGATE_MAX_SHADOWS" in shadow_of(house, "eager").problem
        with client_of(house) as client:
            series = [line for line in client.get("/metrics").text.splitlines() if line.startswith("tidegate_shadow")]
    assert len(series) == 3
    assert all('shadow="calm"' in line for line in series)


# ---- side by side


def test_both_sides_are_told_with_where_they_parted_and_why(house, client):
    write(house, eager=EAGER, calm=CALM)
    wrong(house)
    told = client.get("/v1/models/shop/shadows").json()
    calm, eager = told["shadows"]
    assert (told["in_force"]["action"], eager["action"]) == ("watch", "retrain")
    assert (calm["retrainings"], [each["segments"][0] for each in eager["retrainings"]]) == ([], ["all"])
    parted = eager["differences"][0]
    assert parted["in_force"]["missing"] == ["1 of 2 evaluations in a row"]
    assert (parted["shadow"]["action"], parted["shadow"]["missing"]) == ("retrain", [])
    assert eager["decisions"] == {"hold": 0, "watch": 0, "retrain": 1}
    kept = client.get("/v1/models/shop/shadows/eager/decisions").json()["decisions"]
    assert [(each["action"], each["in_force"]["action"]) for each in kept] == [("retrain", "watch")]
    assert "performance_drop" in {reason["code"] for reason in kept[0]["reasons"]}


def test_what_happened_longer_ago_is_left_out(house, client):
    write(house, eager=EAGER)
    old = Ask("eager@1", "1", NOON - 40 * 24 * HOUR, (), ("all",), NOON)
    ShadowLedger(house.store).record("shop", Shadow("eager", asks=(old,)), None, counted=False)
    assert client.get("/v1/models/shop/shadows").json()["shadows"][0]["retrainings"] == []
    assert len(client.get("/v1/models/shop/shadows?days=50").json()["shadows"][0]["retrainings"]) == 1


def test_an_unknown_shadow_names_those_there_are(house, client):
    write(house, eager=EAGER)
    refused = client.get("/v1/models/shop/shadows/eagle/decisions")
    assert refused.status_code == 404
    assert "there are: eager" in refused.json()["detail"]


def typed(client: httpx.Client, capsys, *words: str) -> str:
    assert main(["shadows", "shop", "--url", str(client.base_url), *words]) == 0
    return str(capsys.readouterr().out)


def test_the_command_prints_both_sides(house, client, capsys):
    assert "has no shadow policy" in typed(client, capsys)
    write(house, eager=EAGER, broken=SHADOWS["other task"])
    wrong(house)
    told = typed(client, capsys)
    assert re.search(r"^in force +watch +0 +-$", told, re.MULTILINE)
    assert re.search(r"^eager +retrain +1 +1$", told, re.MULTILINE)
    assert "in force: watch, missing: 1 of 2 evaluations in a row" in told
    assert "broken is not evaluated: its task is regression" in told
    assert '"shadows"' in typed(client, capsys, "--json", "--days", "7")


def test_the_console_shows_the_shadows_of_a_model_that_has_some(house, client):
    wrong(house)
    assert "Shadow policies" not in flat(Page(client.get("/").text))
    write(house, eager=EAGER)
    go_on(house, 2)
    page = Page(client.get("/").text)
    assert "What they would have done since" in flat(page)
    links = [attributes.get("href") for tag, attributes in page.elements if tag == "a"]
    assert "/models/shop/explain?policy=eager" in links
    assert client.get("/models/shop/explain?policy=eager").status_code == 200
