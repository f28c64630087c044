"""A training while it runs: on the console, in the metrics and on the command line."""

import re
import threading
from collections.abc import Iterator
from dataclasses import replace

import pytest
from houses import HOSTILE, NOON, client_of, open_shop

from service import cli
from service.house import House
from service.ledger.records import Retraining
from service.storage.embedded import Embedded
from service.training.checkpoints import Checkpoint
from service.training.told import told_checkpoint, with_best
from service.training_view import training_of
from service.web.metrics import expose
from service.web.observe import snapshot

TOLD = [
    {"step": 1, "loss": 0.5, "validation_loss": 0.6, "progress": 0.25, "metrics": {"all": {"accuracy": 0.75}}},
    {
        "step": 2,
        "loss": 0.4,
        "validation_loss": 0.5,
        "progress": 0.5,
        "metrics": {"all": {"accuracy": 0.8125}, HOSTILE: {"accuracy": 0.5}},
    },
    {"step": 3, "loss": float("nan"), "metrics": {"all": {"accuracy": float("inf")}}},
]


def checkpoints() -> tuple[Checkpoint, ...]:
    return with_best(told_checkpoint(each) for each in TOLD)


def running(number: int = 0, state: str = "training") -> Retraining:
    told = tuple(each.to_dict() for each in checkpoints())
    return Retraining(f"r-{number:012x}", "shop", "d", "1", state, NOON, (), (), checkpoints=told)


@pytest.fixture
def house(server: Embedded, tmp_path) -> Iterator[House]:
    with open_shop(server, tmp_path) as opened:
        opened.ledger.add_model("shop")
        yield opened


def test_what_cannot_be_used_is_never_the_newest_nor_the_best():
    shown = training_of([running()])
    assert (shown.newest.step, shown.best.step, shown.progress) == (2, 2, 0.5)
    assert shown.losses == {"training": 0.4, "validation": 0.5}
    assert shown.scores == {"accuracy": 0.8125}
    assert training_of([running(state="judging"), running(state="released")]) is None


def test_the_metrics_tell_the_newest_checkpoint_of_what_runs_and_vanish_with_it(house):
    house.ledger.open_retraining(running())
    text = expose(lambda: snapshot(house)).decode()
    for line in (
        'tidegate_retraining_progress_ratio{model="shop"} 0.5',
        'tidegate_retraining_checkpoints{model="shop"} 3.0',
        'tidegate_retraining_checkpoint_loss{model="shop",part="validation"} 0.5',
        'tidegate_retraining_checkpoint_score{metric="accuracy",model="shop"} 0.8125',
    ):
        assert line in text
    house.ledger.save_retraining(replace(running(), state="failed", finished_at=NOON))
    assert not re.search(
        r"^tidegate_retraining_(progress|checkpoint)\w*\{", expose(lambda: snapshot(house)).decode(), re.MULTILINE
    )


def test_the_console_shows_how_far_it_is_and_each_segment(house):
    house.ledger.open_retraining(running())
    with client_of(house) as client:
        page = client.get("/").text
    assert '<progress max="1" value="0.5"' in page
    text = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", "", page))
    assert "50 % of the training, 3 checkpoints; the best so far is step 2" in text
    assert "loss 0.4, validation loss 0.5" in text
    assert "Step 3: loss is nan; accuracy is inf" in text
    assert "alert(1)" in text
    assert HOSTILE not in page


def test_the_command_line_shows_one_and_follows_it_to_its_end(house, capsys):
    known = running()
    house.ledger.open_retraining(known)
    with client_of(house) as client:
        url = ["--url", str(client.base_url)]
        assert cli.main(["retrainings", known.id, *url]) == 0
        assert capsys.readouterr().out.splitlines() == [
            "r-000000000000 of shop is training",
            "  step 1  loss 0.6  accuracy 0.75 (best so far)",
            "  step 2  loss 0.5  accuracy 0.8125 (best so far)",
            "  step 3   (loss is nan; accuracy is inf)",
        ]
        ending = replace(known, state="released", version="2", note="it is better", finished_at=NOON)
        later = threading.Timer(0.3, lambda: house.ledger.save_retraining(ending))
        later.start()
        assert cli.main(["retrainings", "shop", "--follow", *url]) == 0
        later.join()
        told = capsys.readouterr().out.splitlines()
        assert told[-2:] == [
            "r-000000000000 of shop is training",
            "r-000000000000 of shop version 2 is released: it is better",
        ]
        assert cli.main(["retrainings", "--follow", *url]) == 1
        assert "none runs" in capsys.readouterr().err
