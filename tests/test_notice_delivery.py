"""From what the ledger has to a receiver that is there, is not there, is slow, says no or sends elsewhere."""

import base64
import json
import logging
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest
from houses import NOON, POLICY, client_of, give_baseline, open_shop
from receivers import receiving
from stores import free_port, wait_until

from policies.proposals import Proposal
from service.deciding.loop import Loop
from service.house import House
from service.jobs import Jobs
from service.ledger.records import Evaluation, Regression, Request, Retraining
from service.notices.announcing import announce
from service.notices.delivery import Delivery
from service.notices.messages import Message, sign
from service.notices.outbox import Letter, Outbox
from service.notices.post import Reply, Stopped, post
from service.notices.regressions import keep_regression
from service.training.registry import Registry

ROOT = Path(__file__).parent.parent
SECRET = "whsec_" + base64.b64encode(bytes(range(32))).decode()
SECOND = timedelta(seconds=1)


@dataclass
class Clock:
    now = NOON

    def __call__(self):
        return self.now


@contextmanager
def shop(server, folder, policy=POLICY, **settings) -> Iterator[tuple[House, Clock]]:
    """A shop with something to tell: a retraining that failed."""
    clock = Clock()
    with open_shop(server, folder, policy, **settings) as house:
        moved = replace(house, clock=clock)
        moved.ledger.add_model("shop")
        retraining = Retraining("r-1", "shop", "d-1", "1", "requested", NOON, ("manual",), ("all",))
        assert moved.ledger.open_retraining(retraining)
        moved.ledger.save_retraining(replace(retraining, state="failed", finished_at=NOON, note="out of memory"))
        yield moved, clock


def letters(house: House) -> list[Letter]:
    return Outbox(house.store).newest("shop")


def counts(house: House) -> dict[str, int]:
    return {name: n for name, n in house.ledger.counts("shop").items() if name.startswith("notices")}


def test_what_happened_reaches_both_receivers_once(server, tmp_path):
    with receiving() as hook, receiving() as slack:
        chosen = {"notice_url": f"{hook.url}/in?team=ml", "slack_url": slack.url, "notice_secret": SECRET}
        with shop(server, tmp_path, public_url="https://tidegate.example", **chosen) as (house, _):
            assert announce(house, "shop") == 1
            assert announce(house, "shop") == 0
            delivery = Delivery(house)
            assert delivery.step() == 2
            assert delivery.step() == 0
            assert counts(house) == {"notices:retraining_ended:sent": 2}
    (event,), (text,) = hook.got, slack.got
    said = event.headers
    assert (event.path, said["content-type"]) == ("/in?team=ml", "application/cloudevents+json; charset=utf-8")
    assert json.loads(event.body)["type"] == "tidegate.retraining.failed"
    assert said["webhook-signature"] == sign(SECRET, said["webhook-id"], said["webhook-timestamp"], event.body)
    assert json.loads(text.body)["text"].splitlines() == [
        "*shop: the retraining failed, 1 stays*",
        "out of memory",
        "retraining r-1 of decision d-1",
        "https://tidegate.example/?model=shop",
    ]


def test_a_receiver_that_fails_gets_the_same_notice_again_later_and_later(server, tmp_path):
    with receiving(500, 503, 204) as hook, shop(server, tmp_path, notice_url=hook.url) as (house, clock):
        announce(house, "shop")
        pauses = []
        for _ in range(2):
            assert Delivery(house).step() == 1  # another process each time: what is due is in the store
            (letter,) = letters(house)
            pauses.append((letter.due_at - clock.now) / SECOND)
            assert Delivery(house).step() == 0
            clock.now = letter.due_at
        assert Delivery(house).step() == 1
        (letter,) = letters(house)
        assert pauses == [5, 10]
        assert (letter.state, letter.tries, letter.reply) == ("sent", 3, "204 No Content")
    assert len({got.body for got in hook.got}) == len({got.headers["webhook-id"] for got in hook.got}) == 1


def test_who_asks_to_come_back_later_is_left_alone_so_long(server, tmp_path):
    with (
        receiving((429, {"Retry-After": "90"}), 200) as hook,
        shop(server, tmp_path, notice_url=hook.url) as (house, clock),
    ):
        announce(house, "shop")
        delivery = Delivery(house)
        delivery.step()
        (letter,) = letters(house)
        assert letter.due_at == NOON + 90 * SECOND
        clock.now = letter.due_at - SECOND
        assert delivery.step() == 0
        clock.now = letter.due_at
        assert delivery.step() == 1
        assert counts(house) == {"notices:retraining_ended:sent": 1}


def test_a_date_to_come_back_at_is_understood():
    at = format_datetime(datetime.now(UTC) + timedelta(hours=1), usegmt=True)
    with receiving((503, {"Retry-After": at}), (503, {"Retry-After": "soon"})) as hook:
        first, second = (post(hook.url, Message(b"{}", {})) for _ in range(2))
    assert timedelta(minutes=55) < first.retry_after <= timedelta(hours=1)
    assert second.retry_after is None


@pytest.mark.parametrize("status", [404, 410])
def test_a_receiver_that_will_never_take_it_is_not_asked_again(server, tmp_path, caplog, status):
    with receiving(status) as hook, shop(server, tmp_path, notice_url=hook.url) as (house, clock):
        announce(house, "shop")
        Delivery(house).step()
        clock.now += timedelta(hours=2)
        assert Delivery(house).step() == 0
        assert counts(house) == {"notices:retraining_ended:failed": 1}
    assert len(hook.got) == 1
    (said,) = [each for each in caplog.records if each.levelno == logging.ERROR]
    assert f"was not delivered to webhook: {status}" in said.getMessage()
    assert hook.url not in said.getMessage()


@pytest.mark.parametrize("status", [302, 307])
def test_a_redirect_is_not_followed(server, tmp_path, status):
    with receiving() as elsewhere, receiving((status, {"Location": elsewhere.url})) as hook:
        with shop(server, tmp_path, notice_url=hook.url) as (house, _):
            announce(house, "shop")
            Delivery(house).step()
            assert "redirects are not followed" in letters(house)[0].reply
            assert counts(house) == {"notices:retraining_ended:failed": 1}
        assert (len(hook.got), elsewhere.got) == (1, [])


@pytest.mark.parametrize("way", ["hang", "drip"])
def test_a_receiver_that_never_comes_to_an_end_is_cut_off_and_tried_again(server, tmp_path, way):
    with receiving(way, 200) as hook, shop(server, tmp_path, notice_url=hook.url) as (house, clock):
        announce(house, "shop")
        Delivery(house, seconds=0.3).step()
        (letter,) = letters(house)
        assert (letter.state, letter.reply) == ("waiting", "no answer within 0.3 s")
        wait_until(lambda: all(thread.name != "notice" for thread in threading.enumerate()))
        clock.now = letter.due_at
        Delivery(house).step()
        assert counts(house) == {"notices:retraining_ended:sent": 1}


def test_a_letter_waits_for_an_address_that_was_taken_away_to_come_back(server, tmp_path):
    with receiving() as hook, shop(server, tmp_path, notice_url=hook.url) as (house, clock):
        announce(house, "shop")
        Delivery(replace(house, settings=replace(house.settings, notice_url=""))).step()
        (letter,) = letters(house)
        assert (letter.state, letter.reply) == ("waiting", "TIDEGATE_NOTICE_URL is not set any more")
        clock.now = letter.due_at
        Delivery(house).step()
        assert counts(house) == {"notices:retraining_ended:sent": 1}


def test_who_asks_for_a_year_gets_no_letter_again_and_others_after_an_hour(server, tmp_path):
    year = 429, {"Retry-After": "31536000"}
    with receiving(year, 200) as hook, shop(server, tmp_path, notice_url=hook.url) as (house, clock):
        announce(house, "shop")
        delivery = Delivery(house)
        delivery.step()
        assert counts(house) == {"notices:retraining_ended:failed": 1}
        worse = Retraining("r-2", "shop", "d-1", "1", "refused", NOON, (), (), finished_at=NOON)
        house.ledger.open_retraining(worse)
        announce(house, "shop")
        assert delivery.step() == 0
        clock.now += timedelta(hours=1)
        assert delivery.step() == 1


def test_a_letter_that_nobody_takes_for_a_day_is_given_up_and_it_is_said(server, tmp_path, caplog):
    with shop(server, tmp_path, notice_url=f"http://127.0.0.1:{free_port()}") as (house, clock):
        announce(house, "shop")
        tries = 0
        while (letter := letters(house)[0]).state == "waiting":
            clock.now = letter.due_at
            tries += Delivery(house).step()
        assert NOON + timedelta(hours=22) < clock.now < NOON + timedelta(days=1)
        assert 20 < tries == letter.tries < 50
        assert letter.reply.startswith("given up, a day is over before the next try: it cannot be reached")
        assert counts(house) == {"notices:retraining_ended:failed": 1}
    assert "given up, a day is over" in caplog.text


def test_a_dead_receiver_holds_up_no_other_and_is_asked_one_letter_at_a_time(server, tmp_path):
    with receiving() as slack:
        dead = f"http://127.0.0.1:{free_port()}"
        with shop(server, tmp_path, notice_url=dead, slack_url=slack.url) as (house, _):
            announce(house, "shop")
            for number in (2, 3):
                worse = Retraining(f"r-{number}", "shop", "d-1", "1", "refused", NOON, (), (), finished_at=NOON)
                assert house.ledger.open_retraining(worse)
                announce(house, "shop")
            assert Delivery(house).step() == 3 + 1
            tried = [letter.tries for letter in letters(house) if letter.to == "webhook"]
    assert sorted(tried) == [0, 0, 1]
    assert len(slack.got) == 3


def test_a_process_that_stops_waits_for_no_receiver_and_the_next_one_sends(server, tmp_path):
    with receiving("hang", 200) as hook, shop(server, tmp_path, notice_url=hook.url) as (house, _):
        announce(house, "shop")
        assert Delivery(house, goes_on=lambda: not hook.got).step() == 0
        assert (letters(house)[0].state, letters(house)[0].tries) == ("waiting", 0)
        Delivery(house).step()
        assert counts(house) == {"notices:retraining_ended:sent": 1}
    assert len(hook.got) == 2


LEADER = """
import sys
from datetime import UTC, datetime
from pathlib import Path
from service.house import open_house
from service.notices.announcing import announce
from service.notices.delivery import Delivery
from service.settings import Settings
store, folder, url, noon = sys.argv[1:]
chosen = Settings(store=store, data_dir=Path(folder), policies=Path(folder, "policies.d"), partitions=2, notice_url=url)
with open_house(chosen, lambda: datetime.fromtimestamp(float(noon), UTC)) as house:
    announce(house, "shop")
    Delivery(house).step()
"""


def test_a_leader_killed_between_outbox_and_delivery_is_gone_on_for(server, tmp_path):
    with receiving("hang", 200) as hook, shop(server, tmp_path, notice_url=hook.url) as (house, _):
        command = [sys.executable, "-c", LEADER, server.url, str(tmp_path), hook.url, str(NOON.timestamp())]
        with subprocess.Popen(command, cwd=ROOT) as leader:
            wait_until(lambda: bool(hook.got), leader)
            leader.send_signal(signal.SIGKILL)
        assert [letter.state for letter in letters(house)] == ["waiting"]
        assert announce(house, "shop") == 0
        assert Delivery(house).step() == 1
        assert counts(house) == {"notices:retraining_ended:sent": 1}
    first, second = hook.got
    assert first.headers["webhook-id"] == second.headers["webhook-id"]


# ---- what a policy and a house have to tell


def test_a_policy_that_wants_no_notices_gets_none_and_not_later_either(server, tmp_path):
    with shop(server, tmp_path, POLICY + "notices: [blind]\n", notice_url="http://127.0.0.1") as (house, _):
        announce(house, "shop")
        (tmp_path / "policies.d" / "shop.yaml").write_text(POLICY)
        assert house.policies.reload() == ["shop"]
        assert announce(house, "shop") == 0
        assert letters(house) == []


def test_without_a_receiver_nothing_is_kept(server, tmp_path):
    with shop(server, tmp_path) as (house, _):
        assert announce(house, "shop") == 0
        assert (letters(house), house.store.do("EXISTS", "tg:{m:shop}:notices:told")) == ([], 0)


def test_a_regression_that_a_person_has_to_answer_is_told_with_its_segments(server, tmp_path):
    manual = POLICY + "watch: {rollback: manual}\n"
    with receiving() as hook, shop(server, tmp_path, manual, notice_url=hook.url) as (house, clock):
        announce(house, "shop")
        keep_regression(house.store, Regression("shop", "2", "1", clock.now, "worse than version 1 in intent=returns"))
        assert announce(house, "shop") == 1
        assert letters(house)[0].notice.lines[0] == "worse than version 1 in intent=returns"


def test_a_retraining_that_waits_is_told_until_a_person_says_no(server, tmp_path):
    why = {"segment": "all", "column": None, "observed": None, "limit": None, "met": True}
    reasons = [
        {"code": "awaiting_approval", "text": "the policy asks for an approval", **why},
        {"code": "performance_drop", "text": "accuracy fell by 0.08", **why},
    ]
    policy = POLICY.replace("retrain: {", "retrain: {approval: required, ")
    with shop(server, tmp_path, policy, notice_url="http://127.0.0.1") as (house, clock):
        give_baseline(house)
        announce(house, "shop")
        proposal = Proposal(NOON, ("all",))
        last = Evaluation("shop", "1", at=NOON, reasons=reasons, decision="d-2", proposal=proposal)
        house.ledger.record(last, None, ())
        assert announce(house, "shop") == 1
        assert announce(house, "shop") == 0
        clock.now += timedelta(days=1)
        no = Request("reject", "ann", "a fair", clock.now, clock.now + timedelta(days=2), proposal)
        house.ledger.put_request("shop", no)
        assert announce(house, "shop") == 0
        clock.now += timedelta(days=3)
        assert announce(house, "shop") == 1
        notice = letters(house)[0].notice
    assert notice.kind == "awaiting_approval"
    assert notice.lines[0] == "accuracy fell by 0.08"
    assert notice.lines[-1] == "to agree: tidegate approve d-2 --why …"


def test_the_leader_tells_of_a_bad_edit_within_seconds(server, tmp_path):
    with receiving() as hook, shop(server, tmp_path, notice_url=hook.url) as (house, _):
        jobs = Jobs(house, Loop(house, Registry(tmp_path), can_retrain=False, makes_reports=False))
        jobs.start()
        try:
            wait_until(lambda: jobs.is_leader)
            (tmp_path / "policies.d" / "shop.yaml").write_text(POLICY + "evaluat: 5m\n")
            wait_until(lambda: any(b"policy.refused" in got.body for got in hook.got))
        finally:
            jobs.stop()
    (told,) = [json.loads(got.body)["data"] for got in hook.got if b"policy.refused" in got.body]
    assert 'did you mean "evaluate"' in told["problem"]
    assert "shop.yaml:9:1" in told["lines"][0]


# ---- over HTTP and from the command line


def test_the_service_shows_what_it_sent_and_what_waits(server, tmp_path, capsys):
    from service.cli import main

    with receiving(500, 200) as hook, shop(server, tmp_path, notice_url=hook.url) as (house, _):
        announce(house, "shop")
        Delivery(house).step()
        with client_of(house) as client:
            found = client.get("/v1/models/shop/notices").json()
            assert main(["notices", "shop", "--url", str(client.base_url)]) == 0
            metrics = client.get("/metrics").text
    assert (found["receivers"], found["waiting"]) == (["webhook"], 1)
    (notice,) = found["notices"]
    assert (notice["type"], notice["state"], notice["reply"]) == (
        "tidegate.retraining.failed",
        "waiting",
        "500 Internal Server Error",
    )
    shown = capsys.readouterr().out.splitlines()
    assert shown[0] == "shop: notices go to webhook; 1 wait"
    assert "waiting  webhook  shop: the retraining failed, 1 stays" in shown[1]
    assert 'tidegate_notices_waiting{model="shop"} 1.0' in metrics
    assert 'tidegate_notices_total{end="sent",kind="blind",model="shop"} 0.0' in metrics


def test_a_test_notice_says_what_each_receiver_answered(server, tmp_path, capsys):
    from service.cli import main

    with receiving() as hook, receiving(404) as slack:
        with (
            shop(server, tmp_path, notice_url=hook.url, slack_url=slack.url) as (house, _),
            client_of(house) as client,
        ):
            assert main(["notices", "--test", "--url", str(client.base_url)]) == 1
            assert letters(house) == []
        assert capsys.readouterr().out.splitlines() == ["webhook  taken: 200 OK", "slack    NOT taken: 404 Not Found"]
    assert json.loads(hook.got[0].body)["type"] == "tidegate.test"


def test_a_test_without_a_receiver_says_what_to_set(server, tmp_path):
    with shop(server, tmp_path) as (house, _), client_of(house) as client:
        refused = client.post("/v1/notices/test")
    assert refused.status_code == 409
    assert "set TIDEGATE_NOTICE_URL or TIDEGATE_SLACK_URL" in refused.json()["detail"]


def test_a_post_that_is_stopped_says_so():
    with receiving("hang") as hook, pytest.raises(Stopped):
        post(hook.url, Message(b"{}", {}), goes_on=lambda: False)


@pytest.mark.parametrize(
    ("status", "taken", "final"),
    [(200, True, True), (299, True, True)]
    + [(status, False, True) for status in (301, 308, 400, 401, 404, 410, 422)]
    + [(status, False, False) for status in (408, 425, 429, 500, 502, 503, 599, None)],
)
def test_only_what_could_change_is_tried_again(status, taken, final):
    reply = Reply(status, "")
    assert (reply.is_taken, reply.is_final) == (taken, final)
