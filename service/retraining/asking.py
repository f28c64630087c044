"""Asking: the rows that a challenger has to answer for, whoever trained it, and what is known of them."""

from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from policies.file.policy import Policy
from service.house import House
from service.ledger.records import Retraining
from service.training.cases import Case, expected, features_of, read_cases
from service.training.curate import Curated

RECENT_ROWS = 1_000
"""Rows of recent traffic, so many that a class of one per cent shows."""
_SPANS = (1, 4, 16, 64, 256, 1_024)
"""Slices that are looked back for them, until there are enough."""
_LONGEST = timedelta(days=30)
HOLDOUT, RECENT, CASE = "holdout", "recent", "case"
_CASE_ID = "tidegate:must-pass:"
_SEEN = ("feature_", "tag_")


@dataclass(frozen=True, eq=False)
class Asked:
    """The rows a challenger is asked about: the holdout, the cases that must pass, and a sample of recent traffic.

    `known` is all that is known of them, the answers among it: no trainer may see it. A row of it has `prediction_id`,
    `timestamp`, `feature_*`, `tag_*`; `part`, which is holdout, recent or case; `is_recent` for the sample of recent
    traffic, rows of the holdout among them; `label`, of a case what it must lead to, null for recent rows; what
    was served: `model_version`, `prediction`, `confidence`, `score_*`, `outcome`; and a case's `case_name` and
    `case_segment`. It can be written to a file and read back.
    """

    known: pa.Table

    @property
    def unseen(self) -> pa.Table:
        """What a trainer is given of them: `prediction_id`, `timestamp`, features and tags."""
        names = [name for name in self.known.column_names if name.startswith(_SEEN)]
        return self.known.select(["prediction_id", "timestamp", *names])

    def part(self, name: str) -> pa.Table:
        """The rows of one part: holdout, recent or case."""
        return self.known.filter(pc.equal(self.known.column("part"), name))


def rows_to_ask(house: House, policy: Policy, retraining: Retraining, curated: Curated) -> Asked:
    """The rows that the challenger of a retraining is asked about; the same however often it is called.

    Raises:
        BadCases: the policy's file of cases cannot be used.
        ArchiveAway: recent rows cannot be read now.
    """
    holdout = _usable(curated.holdout)
    recent = _recent_rows(house, policy, retraining, holdout.schema)
    is_known = pc.is_in(recent.column("prediction_id"), value_set=_ids(holdout))
    known_too = pc.is_in(holdout.column("prediction_id"), value_set=_ids(recent))
    parts = [
        _marked(holdout, HOLDOUT, known_too),
        _marked(recent.filter(pc.invert(is_known)), RECENT),
    ]
    if policy.gate.must_pass:
        cases = read_cases(house.settings.policies / policy.gate.must_pass)
        parts.append(_marked(_rows_of(cases, holdout.schema, policy.task.kind, retraining.opened_at), CASE))
    return Asked(pa.concat_tables(parts, promote_options="default").combine_chunks())


def _usable(holdout: pa.Table) -> pa.Table:
    """With what served the rows as columns, whatever they are from."""
    missing = {"confidence": pa.float64(), "outcome": pa.string(), "model_version": pa.string()}
    for name, kind in missing.items():
        if name not in holdout.column_names:
            holdout = holdout.append_column(name, pa.nulls(holdout.num_rows, kind))
        elif pa.types.is_null(holdout.field(name).type):
            holdout = holdout.set_column(holdout.column_names.index(name), name, pa.nulls(holdout.num_rows, kind))
    return holdout


def _recent_rows(house: House, policy: Policy, retraining: Retraining, schema: pa.Schema) -> pa.Table:
    """A sample, evenly over time, of what the champion served last before the retraining was opened."""
    until, rows = retraining.opened_at, None
    for slices in _SPANS:
        span = min(slices * policy.window.slice, _LONGEST)
        rows = house.archive.predictions(retraining.model, until - span, until, version=retraining.champion)
        if rows.num_rows >= RECENT_ROWS or span == _LONGEST:
            break
    if rows is None or not rows.num_rows:
        return schema.empty_table()
    places = np.unique(np.linspace(0, rows.num_rows - 1, min(rows.num_rows, RECENT_ROWS)).round().astype(np.int64))
    return _under(rows.take(pa.array(places)), schema)


def _under(rows: pa.Table, schema: pa.Schema) -> pa.Table:
    """The rows under the holdout's columns: a value of another type is missing, as it is for a model."""
    columns = {}
    for field in schema:
        there = field.name in rows.column_names and field.name not in {"label", "labelled_at", "outcome"}
        columns[field.name] = _as(rows.column(field.name), field.type) if there else pa.nulls(rows.num_rows, field.type)
    return pa.table(columns, schema=schema)


def _as(values: pa.ChunkedArray, kind: pa.DataType) -> pa.ChunkedArray:
    try:
        return pc.cast(values, kind)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return pa.chunked_array([pa.nulls(len(values), kind)])


def _rows_of(cases: list[Case], schema: pa.Schema, task: str, at: datetime) -> pa.Table:
    features = features_of(cases, schema)
    own = {
        "prediction_id": pa.array([f"{_CASE_ID}{number}" for number in range(1, len(cases) + 1)]),
        "timestamp": pa.array([at] * len(cases), schema.field("timestamp").type),
        "label": pa.array(expected(cases, task), schema.field("label").type),
        "case_name": pa.array([case.name for case in cases], pa.string()),
        "case_segment": pa.array([case.segment for case in cases], pa.string()),
    }
    return pa.table(own | {name: features.column(name) for name in features.column_names})


def _marked(rows: pa.Table, part: str, recent: pa.ChunkedArray | None = None) -> pa.Table:
    flags = pa.chunked_array([pa.array([part == RECENT] * rows.num_rows)]) if recent is None else recent
    return rows.append_column("part", pa.array([part] * rows.num_rows, pa.string())).append_column("is_recent", flags)


def _ids(rows: pa.Table) -> pa.Array:
    return rows.column("prediction_id").combine_chunks()
