"""What a model report is made of: plain values, so that both renderings say the same."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

SHOWN = 15
"""Rows of a table that are shown at once; the others are folded away, and counted where nothing can be folded."""


@dataclass(frozen=True)
class Column:
    """A column of a table; numbers stand to the right."""

    name: str
    is_number: bool = False


@dataclass(frozen=True)
class Table:
    """Cells in words, row by row. A cell that is an answer, like `worse`, is marked where colours can be shown."""

    caption: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[str, ...], ...]

    @property
    def first(self) -> tuple[tuple[str, ...], ...]:
        """The rows that are shown at once."""
        return self.rows[:SHOWN]

    @property
    def rest(self) -> tuple[tuple[str, ...], ...]:
        """The others."""
        return self.rows[SHOWN:]


@dataclass(frozen=True)
class Point:
    """A checkpoint on the picture: where it is drawn, and what it says."""

    x: float
    y: float
    says: str
    is_best: bool


@dataclass(frozen=True)
class Line:
    """One candidate's checkpoints."""

    name: str
    points: tuple[Point, ...]

    @property
    def path(self) -> str:
        """As SVG's polyline takes it."""
        return " ".join(f"{point.x:g},{point.y:g}" for point in self.points)


@dataclass(frozen=True)
class Curve:
    """The training curve: lines in a box of 640 x 220, with marks on its two axes."""

    title: str
    lines: tuple[Line, ...]
    marks_x: tuple[tuple[float, str], ...]
    marks_y: tuple[tuple[float, str], ...]


@dataclass(frozen=True)
class Section:
    """A part with a title: sentences, tables, points of a list, and maybe a picture."""

    title: str
    says: tuple[str, ...] = ()
    tables: tuple[Table, ...] = ()
    points: tuple[str, ...] = ()
    curve: Curve | None = None

    @property
    def anchor(self) -> str:
        """Its name in a link."""
        return "".join(c if c.isalnum() else "-" for c in self.title.lower())


@dataclass(frozen=True)
class ModelReport:
    """One challenger, judged. `answer` is passed, refused or not judged; `refusals` and `warnings` are sentences."""

    title: str
    answer: str
    headline: str
    facts: tuple[tuple[str, str], ...]
    refusals: tuple[str, ...]
    warnings: tuple[str, ...]
    sections: tuple[Section, ...]


def table_of(
    caption: str, columns: Mapping[str, bool], rows: Sequence[Sequence[str]], *, keep_empty: bool = False
) -> Table:
    """A table of `columns` (name: whether it holds numbers), without those that are empty all the way down."""
    cells = [tuple(row) for row in rows]
    kept = [at for at in range(len(columns)) if keep_empty or any(row[at] not in {"", "-"} for row in cells)]
    named = [Column(name, is_number) for name, is_number in columns.items()]
    return Table(caption, tuple(named[at] for at in kept), tuple(tuple(row[at] for at in kept) for row in cells))
