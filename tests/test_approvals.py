"""A person's yes, no and stop, over HTTP and the command line, on a real house whose model went wrong."""

import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import timedelta

import httpx
from houses import client_of
from test_replay import POLICY, rows
from test_retrain import Shop, open_shop

from service import cli
from service.deciding.loop import Turn
from service.launching.child import Child
from service.launching.here import Here
from service.launching.limits import Limits
from service.retraining.standing import Standing
from service.web.auth import create_key

ASKS = POLICY + "retrain: {approval: required, cooldown: 0s}\n"
ALONE = POLICY + "retrain: {cooldown: 0s}\n"
DEAF = POLICY + "retrain: {approval: required, cooldown: 0s, when: []}\n"
SAID = {"who": "ann", "why": "the winter range is out"}


@dataclass(frozen=True)
class Desk:
    """A shop whose labels turned at row 1500 and were seen, and who asks it."""

    shop: Shop
    client: httpx.Client

    def decide(self, *, rows: int = 0) -> Turn:
        """The next evaluation, a minute later, after some more rows where that is said."""
        if rows:
            served = int(self.shop.house.cells.total_labelled(self.shop.house.ledger.baseline("flip", "1"))[0, 0])
            self.shop.serve(1000 + served, 1000 + served + rows)
        self.shop.clock.now += timedelta(minutes=1)
        return self.shop.loop().decide("flip")

    def say(self, verb: str, name: str, status: int = 202, **more: str) -> dict:
        answer = self.client.post(f"/v1/retrainings/{name}/{verb}", json={**SAID, **more})
        assert answer.status_code == status, answer.text
        return answer.json()

    def approvals(self) -> list[dict]:
        return self.client.get("/v1/approvals").json()["approvals"]

    def acts(self) -> list[tuple[str, str, str]]:
        acts = self.client.get("/v1/models/flip/acts").json()["acts"]
        return [(act["verb"], act["who"], act["why"]) for act in acts]

    def policy(self, text: str) -> None:
        (self.shop.house.settings.policies / "policy.yaml").write_text(text)
        self.shop.house.policies.reload()


@contextmanager
def wrong_model(folder, text: str = ASKS) -> Iterator[Desk]:
    with open_shop(folder, rows(3600, flips_at=1500)) as shop, client_of(shop.house) as client:
        desk = Desk(shop, client)
        desk.policy(text)
        shop.serve(1000, 2400)
        shop.loop().decide("flip")
        yield desk


def test_what_awaits_approval_is_shown_with_its_reasons_and_a_yes_opens_it(tmp_path, capsys):
    with wrong_model(tmp_path) as desk:
        assert desk.approvals() == []
        decision = desk.decide(rows=60).decision
        assert decision.action == "watch"
        (waiting,) = desk.approvals()
        assert (waiting["decision"], waiting["state"], waiting["answer"]) == (decision.id, "waiting", None)
        assert "all" in waiting["segments"]
        assert any("performance asks for a retraining" in text for text in waiting["reasons"])
        assert "compare it with version 1, and release it if the gate passes" in waiting["would"]
        assert desk.client.get("/v1/models/flip").json()["awaits_approval"] == decision.id
        assert 'tidegate_awaiting_approval{model="flip"} 1.0' in desk.client.get("/metrics").text
        assert f"tidegate approve {decision.id}" in desk.client.get("/").text
        url = str(desk.client.base_url).rstrip("/")
        assert cli.main(["status", "--url", url]) == 0
        assert cli.main(["approve", decision.id, "--who", "ann", "--why", "it is so", "--url", url]) == 0
        assert cli.main(["approvals", "--url", url]) == 0
        told = capsys.readouterr().out
        assert f"awaits approval: tidegate approve {decision.id}" in told
        assert "approved by ann until" in told
        assert 'tidegate_awaiting_approval{model="flip"} 0.0' in desk.client.get("/metrics").text
        turn = desk.decide()
        assert turn.opened is not None
        assert any("ann gave: it is so" in reason["text"] for reason in turn.decision.reasons)
        assert desk.shop.house.ledger.request("flip", "approve") is None
        assert desk.acts() == [("approve", "ann", "it is so")]


def test_a_yes_lapses_with_what_it_was_said_to(tmp_path):
    with wrong_model(tmp_path) as desk:
        first = desk.decide(rows=60).decision
        desk.say("approve", first.id, until="2027-01-01")
        desk.policy(DEAF)
        assert desk.decide().opened is None
        assert desk.approvals() == []
        desk.policy(ASKS)
        desk.shop.clock.now += timedelta(minutes=5)
        for _ in range(2):
            assert desk.decide(rows=60).opened is None
        (again,) = desk.approvals()
        assert again["state"] == "waiting"
        told = desk.say("approve", first.id, 409)
        assert f"what awaits approval now is {again['decision']}" in told["detail"]
        desk.say("approve", again["decision"])
        assert desk.decide().opened is not None


def test_a_yes_lapses_with_its_time(tmp_path):
    with wrong_model(tmp_path) as desk:
        decision = desk.decide(rows=60).decision
        assert desk.say("approve", decision.id, **{"for": "10m"})["verb"] == "approve"
        desk.shop.clock.now += timedelta(minutes=10)
        assert desk.approvals()[0]["state"] == "waiting"
        assert desk.decide().opened is None


def test_a_no_holds_for_its_time_and_the_newest_answer_counts(tmp_path):
    with wrong_model(tmp_path) as desk:
        decision = desk.decide(rows=60).decision
        desk.say("approve", decision.id)
        desk.say("reject", decision.id, **{"for": "3h"})
        assert desk.decide().opened is None
        (refused,) = desk.approvals()
        assert (refused["state"], refused["answer"]["who"]) == ("refused", "ann")
        reasons = desk.client.get("/v1/models/flip").json()["reasons"]
        assert any("ann refused this retraining until" in reason["text"] for reason in reasons if reason["met"])
        assert "Refused" in desk.client.get("/").text
        desk.shop.clock.now += timedelta(hours=3)
        desk.decide()
        assert desk.approvals()[0]["state"] == "waiting"
        desk.say("reject", desk.approvals()[0]["decision"])
        desk.say("approve", desk.approvals()[0]["decision"])
        assert desk.decide().opened is not None
        assert [verb for verb, *_ in desk.acts()] == ["approve", "reject", "reject", "approve"]


def test_what_proposes_nothing_cannot_be_answered(tmp_path):
    with wrong_model(tmp_path) as desk:
        quiet = desk.shop.house.ledger.decisions("flip")[0]
        for verb in ("approve", "reject"):
            assert "no decision 'd-9' awaits approval" in desk.say(verb, "d-9", 404)["detail"]
            assert "does not await approval" in desk.say(verb, quiet.id, 409)["detail"]
        decision = desk.decide(rows=60).decision
        assert "not both" in desk.say("approve", decision.id, 400, until="2027-01-01", **{"for": "1d"})["detail"]
        assert "before it begins" in desk.say("approve", decision.id, 400, until="2020-01-01")["detail"]
        desk.say("approve", decision.id)
        opened = desk.decide().opened
        assert "started already and is requested" in desk.say("approve", opened.id, 409)["detail"]


def test_only_who_operates_may_answer(tmp_path):
    with wrong_model(tmp_path) as desk:
        decision, house = desk.decide(rows=60).decision, desk.shop.house
        for name, scopes, models, status in (
            ("reader", ["read"], [], 403),
            ("other", ["operate", "read"], ["boots"], 404),
            ("operator", ["operate"], ["flip"], 202),
        ):
            _, token = create_key(house.store, name, scopes, models, house.clock())
            headers = {"Authorization": f"Bearer {token}"}
            with client_of(house) as fresh:
                answer = fresh.post(f"/v1/retrainings/{decision.id}/approve", json=SAID, headers=headers)
                assert answer.status_code == status, name
                if "read" in scopes:
                    seen = fresh.get("/v1/approvals", headers=headers).json()["approvals"]
                    assert len(seen) == (0 if models else 1)
        assert house.ledger.request("flip", "approve").who == "ann (access key operator)"


def test_a_wish_waits_for_what_holds_it_but_not_for_ever(tmp_path):
    with wrong_model(tmp_path) as desk:
        put = desk.client.post("/v1/models/flip/retrain", json={**SAID, "for": "2h"})
        assert put.status_code == 202
        desk.client.post("/v1/models/flip/freezes", json={**SAID, "for": "1h"})
        assert desk.decide().opened is None
        desk.shop.clock.now += timedelta(hours=2)
        assert desk.decide().opened is None
        desk.client.post("/v1/models/flip/retrain", json=SAID)
        assert "manual" in desk.decide().opened.reasons


# ---- cancel


def test_a_waiting_retraining_is_cancelled_and_what_asked_for_it_is_refused(tmp_path):
    with wrong_model(tmp_path, ALONE) as desk:
        opened = desk.decide(rows=60).opened
        assert desk.say("cancel", opened.id, **{"for": "2h"})["state"] == "requested"
        done = desk.shop.loop().finish("flip")
        assert (done.state, done.note) == ("cancelled", "cancelled by ann: the winter range is out")
        assert "is cancelled already" in desk.say("cancel", opened.id, 409)["detail"]
        assert desk.decide(rows=60).opened is None
        assert desk.approvals()[0]["state"] == "refused"
        desk.shop.clock.now += timedelta(hours=2)
        assert desk.decide().opened is not None
        assert desk.acts() == [("cancel", *SAID.values())]
        assert desk.say("cancel", "r-9", 404)["detail"].startswith("there is no retraining 'r-9'")


def test_a_running_training_process_is_stopped(tmp_path):
    with wrong_model(tmp_path, ALONE) as desk, closing(Child(Limits.of(desk.shop.house.settings))) as child:
        opened, house = desk.decide(rows=60).opened, desk.shop.house
        loop = desk.shop.loop(child)
        assert loop.finish("flip").state == "training"
        desk.say("cancel", opened.id)
        done = loop.finish("flip")
        assert (done.state, house.ledger.champion("flip")) == ("cancelled", "1")
        while child.look(Standing(house, done).order).state == "running":
            time.sleep(0.01)  # its keeper ends it in a moment
        assert child.look(Standing(house, done).order).state == "failed"
        assert desk.shop.loop().finish("flip") is None


def test_a_cancellation_between_the_checkpoints_of_a_trainer_here_is_heeded(tmp_path):
    with wrong_model(tmp_path, ALONE) as desk:
        opened = desk.decide(rows=60).opened

        def tell(order, checkpoint):
            if checkpoint.step == 1:
                desk.say("cancel", opened.id)
                here.cancel(order)

        here = Here(tell)
        done = desk.shop.loop(here).finish("flip")
        assert (done.state, len(done.checkpoints)) == ("cancelled", 1)


def test_an_answer_is_about_the_champion_it_was_said_of(tmp_path):
    with wrong_model(tmp_path) as desk:
        decision, ledger = desk.decide(rows=60).decision, desk.shop.house.ledger
        desk.say("reject", decision.id)
        desk.client.post("/v1/models/flip/retrain", json=SAID)
        assert desk.decide().opened is not None
        assert ledger.request("flip", "reject") is not None
        assert desk.shop.loop().finish("flip").state == "released"
        assert ledger.request("flip", "reject") is None


def test_a_cancellation_that_comes_after_the_release_changes_nothing(tmp_path):
    with wrong_model(tmp_path, ALONE) as desk:
        opened = desk.decide(rows=60).opened
        done = desk.shop.loop().finish("flip")
        assert done.state == "released"
        assert "is released already" in desk.say("cancel", opened.id, 409)["detail"]
        assert desk.shop.house.ledger.request("flip", "reject") is None
