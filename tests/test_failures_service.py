"""Failure categories in a running house: found, kept, said, proved fixed, carried into a retraining, and shown."""

from contextlib import redirect_stdout
from dataclasses import replace
from datetime import timedelta
from io import StringIO

import httpx
import numpy as np
import pyarrow as pa
import pytest
from houses import HOSTILE, NOON, POLICY, client_of, give_baseline, ingest, open_shop
from streams import START, predictions

from policies.failures import Tally
from service.cli import main
from service.deciding.loop import Loop
from service.failures.book import Book
from service.failures.carrying import errors_by_category, failures_to_mend, write_failures
from service.failures.looking import look_if_due
from service.failures.proving import followed, state_of
from service.failures.records import Known, Said
from service.failures.saying import BadWord, say
from service.failures.view import categories_of
from service.jobs import Jobs
from service.ledger.records import Release, Retraining
from service.training.references import baseline_of, keep_baseline
from service.training.registry import Registry
from service.web.observe import snapshot

WEB_IS_WRONG = "in channel=web"


def shop_rows(rows: int, *, seed: int, start: int = START, web: float = 0.5, version: str = "1") -> pa.Table:
    """Rows of the shop of which the channel `web` is wrong so often, all others one in twenty."""
    table = predictions(rows, seed=seed, start=start, error=0.0)
    rng = np.random.default_rng(seed)
    is_web = np.array(table.column("feature_channel").to_pylist()) == "web"
    wrong = rng.random(rows) < np.where(is_web, web, 0.05)
    said = np.array(table.column("prediction").to_pylist())
    labels = np.where(wrong, np.where(said == "fit", "returns", "fit"), said)
    at = table.column_names.index("label")
    table = table.set_column(at, "label", pa.array(labels.tolist()))
    return table.set_column(2, "model_version", pa.array([version] * rows))


@pytest.fixture
def house(server, tmp_path):
    with open_shop(server, tmp_path) as opened:
        yield opened


def looked(house, rows=None):
    if not house.ledger.champion("shop"):
        give_baseline(house)
    ingest(house, shop_rows(2_000, seed=5) if rows is None else rows)
    policy = house.policies.policy("shop")
    found = look_if_due(house, policy)
    assert found is not None
    return found


def the_web(house):
    return next(each for each in categories_of(house, "shop")[1] if each.name == WEB_IS_WRONG)


def test_a_look_finds_what_is_wrong_and_the_next_waits_for_new_labels(house):
    found = looked(house)
    assert (found.version, found.rows) == ("1", 2_000)
    assert found.categories[0].name == WEB_IS_WRONG
    assert sum(each.errors for each in found.categories) == found.errors
    assert look_if_due(house, house.policies.policy("shop")) is None


def test_before_any_label_there_is_nothing_to_look_at(house):
    give_baseline(house)
    assert look_if_due(house, house.policies.policy("shop")) is None
    with client_of(house) as client:
        found = client.get("/v1/models/shop/failures").json()
        assert (found["at"], found["categories"]) == (None, [])
        assert "Nothing was looked at yet" in client.get("/models/shop/failures").text


def test_what_people_say_is_kept_over_looks_and_stands_in_the_ledger(house):
    looked(house)
    identity = the_web(house).id
    say(house, "shop", identity, "eve", "I look into it", owner="eve", state="acknowledged", severity=3.0)
    ingest(house, shop_rows(2_500, seed=6, start=START + 130_000))
    assert look_if_due(house, house.policies.policy("shop")) is not None
    again = the_web(house)
    assert (again.id, again.state, again.said.owner, again.severity) == (identity, "acknowledged", "eve", 3.0)
    assert again.priority >= 3 * again.seen.errors / 2
    act = house.ledger.acts("shop")[0]
    assert (act.verb, act.who, act.details["id"], act.details["owner"]) == ("failure", "eve", identity, "eve")


@pytest.mark.parametrize(
    ("told", "expected"),
    [({}, "at least one"), ({"state": "gone"}, "open, acknowledged"), ({"severity": 99.0}, "out of range"),
     ({"release": "2"}, "goes with the state"), ({"note": "x" * 2000}, "longer than")],
)  # fmt: skip
def test_what_cannot_be_kept_is_refused_and_leaves_no_act(house, told, expected):
    looked(house)
    with pytest.raises(BadWord, match=expected):
        say(house, "shop", the_web(house).id, "eve", "why", **told)
    assert house.ledger.acts("shop") == []


def release(house, version: str) -> None:
    rows = predictions(1_000, seed=77, start=START - 60_000)
    policy = house.policies.policy("shop")
    keep_baseline(house.ledger, house.files, baseline_of(policy, version, rows), rows)
    house.ledger.move_champion(Release("shop", version, house.ledger.champion("shop"), NOON, "release", "test"))


def later(house, **delta):
    """The same house at a later time."""
    return replace(house, clock=lambda: NOON + timedelta(**delta))


def test_a_release_that_mends_a_category_is_proved_by_counts(house):
    looked(house)
    release(house, "2")
    begin = int(NOON.timestamp())
    after = later(house, hours=1)
    look_if_due(after, house.policies.policy("shop"))
    assert the_web(house).known.proof.answer == "not_enough_labels"
    ingest(house, shop_rows(1_500, seed=8, start=begin, web=0.05, version="2"))
    look_if_due(later(house, hours=30), house.policies.policy("shop"))
    mended = the_web(house)
    assert (mended.state, mended.known.proof.answer) == ("fixed", "fixed")
    assert "fixed by release 2" in mended.known.text
    assert mended.known.proof.before.version == "1"


def test_a_fix_that_people_claim_and_counts_deny_is_opened_again(house):
    looked(house)
    say(house, "shop", the_web(house).id, "eve", "the form is mended", state="fixed")
    assert the_web(house).state == "fixed"
    ingest(house, shop_rows(1_500, seed=8, start=int(NOON.timestamp()) + 60))
    look_if_due(later(house, hours=30), house.policies.policy("shop"))
    again = the_web(house)
    assert again.state == "open"
    assert "not fixed" in again.known.text


def test_a_fixed_category_that_comes_back_opens_itself(house):
    looked(house)
    release(house, "2")
    begin, policy = int(NOON.timestamp()), house.policies.policy("shop")
    ingest(house, shop_rows(1_200, seed=8, start=begin, web=0.05, version="2"))
    look_if_due(later(house, hours=20), policy)
    assert the_web(house).state == "fixed"
    ingest(house, shop_rows(600, seed=9, start=begin + 80_000, web=0.8, version="2"))
    look_if_due(later(house, hours=40), policy)
    assert the_web(house).state == "open"
    assert "it is back" in the_web(house).known.text


def test_what_was_fixed_before_a_release_is_not_told_as_fixed_by_it():
    now, day = NOON, timedelta(days=1)
    fixed = Known(
        "f-1", "x", {}, now, now, "1", Tally("1", 2, 1_000), before=Tally("1", 90, 1_000), since=now,
        state="fixed", decided_at=now, decided_for=now, text="fixed: by hand",
    )  # fmt: skip
    after = followed(fixed, None, "2", now + day, lambda *_: Tally("2", 3, 1_000), now + 2 * day)
    assert (after.state, after.text, after.proof.answer) == ("fixed", "fixed: by hand", "fixed")
    back = followed(after, None, "2", now + day, lambda *_: Tally("2", 90, 1_000), now + 3 * day)
    assert state_of(back, None) == "open"


def test_a_fix_by_a_release_that_has_not_come_waits_for_it():
    now = NOON
    known = Known("f-1", "x", {}, now, now, "1", Tally("1", 100, 1000), before=Tally("0", 90, 1000), since=now)
    said = Said("f-1", "eve", "next week", now, state="fixed", state_at=now, release="2")
    same = followed(known, said, "1", now, lambda *_: Tally("1", 90, 1000), now + timedelta(days=1))
    assert (state_of(same, said), same.state) == ("fixed", "")
    after = followed(same, said, "2", now + timedelta(days=2), lambda *_: Tally("2", 90, 1000), now + timedelta(days=3))
    assert state_of(after, said) == "open"


def test_a_retraining_carries_what_is_open_and_its_files_and_report_say_it(house, tmp_path):
    looked(house)
    carried = failures_to_mend(house, "shop")
    assert carried[0]["name"] == WEB_IS_WRONG
    assert carried[0]["errors"] > 100
    retraining = Retraining("r-1", "shop", "d-1", "1", "requested", NOON, (), (), failures=carried)
    assert house.ledger.open_retraining(retraining)
    read = house.ledger.retraining("shop", "r-1")
    write_failures(tmp_path, read)
    assert WEB_IS_WRONG in (tmp_path / "failures.json").read_text()
    rows = shop_rows(1_000, seed=11)
    challenger = pa.table({"prediction": rows.column("label")})
    counted = errors_by_category(read, house.ledger.baseline("shop", "1"), rows, rows, challenger)
    assert counted[0]["name"] == WEB_IS_WRONG
    assert counted[0]["champion"] > 100
    assert sum(each["challenger"] for each in counted) == 0
    wrong = np.array(rows.column("prediction").to_pylist()) != np.array(rows.column("label").to_pylist())
    assert sum(each["champion"] for each in counted) == wrong.sum()
    say(house, "shop", carried[0]["id"], "eve", "not worth it", state="accepted")
    assert WEB_IS_WRONG not in [each["name"] for each in failures_to_mend(house, "shop")]


def test_routes_list_show_and_change_a_category(house):
    looked(house)
    with client_of(house) as client:
        listed = client.get("/v1/models/shop/failures").json()
        first = listed["categories"][0]
        assert (first["name"], first["state"], first["found"]) == (WEB_IS_WRONG, "open", True)
        assert sum(first["counts"]) == first["errors"]
        assert len(first["examples"]) == 10
        assert listed["categories"][-1]["kind"] == "other"
        address = f"/v1/models/shop/failures/{first['id']}"
        told = client.patch(address, json={"who": "eve", "why": "mine", "owner": "eve", "state": "being_fixed"}).json()
        assert (told["owner"], told["state"]) == ("eve", "being_fixed")
        assert client.get(address).json()["owner"] == "eve"
        assert client.post(address, json={"who": "eve", "why": "x", "state": "gone"}).status_code == 400
        assert client.post(address, json={"who": "eve", "why": "x", "speed": 1}).status_code == 400
        assert client.get("/v1/models/shop/failures/f-none").status_code == 404
        other = listed["categories"][-1]["id"]
        assert client.post(f"/v1/models/shop/failures/{other}", json={"who": "e", "why": "x"}).status_code in {400, 404}
        assert client.get("/v1/models/nobody/failures").status_code == 404


def test_the_pages_show_the_ranking_and_escape_what_people_wrote(house):
    looked(house)
    say(house, "shop", the_web(house).id, HOSTILE, HOSTILE, owner=HOSTILE, note=HOSTILE)
    with client_of(house) as client:
        for path in ("/", "/models/shop/failures"):
            page = client.get(path)
            assert page.status_code == httpx.codes.OK
            assert "channel=web" in page.text
            assert "<polyline" in page.text
            assert "alert(1)" in page.text
            assert HOSTILE not in page.text


def test_the_command_lists_shows_and_says(house):
    looked(house)
    with client_of(house) as client:
        url = str(client.base_url)

        def told(*words):
            out = StringIO()
            with redirect_stdout(out):
                code = main(["failures", "shop", "--url", url, *words])
            return code, out.getvalue()

        code, text = told()
        assert code == 0
        assert WEB_IS_WRONG in text
        identity = the_web(house).id
        assert told("--id", identity, "--owner", "eve", "--severity", "2", "--who", "eve", "--why", "mine")[0] == 0
        assert "owner eve" in told("--id", identity)[1]
        assert told("--owner", "eve")[0] == 1
        assert '"owner": "eve"' in told("--id", identity, "--json")[1]


def test_metrics_count_states_and_the_first_categories(house):
    looked(house)
    say(house, "shop", the_web(house).id, "eve", "mine", state="acknowledged")
    (model,) = snapshot(house).models
    assert model.failures["acknowledged"] == 1
    assert model.failure_shares[the_web(house).id] > 0.5


def test_the_leader_looks_by_itself_and_others_do_not(house, tmp_path):
    give_baseline(house)
    ingest(house, shop_rows(2_000, seed=5))
    jobs = Jobs(house, Loop(house, Registry(tmp_path), can_retrain=False, makes_reports=False))
    jobs._look_at_failures()
    assert Book(house.store, "shop").look().at is None
    jobs._lead()
    jobs._look_at_failures()
    assert Book(house.store, "shop").look().rows == 2_000


def test_what_the_policy_ignores_by_now_is_in_no_category_and_no_example(house):
    give_baseline(house)
    (house.policies.folder / "shop.yaml").write_text(POLICY.replace("{group: tag}", "{group: tag, channel: ignore}"))
    house.policies.reload()
    found = looked(house)
    assert found.errors > 400
    assert "channel" not in str(found)


def test_the_book_forgets_what_nobody_needs(house):
    looked(house)
    book = Book(house.store, "shop")
    first = next(iter(book.known().values()))
    many = [replace(first, id=f"f-{i}", last_seen=NOON + timedelta(hours=i)) for i in range(50)]
    book.keep(book.look(), many)
    assert set(book.known()) == {each.id for each in many}
