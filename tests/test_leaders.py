"""Leaders that die, stand still or stop in the middle of a retraining: each is begun once and brought to its end."""

import time
from pathlib import Path

from leader_loop import LeaderLoop
from test_replay import POLICY, rows
from test_retrain import open_shop

from service import jobs
from service.deciding.loop import Loop
from service.jobs import Jobs
from service.launching.choose import Launchers
from service.ledger.records import Request
from service.retraining.opening import open_retraining
from service.retraining.standing import Standing


def test_a_few_kills_and_pauses_of_the_leader_start_nothing_twice_and_lose_nothing(tmp_path):
    with LeaderLoop(tmp_path) as loop:
        found = loop.play(kills=3, pauses=1, seed=1, longest_seconds=1.0)
    assert found.ended
    assert (found.duplicates, found.missed) == (0, 0), found


def test_a_service_that_stops_ends_its_training_and_the_next_one_begins_it_again(tmp_path, monkeypatch):
    monkeypatch.setattr(jobs, "RETRAINING_LOOK_SECONDS", 0.05)
    starts = tmp_path / "starts"
    command = f"[sh, -c, 'echo started >> {starts}; sleep 600']"
    with open_shop(tmp_path, rows(3000, flips_at=1500)) as shop:
        shop.serve(1000, 3000)
        text = POLICY + f"retrain: {{trainer: {{kind: command, command: {command}}}}}\n"
        (tmp_path / "policies.d" / "policy.yaml").write_text(text)
        shop.house.policies.reload()
        opened = open_retraining(shop.house, shop.decision(change_at=1500))
        for times in (1, 2):
            launchers = Launchers(shop.house)
            schedule = Jobs(shop.house, Loop(shop.house, shop.registry, launchers, makes_reports=False), launchers.rest)
            schedule.start()
            wait_for(starts, times)
            schedule.stop()
            known = shop.house.ledger.retraining("flip", opened.id)
            order = Standing(shop.house, known).order
            seen = launchers(order.trainer).look(order)
            assert (seen.state, seen.is_stopped) == ("lost", True)
            assert (known.state, known.order.launches) == ("training", 1)


def test_the_builtin_trainer_is_followed_as_a_process_until_its_release(tmp_path):
    with open_shop(tmp_path, rows(3000, flips_at=1500)) as shop:
        shop.serve(1000, 3000)
        opened = open_retraining(shop.house, shop.decision(change_at=1500))
        launchers, states = Launchers(shop.house), []
        until = time.monotonic() + 120
        while time.monotonic() < until and not (states and shop.house.ledger.retraining("flip", opened.id).is_finished):
            # A process that has just begun to lead, each time: nothing is in memory.
            loop = Loop(shop.house, shop.registry, launchers, makes_reports=False)
            states.append(loop.finish("flip").state)
            time.sleep(0.05)  # its processes train meanwhile
        launchers.rest()
        done = shop.house.ledger.retraining("flip", opened.id)
    assert list(dict.fromkeys(states)) == ["training", "teaching", "released"]
    assert (done.order.name, done.order.launches, done.checkpoints[0]["candidate"]) == (
        f"{opened.id}-again",
        1,
        "after_change",
    )


def test_who_asks_for_a_retraining_is_heard_before_the_next_evaluation(tmp_path, monkeypatch):
    monkeypatch.setattr(jobs, "RETRAINING_LOOK_SECONDS", 0.05)
    with open_shop(tmp_path, rows(3000, flips_at=1500)) as shop:
        shop.serve(1000, 3000)
        ledger, loop = shop.house.ledger, Loop(shop.house, shop.registry, makes_reports=False)
        schedule = Jobs(shop.house, loop)
        schedule.start()
        assert ledger.retrainings("flip") == []
        ledger.put_request("flip", Request("retrain", "ann", "now, and not in an hour", shop.clock()))
        until = time.monotonic() + 60
        while time.monotonic() < until and not ledger.retrainings("flip"):
            time.sleep(0.02)  # the schedule hears it in a thread of its own
        schedule.stop()
        assert [each.reasons for each in ledger.retrainings("flip")] == [("manual",)]


def wait_for(file: Path, lines: int) -> None:
    until = time.monotonic() + 60
    while time.monotonic() < until and (not file.is_file() or len(file.read_text().split()) < lines):
        time.sleep(0.02)  # the schedule starts it in a thread of its own
    assert len(file.read_text().split()) == lines
