"""Demo page: headings, paragraphs, tables and bars, on a terminal or in a plain file."""

from collections.abc import Iterator
from contextlib import contextmanager
from textwrap import wrap

from rich.console import Console
from rich.padding import Padding
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

_WIDEST = 100
"""Longer lines are hard to read, however wide the terminal is."""


class Page:
    """Writes on one console, with one free line between parts. Nothing that is said is markup."""

    def __init__(self, console: Console) -> None:
        if not console.is_terminal:
            console.width = _WIDEST  # a file has no width of its own
        self._console = console
        self._is_apart = False

    def title(self, text: str) -> None:
        """A heading across the page."""
        if not self._is_apart:
            self._console.print()
        self._is_apart = False
        self._console.rule(Text(text, "bold"), align="left", characters="-")

    def say(self, text: str = "", style: str = "", indent: int = 2, hang: int = 0) -> None:
        """One paragraph, all lines but the first `hang` deeper. Paths and addresses stay whole; nothing is markup."""
        margins = " " * indent, " " * (indent + hang)
        width = min(self._console.width, _WIDEST)
        lines = wrap(
            text,
            width,
            initial_indent=margins[0],
            subsequent_indent=margins[1],
            break_long_words=False,
            break_on_hyphens=False,
        )
        for line in lines or [""]:
            self._console.print(Text(line, style), soft_wrap=True)
        self._is_apart = False

    def table(self, table: Table) -> None:
        """A table, with a free line after it."""
        self._console.print(Padding(table, (0, 0, 0, 2), expand=False), highlight=False)
        self._console.print()
        self._is_apart = True

    @contextmanager
    def bar(self, says: str, total: int | None) -> Iterator[Progress]:
        """A progress bar while something runs; nothing without a terminal."""
        columns = TextColumn("  {task.description:<48}", markup=False), BarColumn(bar_width=30), TimeElapsedColumn()
        off = not self._console.is_terminal
        with Progress(*columns, console=self._console, transient=True, disable=off) as progress:
            progress.add_task(says, total=total)
            yield progress
