"""Failure categories as pages show them: each with the points of its sparkline."""

from collections.abc import Sequence
from dataclasses import dataclass

from service.failures.records import Look, Shown
from service.failures.view import categories_of
from service.house import House

WIDTH, HEIGHT = 120.0, 28.0
"""Of a sparkline, in units of its view box."""
PANEL_ROWS = 5


@dataclass(frozen=True)
class FailureRow:
    """One category; `line` and `area` are the points of its sparkline, empty where there is nothing to draw."""

    shown: Shown
    line: str
    area: str
    highest: float


@dataclass(frozen=True)
class FailuresPart:
    """The first categories of a model, `count` of them in all."""

    look: Look
    rows: Sequence[FailureRow]
    count: int


def failures_part(house: House, model: str) -> FailuresPart:
    """What the page of all models shows of one."""
    look, rows = failure_rows(house, model)
    return FailuresPart(look, rows[:PANEL_ROWS], len(rows))


def failure_rows(house: House, model: str) -> tuple[Look, list[FailureRow]]:
    """The last look, and its categories ready to be drawn."""
    look, shown = categories_of(house, model)
    return look, [_row(each, look) for each in shown]


def _row(shown: Shown, look: Look) -> FailureRow:
    counts = shown.seen.counts if shown.seen else ()
    shares = [k / n if n else 0.0 for k, n in zip(counts, look.rows_by_period, strict=False)]
    points = spark(shares)
    ends = [(points[-1][0], HEIGHT), (points[0][0], HEIGHT)] if points else []
    return FailureRow(shown, _told(points), _told([*points, *ends]), max(shares, default=0.0))


def spark(values: Sequence[float]) -> list[tuple[float, float]]:
    """Points of a line over the whole box, 0 at its foot; none of fewer than two values.

    >>> spark([0.0, 0.5, 1.0])
    [(0.0, 28.0), (60.0, 14.5), (120.0, 1.0)]
    """
    if len(values) < 2:
        return []
    top = max(*values, 1e-9)
    step = WIDTH / (len(values) - 1)
    return [(round(i * step, 1), round(HEIGHT - (HEIGHT - 1) * value / top, 1)) for i, value in enumerate(values)]


def _told(points: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{x},{y}" for x, y in points)
