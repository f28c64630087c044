"""The picture of a backtest: one lane a policy over time, what was so in fact below. A self-contained SVG."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

WIDTH, LEFT, RIGHT, TOP, LANE = 1000, 150, 24, 62, 74
LEAST_WIDTH = 2.0
_STEPS = (timedelta(hours=1), timedelta(hours=6), timedelta(days=1), timedelta(days=2), timedelta(days=7))
_MOST_TICKS = 11
_LONG_STEP = timedelta(days=28)


@dataclass(frozen=True)
class Scale:
    """Time to x."""

    begin: datetime
    end: datetime

    def x(self, at: datetime | str | None) -> float:
        """Where a moment is; those outside of the span are at its ends."""
        moment = self.end if at is None else datetime.fromisoformat(at) if isinstance(at, str) else at
        part = (moment - self.begin) / max(self.end - self.begin, timedelta(seconds=1))
        return round(LEFT + min(max(part, 0.0), 1.0) * (WIDTH - LEFT - RIGHT), 1)

    def width(self, begin: str, end: str) -> float:
        """Of a stretch, never too narrow to be seen."""
        return max(LEAST_WIDTH, round(self.x(end) - self.x(begin), 1))

    def ticks(self) -> Iterator[tuple[float, str]]:
        """Moments to write below the axis."""
        span = self.end - self.begin
        step = next((each for each in _STEPS if span / each <= _MOST_TICKS), _LONG_STEP)
        seconds = int(step.total_seconds())
        first = -(-int(self.begin.timestamp()) // seconds) * seconds
        for at in range(first, int(self.end.timestamp()) + 1, seconds):
            moment = datetime.fromtimestamp(at, UTC)
            yield self.x(moment), f"{moment:%b %d}" if step >= timedelta(days=1) else f"{moment:%d. %H:%M}"


def draw(found: Mapping[str, Any]) -> str:
    """The SVG of what `service.backtest_view.view` gave."""
    begin, end = (datetime.fromisoformat(found[name]) for name in ("since", "until"))
    lanes = [(TOP + place * LANE, policy) for place, policy in enumerate(found["policies"])]
    return _PICTURES.get_template("backtest.svg").render(
        found=found,
        scale=Scale(begin, end),
        lanes=lanes,
        facts=TOP + len(lanes) * LANE,
        width=WIDTH,
        left=LEFT,
        right=WIDTH - RIGHT,
        top=TOP,
        height=TOP + len(lanes) * LANE + 96,
    )


_PICTURES = Environment(
    loader=FileSystemLoader(Path(__file__).parents[1] / "web" / "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
