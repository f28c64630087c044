"""The account of a curation: where every labelled row went, and why. It has a bound, however many rows there are.

Each labelled row is counted once: among the rows that teach in some candidate, in the validation, in the holdout, or
under one reason for which it is left out.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa

from policies.file.curation import Curate
from policies.file.shapes import Part
from service.training.curating.choosing import REASONS, Choice, View
from service.training.curating.parts import Parts
from service.training.curating.telling import Account, choice_of, listing, part_of, suspects
from service.training.curating.usable import Gone

OLDER = "older_than_every_candidate"
EXAMPLES = 5
"""Ids of each reason that a retraining's record has room for."""


@dataclass(frozen=True, eq=False)
class Curation:
    """What was done: to so many `labelled` rows, of which `rows` are usable; `choices` are the candidates."""

    labelled: int
    rows: pa.Table
    gone: Gone
    parts: Parts
    view: View
    choices: Mapping[str, Choice]
    rules: Curate
    change_started: datetime | None

    def excluded(self) -> dict[str, pa.ChunkedArray]:
        """The ids of the rows that are in no part, by the reason.

        A row that several candidates leave out has the reason of the longest.
        """
        reason = np.full(self.parts.end, len(REASONS))
        teaches = np.zeros(self.parts.end, dtype=bool)
        for choice in sorted(self.choices.values(), key=lambda choice: choice.end - choice.begin):
            reason[choice.begin : choice.end] = choice.reasons
            teaches[choice.taken] = True
        left = np.flatnonzero(~teaches)
        ids = self.rows.column("prediction_id")
        named = {name: left[reason[left] == place] for place, name in enumerate((*REASONS, OLDER))}
        return self.gone | {name: ids.take(pa.array(places)) for name, places in named.items()}

    def reasons(self) -> str:
        """The same in words."""
        return said({reason: len(ids) for reason, ids in self.excluded().items()})


def said(counts: Mapping[str, int]) -> str:
    """How many rows were left out for what."""
    return ", ".join(f"{count:,} {reason}" for reason, count in counts.items() if count) or "none excluded"


def account(done: Curation, cuts: Sequence[Sequence[str]], target: str) -> Account:
    """The account, with the rows of each segment of the cuts."""
    rows, view, parts, excluded = done.rows, done.view, done.parts, done.excluded()
    every, conflicting = np.arange(rows.num_rows), view.conflicting()
    told = {
        "rows": done.labelled,
        "excluded": {reason: len(ids) for reason, ids in excluded.items() if len(ids) or reason not in REASONS},
        "left_out": {reason: listing(ids) for reason, ids in excluded.items() if len(ids)},
        "training": parts.end - sum(len(excluded[reason]) for reason in (*REASONS, OLDER)),
        "conflicting": int(conflicting.sum()),
        "conflicts": listing(rows.column("prediction_id").filter(pa.array(conflicting))),
        "repeated": rows.num_rows - int(view.equal.max(initial=-1)) - 1,
        "suspicious": suspects(rows, view, every),
        "change_started": None if done.change_started is None else done.change_started.astimezone(UTC).isoformat(),
        "holdout_copies": _copies(view, parts),
        "rules": Part(Curate).write(done.rules),
    }
    told["parts"] = {
        name: part_of(rows, view, choice.taken, cuts, target) | choice_of(rows, view, choice, done.rules, cuts, target)
        for name, choice in done.choices.items()
    }
    held = parts.rows - parts.held
    for name, places in (("validation", every[parts.end : held]), ("holdout", every[held:])):
        told["parts"][name] = part_of(rows, view, places, cuts, target)
    return told


def shorten(told: Account) -> Account:
    """The account with the first `EXAMPLES` of each list."""
    return {
        key: shorten(value) if isinstance(value, dict) else value[:EXAMPLES] if isinstance(value, list) else value
        for key, value in told.items()
    }


def _copies(view: View, parts: Parts) -> int:
    """Rows that may teach and equal a holdout row in features and label."""
    return int(np.isin(view.equal[: parts.end], view.equal[parts.rows - parts.held :]).sum())
