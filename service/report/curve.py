"""The training curve: validation loss by step, a line for each candidate."""

from collections.abc import Mapping, Sequence
from typing import Any

from service.report.values import Curve, Line, Point
from service.report.words import plain

WIDTH, HEIGHT = 640, 220
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 12, 12, 28
_MOST_MARKS = 8


def curve_of(checkpoints: Sequence[Mapping[str, Any]]) -> Curve | None:
    """The curve of checkpoints that have a loss; None where fewer than two have."""
    known = [each for each in checkpoints if _loss(each) is not None]
    if len(known) < 2:
        return None
    steps, losses = [int(each["step"]) for each in known], [float(_loss(each) or 0.0) for each in known]
    low, high = min(losses), max(losses)
    room = (high - low) * 0.08 or abs(high) * 0.08 or 1.0
    low, high = low - room, high + room
    first, last = min(steps), max(*steps, min(steps) + 1)

    def x(step: float) -> float:
        return round(_LEFT + (step - first) / (last - first) * (WIDTH - _LEFT - _RIGHT), 1)

    def y(loss: float) -> float:
        return round(HEIGHT - _BOTTOM - (loss - low) / (high - low) * (HEIGHT - _TOP - _BOTTOM), 1)

    names = list(dict.fromkeys(str(each.get("candidate", "")) for each in known))
    lines = []
    for name in names:
        own = [(each, loss) for each, loss in zip(known, losses, strict=True) if each.get("candidate", "") == name]
        kept = max((at for at, (each, _) in enumerate(own) if each["is_best"]), default=-1)
        points = tuple(
            Point(x(each["step"]), y(loss), f"step {each['step']}: {plain(loss)}", at == kept)
            for at, (each, loss) in enumerate(own)
        )
        lines.append(Line(name.replace("_", " ") or "training", points))
    apart = -(-(last - first) // _MOST_MARKS)
    marks_x = tuple((x(step), str(step)) for step in range(first, last + 1, apart))
    marks_y = tuple((y(at), plain(at)) for at in (low + room, (low + high) / 2, high - room))
    title = "Validation loss by step" if any(e["validation_loss"] is not None for e in known) else "Loss by step"
    return Curve(title, tuple(lines), marks_x, marks_y)


def _loss(each: Mapping[str, Any]) -> float | None:
    found = each["loss"] if each["validation_loss"] is None else each["validation_loss"]
    return None if found is None else float(found)
