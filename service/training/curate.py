"""Curate: from all labelled rows to what may train, what may choose, and what may only judge.

    oldest ───────────────────────── change ────────────────────────────────── newest
            history / last_window ─────────── after_change ──┤ validation ┤ holdout

The holdout is the newest part of the rows after the change, the validation the newest part of what remains, and every
training candidate ends before the validation begins: a model is chosen and judged on rows later than those it learned
from, as it will be used. No prediction id is in two of the three. The policy's rules say which rows teach; the rows
that choose and judge stay as they came, and what is odd about them is only told: a holdout without the labels that a
model finds unlikely would flatter it.
"""

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType

import numpy as np
import pyarrow as pa

from policies.file.curation import Curate
from service.training.curating.account import Curation, account, said, shorten
from service.training.curating.choosing import Choice, View, choose, rows_at, view_of, weights_of
from service.training.curating.digests import digest_ids
from service.training.curating.parts import LEAST_TRAINING, MOST_HOLDOUT, Parts, cut_parts
from service.training.curating.suspicion import Suspicion, nothing_suspected, suspect
from service.training.curating.usable import micros_of, microseconds, usable_rows
from service.training.lessons import WEIGHT
from service.training.training_errors import NotEnoughRows

__all__ = ["LEAST_TRAINING", "MOST_HOLDOUT", "Curated", "curate", "digest_ids"]

_AS_THEY_COME = Curate()
_NO_KINDS: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, eq=False)
class Curated:
    """Training candidates by name, validation and holdout (all in time order), and the account of every row.

    `whole` holds each candidate with nothing held back: the stretch of the same kind that ends with the newest row.
    `aside` are the rows of each candidate's stretch that do not teach it, which were traffic all the same. `manifest`
    is the account that fits into a record, `listing` the same with more ids.
    """

    candidates: Mapping[str, pa.Table]
    whole: Mapping[str, pa.Table]
    aside: Mapping[str, pa.Table]
    validation: pa.Table
    holdout: pa.Table
    manifest: Mapping[str, object] = field(repr=False)
    listing: Mapping[str, object] = field(repr=False)


def curate(
    labelled: pa.Table,
    *,
    change_started: datetime | None,
    fault_slices: AbstractSet[int],
    slice_seconds: int,
    rules: Curate = _AS_THEY_COME,
    task: str = "classification",
    columns: Mapping[str, str] = _NO_KINDS,
    holdout_share: float = 0.3,
    validation_share: float = 0.3,
    window_rows: int = 2_000,
    cuts: Sequence[Sequence[str]] = (),
    target: str = "prediction",
) -> Curated:
    """The rows of a retraining.

    `labelled` holds predictions joined with their labels: prediction_id, timestamp, prediction, feature_*, tag_*,
    label, labelled_at. `change_started` (aware) is when the world changed; None (a retraining by hand) takes all rows
    as after it. `fault_slices` are the starts (unix seconds) of slices with broken input: their rows are left out.
    Of several labels of one prediction the last to arrive counts. `rules` are the policy's, applied to each candidate
    alone; `columns` are kinds by bare name. Segments of `cuts` are counted in the manifest.

    A training row that equals a holdout row in features and label but has another id stays, and is counted: frequent
    inputs are part of the traffic, and a table of few categories has nothing else.

    Raises:
        NotEnoughRows: the holdout, the validation or all candidates would be too small; the message says by how much.
        TrainingData: the policy names a column that the rows do not have.
    """
    rows, gone = usable_rows(labelled, fault_slices, slice_seconds)
    began = 0 if change_started is None else int(np.searchsorted(microseconds(rows), micros_of(change_started)))
    parts = cut_parts(
        rows.num_rows,
        began,
        said({reason: len(ids) for reason, ids in gone.items()}),
        holdout_share=holdout_share,
        validation_share=validation_share,
        window=window_rows,
    )
    view = view_of(rows, rules, _suspicion(rows, parts, rules, task, columns), target)
    tried = {n: choose(view, parts.end - length, parts.end, rules) for n, length in parts.stretches().items()}
    choices = {name: choice for name, choice in tried.items() if len(choice.taken) >= LEAST_TRAINING}
    done = Curation(labelled.num_rows, rows, gone, parts, view, choices or tried, rules, change_started)
    if not choices:
        most = max((len(choice.taken) for choice in tried.values()), default=parts.end)
        raise NotEnoughRows("labelled rows to train on", most, LEAST_TRAINING, done.reasons())
    lengths = parts.whole_stretches()
    whole = {name: choose(view, rows.num_rows - lengths[name], rows.num_rows, rules) for name in choices}
    listing = account(done, cuts, target)
    return Curated(
        candidates={name: _table(rows, view, choice, rules) for name, choice in choices.items()},
        whole={name: _table(rows, view, choice, rules) for name, choice in whole.items()},
        aside={name: rows_at(rows, choice.not_taken) for name, choice in choices.items()},
        validation=rows.slice(parts.end, parts.tried),
        holdout=rows.slice(parts.end + parts.tried),
        manifest=shorten(listing),
        listing=listing,
    )


def _suspicion(rows: pa.Table, parts: Parts, rules: Curate, task: str, columns: Mapping[str, str]) -> Suspicion:
    if rules.suspicious == "ignore":
        return nothing_suspected(rows.num_rows, "the policy says ignore")
    return suspect(rows, parts.end, parts.began, task, columns)


def _table(rows: pa.Table, view: View, choice: Choice, rules: Curate) -> pa.Table:
    """The chosen rows, with how much each counts where that differs."""
    table = rows_at(rows, choice.taken)
    weights = weights_of(view.micros[choice.taken], rules)
    return table if weights is None else table.append_column(WEIGHT, pa.array(weights))
