"""Which columns together: what tells a window's rows from the baseline's, kept beside the report of a decision.

`prepare` writes the rows and columns that are needed to the decision's folder, `run` reads them in the report's child
process and writes `together.json`, `read` gives it to pages and routes, `as_html` puts it on top of the report.

In the folder: `before.parquet`, `now.parquet`, `together.columns.json` (from `prepare`); `together.json` (from `run`).
"""

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from monitors.baseline.baselines import Baseline
from monitors.columns.column import from_plain, to_plain
from monitors.counting.segments import ALL
from monitors.reading.domain import FEWEST_ROWS, DomainReading, tell_apart
from service.training.comparing import masks_of

ROWS = 10_000
"""Rows of a side at most that are kept: those told apart, and those that teach what is derived from texts."""
_FILES = ("before.parquet", "now.parquet")
_TEMPLATES = Path(__file__).parents[1] / "web" / "templates"
_COLUMNS, _READING = "together.columns.json", "together.json"


@dataclass(frozen=True)
class Together:
    """A domain reading of one segment; None where there were too few rows or nothing varied."""

    segment: str
    reading: DomainReading | None

    @property
    def sentence(self) -> str:
        """What was found, in one sentence for people."""
        read = self.reading
        if read is None:
            return f"{self.segment}: too few rows to tell the window's from the baseline's."
        if not read.together:
            return (
                f"{self.segment}: nothing tells the window's rows from the baseline's with evidence: {_auc(read.auc)}."
            )
        columns = list(read.together)
        said = f"{columns[0]} tells" if len(columns) == 1 else f"{_list(columns)} together tell"
        found = f"{self.segment}: {said} the window's rows from the baseline's: {_auc(read.together_auc)}"
        alone = {part.column: part.alone for part in read.columns if part.alone is not None}
        each = ", ".join(f"{name} alone {alone[name]:.2f}" for name in columns if name in alone)
        return f"{found}; {each}." if len(columns) > 1 else f"{found}."


def prepare(
    folder: Path,
    baseline: Baseline,
    before: pa.Table,
    now: pa.Table,
    segments: Sequence[str],
    ignored: Collection[str] = (),
) -> None:
    """Writes a sample of the rows of one segment for `run`: of the first with rows enough on both sides, else of all.

    `before` are rows of the baseline, `now` of the window; `ignored` columns are not looked at, nor those whose values
    in the baseline are not as served.
    """
    masks = [masks_of(baseline, table) for table in (before, now)]
    enough = (s for s in segments if all(s in mask and mask[s].sum() >= 2 * FEWEST_ROWS for mask in masks))
    segment = next(enough, ALL)
    for table, mask, file in zip((before, now), masks, _FILES, strict=True):
        pq.write_table(_sample(table.filter(pa.array(mask[segment]))), folder / file)
    columns = [c for c in baseline.layout.columns if c.name not in {*ignored, *baseline.unread}]
    (folder / _COLUMNS).write_text(json.dumps({"segment": segment, "columns": to_plain(columns)}))


def run(folder: Path) -> None:
    """Writes `together.json` of a prepared folder; nothing where `prepare` wrote nothing."""
    if not (folder / _COLUMNS).is_file():
        return
    said = json.loads((folder / _COLUMNS).read_text())
    before, now = (pq.read_table(folder / file) for file in _FILES)
    reading = tell_apart(before, now, from_plain(said["columns"]), np.random.default_rng(0))
    draft = folder / "together.draft"
    draft.write_bytes(msgspec.json.encode(Together(said["segment"], reading)))
    draft.replace(folder / _READING)


def read(folder: Path) -> Together | None:
    """What `run` wrote; None where there is nothing that can be read."""
    try:
        return msgspec.json.decode((folder / _READING).read_bytes(), type=Together)
    except (FileNotFoundError, msgspec.DecodeError):
        return None


def as_html(found: Together) -> str:
    """The sentence and a small table, as a part of a page."""
    pages = Environment(loader=FileSystemLoader(_TEMPLATES), autoescape=True, undefined=StrictUndefined)
    return pages.get_template("together.html").render(together=found)


def _sample(table: pa.Table) -> pa.Table:
    if table.num_rows <= ROWS:
        return table
    return table.take(np.sort(np.random.default_rng(0).choice(table.num_rows, ROWS, replace=False)))


def _auc(value: float) -> str:
    return f"AUC {value:.2f}"


def _list(names: list[str]) -> str:
    return f"{', '.join(names[:-1])} and {names[-1]}"
