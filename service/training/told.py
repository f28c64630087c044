"""Checkpoints told by a trainer: whatever it wrote, what comes of it can be kept, shown and counted.

A trainer's numbers are shown and never believed. What is not finite or not a number is left out and noted, and such a
checkpoint is never the best.
"""

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import replace

from service.training.checkpoints import Checkpoint

MOST_CHECKPOINTS = 100
"""Of more the newest are kept."""
MOST_SEGMENTS = 50
MOST_SCORES = 8
LONGEST_NAME = 100
LONGEST_LINE = 1 << 16
_MOST_STEP = 10**12


def told_checkpoint(said: object) -> Checkpoint:
    """The checkpoint that a parsed JSON value tells: `step`, and as far as they are there `loss`, `validation_loss`,
    `metrics` (a mapping from segment to numbers by name), `effort`, `progress` (0 to 1) and `candidate`.

    >>> told_checkpoint({"step": 2, "loss": float("nan"), "metrics": {"all": {"accuracy": 0.5}}}).note
    'loss is nan'
    """
    if not isinstance(said, Mapping):
        return _nothing("this is not a JSON object")
    step = said.get("step")
    if not isinstance(step, int) or isinstance(step, bool) or not 0 <= step <= _MOST_STEP:
        return _nothing(f"step is {_shown(step)}, a whole number was expected")
    notes: list[str] = []
    numbers = {name: _number(said, name, notes) for name in ("loss", "validation_loss", "effort", "progress")}
    progress = numbers["progress"]
    return Checkpoint(
        step=step,
        effort=numbers["effort"] or 0.0,
        loss=numbers["loss"],
        validation_loss=numbers["validation_loss"],
        metrics=_metrics(said.get("metrics"), notes),
        is_best=False,
        candidate=_name(said.get("candidate") or ""),
        progress=None if progress is None else min(max(progress, 0.0), 1.0),
        note="; ".join(notes[:3]),
    )


def read_line(line: bytes) -> Checkpoint:
    """The checkpoint of a line of `checkpoints.ndjson`."""
    if len(line) > LONGEST_LINE:
        return _nothing(f"a line of more than {LONGEST_LINE:,} bytes")
    try:
        return told_checkpoint(json.loads(line))
    except (ValueError, RecursionError):
        return _nothing("this is not JSON")


def with_best(checkpoints: Iterable[Checkpoint]) -> tuple[Checkpoint, ...]:
    """The newest of them and the last best one, each marked where its loss was the lowest of its candidate so far:
    `validation_loss`, or where a trainer has none, `loss`.
    """
    lowest: dict[str, float] = {}
    marked = []
    for each in checkpoints:
        loss = each.loss if each.validation_loss is None else each.validation_loss
        is_best = not each.note and loss is not None and loss < lowest.get(each.candidate, math.inf)
        if is_best and loss is not None:
            lowest[each.candidate] = loss
        marked.append(replace(each, is_best=is_best))
    left_out, kept = marked[:-MOST_CHECKPOINTS], marked[-MOST_CHECKPOINTS:]
    best = [each for each in left_out if each.is_best]
    return (*best[-1:], *kept[len(best[-1:]) :])


def _metrics(said: object, notes: list[str]) -> dict[str, dict[str, float]]:
    if said is None:
        return {}
    if not isinstance(said, Mapping):
        notes.append("metrics are no object")
        return {}
    if len(said) > MOST_SEGMENTS:
        notes.append(f"{len(said) - MOST_SEGMENTS:,} segments beyond {MOST_SEGMENTS} are left out")
    found = {_name(segment): _scores(scores, notes) for segment, scores in list(said.items())[:MOST_SEGMENTS]}
    return {segment: scores for segment, scores in found.items() if scores}


def _scores(said: object, notes: list[str]) -> dict[str, float]:
    if not isinstance(said, Mapping):
        notes.append("the metrics of a segment are no object")
        return {}
    found = {_name(name): _number(said, name, notes) for name in list(said)[:MOST_SCORES]}
    return {name: value for name, value in found.items() if value is not None}


def _number(said: Mapping[str, object], name: str, notes: list[str]) -> float | None:
    value = said.get(name)
    if value is None:
        return None
    try:
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
            return float(value)
    except OverflowError:
        pass
    notes.append(f"{_name(name)} is {_shown(value)}")
    return None


def _name(said: object) -> str:
    """A name that can be shown anywhere: no line breaks, no control signs, no halves of a character."""
    text = str(said)[:LONGEST_NAME]
    return "".join(sign if sign.isprintable() else "·" for sign in text)


def _shown(value: object) -> str:
    return _name(value if isinstance(value, float) else f"{value!r:.40}" if isinstance(value, str) else _kind(value))


def _kind(value: object) -> str:
    return "missing" if value is None else f"a {type(value).__name__}" if not isinstance(value, int) else "too large"


def _nothing(note: str) -> Checkpoint:
    return Checkpoint(0, 0.0, None, None, {}, is_best=False, note=note)
