"""What trainers say of themselves, whatever it is."""

import json
import math
import os
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.launching.following import FILE, Following
from service.training.checkpoints import Checkpoint
from service.training.told import MOST_CHECKPOINTS, MOST_SCORES, MOST_SEGMENTS, read_line, told_checkpoint, with_best

NUMBERS = st.one_of(st.floats(), st.integers(), st.none(), st.booleans(), st.text(max_size=5), st.just(10**400))
SAID = st.fixed_dictionaries(
    {"step": st.one_of(st.integers(0, 99), NUMBERS)},
    optional={
        "loss": NUMBERS,
        "validation_loss": NUMBERS,
        "progress": NUMBERS,
        "candidate": NUMBERS,
        "metrics": st.one_of(
            NUMBERS, st.dictionaries(st.text(max_size=5), st.one_of(NUMBERS, st.dictionaries(st.text(), NUMBERS)))
        ),
    },
)
JSON = st.recursive(NUMBERS, lambda inner: st.lists(inner) | st.dictionaries(st.text(max_size=3), inner), max_leaves=8)


def numbers_of(checkpoint: Checkpoint) -> list[float]:
    scores = [value for each in checkpoint.metrics.values() for value in each.values()]
    own = (checkpoint.loss, checkpoint.validation_loss, checkpoint.effort, checkpoint.progress)
    return [*scores, *(each for each in own if each is not None)]


@given(st.one_of(SAID, JSON))
def test_whatever_is_said_can_be_kept_and_shown(said: Any) -> None:
    checkpoint = told_checkpoint(said)
    assert all(math.isfinite(each) for each in numbers_of(checkpoint))
    assert Checkpoint(**msgspec.json.decode(msgspec.json.encode(checkpoint))) == checkpoint
    json.dumps(checkpoint.to_dict(), allow_nan=False).encode()
    names = [*checkpoint.metrics, *(name for each in checkpoint.metrics.values() for name in each), checkpoint.note]
    assert all(name.isprintable() for name in names)
    assert checkpoint.progress is None or 0 <= checkpoint.progress <= 1


@given(st.binary())
def test_any_bytes_are_a_line(line: bytes) -> None:
    read_line(line)


@pytest.mark.parametrize(
    ("line", "note"),
    [
        (b"nonsense", "this is not JSON"),
        (b"[" * 50_000, "this is not JSON"),
        (b"x" * 100_000, "a line of more than 65,536 bytes"),
        (b"[1]", "this is not a JSON object"),
        (b"{}", "step is missing, a whole number was expected"),
        (b'{"step": 1, "loss": NaN}', "loss is nan"),
        (b'{"step": 1, "loss": 1e999}', "loss is inf"),
        (b'{"step": 1, "metrics": {"all": {"accuracy": -Infinity}}}', "accuracy is -inf"),
        (b'{"step": 1, "metrics": {"\\ud800\\u001b[2J": {"a": 1}}}', ""),
    ],
)
def test_what_cannot_be_used_is_noted(line: bytes, note: str) -> None:
    assert read_line(line).note == note


def test_of_too_much_a_part_is_taken() -> None:
    scores = {str(i): 0.5 for i in range(2 * MOST_SCORES)}
    told = told_checkpoint({"step": 1, "metrics": {str(i): scores for i in range(2 * MOST_SEGMENTS)}})
    assert (len(told.metrics), len(told.metrics["0"])) == (MOST_SEGMENTS, MOST_SCORES)
    assert "50 segments beyond 50 are left out" in told.note


@given(st.lists(st.one_of(st.none(), st.floats(0, 10)), max_size=2 * MOST_CHECKPOINTS))
def test_the_last_best_one_has_the_lowest_loss_and_is_kept(losses: list[float | None]) -> None:
    told = [told_checkpoint({"step": i, "loss": math.nan if x is None else x}) for i, x in enumerate(losses)]
    marked = with_best(told)
    assert len(marked) == min(len(told), MOST_CHECKPOINTS)
    known = [x for x in losses if x is not None]
    best = [each for each in marked if each.is_best]
    assert bool(best) == bool(known)
    assert not known or best[-1].loss == min(known)
    assert not any(each.note for each in best)


def test_a_file_that_grows_is_read_on_and_one_begun_anew_is_read_anew(tmp_path: Path) -> None:
    following, file = Following(), tmp_path / FILE
    assert following.read(tmp_path) == ()
    file.write_text('{"step": 1, "loss": 3.0}\n{"step": 2, "lo')
    assert [each.step for each in following.read(tmp_path)] == [1]
    with file.open("a") as lines:
        lines.write('ss": 2.0}\n')
    assert [(each.step, each.loss) for each in following.read(tmp_path)] == [(1, 3.0), (2, 2.0)]
    (tmp_path / "draft").write_text('{"step": 9, "loss": 1.0}\n')
    (tmp_path / "draft").replace(file)
    assert [each.step for each in following.read(tmp_path)] == [9]
    file.unlink()
    os.mkfifo(file)
    assert [each.step for each in following.read(tmp_path)] == [9]
