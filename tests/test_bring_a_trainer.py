"""The programs of the how-to page, run as they stand there."""

import re
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest
from test_replay import POLICY, rows
from test_retrain import open_shop

from service.launching.command import Command
from service.launching.limits import Limits
from service.retraining.opening import open_retraining

PAGE = Path(__file__).parents[1] / "docs/how-to/bring-a-trainer.md"
PROGRAMS = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize(("program", "stays_outside"), list(zip(PROGRAMS, (True, False), strict=True)))
def test_each_program_of_the_page_makes_a_model_that_is_released(tmp_path, monkeypatch, program, stays_outside):
    monkeypatch.setenv("HOME", str(tmp_path))
    with open_shop(tmp_path, rows(3000, flips_at=1500)) as shop:
        shop.serve(1000, 3000)
        file = tmp_path / "train.py"
        file.write_text(program)
        trainer = f"{{kind: command, command: [{sys.executable}, {file}], timeout: 2m}}"
        (tmp_path / "policies.d" / "policy.yaml").write_text(f"{POLICY}retrain: {{trainer: {trainer}}}\n")
        shop.house.policies.reload()
        open_retraining(shop.house, shop.decision(change_at=1500))
        with closing(Command(Limits.of(shop.house.settings))) as command:
            loop = shop.loop(command, "command")
            while not (done := loop.finish("flip")).is_finished:
                time.sleep(0.02)
        assert (done.state, shop.house.ledger.champion("flip")) == ("released", "2"), done.note
        if stays_outside:
            assert done.uri == (tmp_path / "models" / "flip-2.joblib").as_uri()
            assert [c["step"] for c in done.checkpoints] == [5, 10, 20]
            assert done.checkpoints[-1]["progress"] == 1.0
        else:
            assert shop.registry.load("flip", "2").task == "classification"
