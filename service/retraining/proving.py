"""Proving a challenger ready: cases that must pass, latency and size, recent traffic, and whether being right helps."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from monitors.columns.kinds import bare_name
from monitors.readings import FloatArray, IntArray
from policies.file.policy import Policy
from policies.gate import (
    Alignment,
    Distribution,
    FailedCase,
    Readiness,
    align,
    compare_classes,
    compare_numbers,
)
from service.house import House
from service.intake.joining.outcomes import said
from service.ledger.records import Retraining
from service.retraining.asking import CASE, HOLDOUT
from service.training.cases import is_right
from service.training.comparing import outcomes
from service.training.models import Model
from service.training.readiness import latency_p95

OUTCOME_DAYS = 30
_MOST_CASES = 50
"""Failed cases that a verdict tells; it counts all of them."""


@dataclass(frozen=True, eq=False)
class Answered:
    """Rows that were asked, and beside each what the challenger answered: prediction, maybe confidence and score_*."""

    rows: pa.Table
    answers: pa.Table

    def of(self, part: str) -> "Answered":
        """Those of one part of `Asked`."""
        return self.filter(pc.equal(self.rows.column("part"), part))

    def filter(self, mask: pa.ChunkedArray) -> "Answered":
        """Some of them."""
        return Answered(self.rows.filter(mask), self.answers.filter(mask))


def readiness_of(
    house: House,
    policy: Policy,
    retraining: Retraining,
    answered: Answered,
    model: Model | None,
    size_bytes: int | None,
    unmeasured: Mapping[str, str],
) -> Readiness:
    """Everything that the gate weighs beside the holdout. Raises ArchiveAway."""
    cases = answered.of(CASE)
    is_timed = policy.gate.latency_p95 is not None and model is not None
    return Readiness(
        cases=cases.rows.num_rows,
        failed=failures_of(policy.task.kind, cases)[:_MOST_CASES],
        latency_p95=latency_p95(model, answered.of(HOLDOUT).rows) if is_timed and model else None,
        size_bytes=size_bytes,
        distribution=distribution_of(policy.task.kind, answered),
        alignment=alignment_of(house, policy, retraining),
        unmeasured=unmeasured,
    )


def failures_of(task: str, cases: Answered) -> tuple[FailedCase, ...]:
    """The cases that came out wrong, in the order of their file."""
    if not cases.rows.num_rows:
        return ()
    answers = cases.answers.column("prediction")
    right = is_right(task, answers, cases.rows.column("label"))
    rows = cases.rows.to_pylist()
    return tuple(
        FailedCase(row["case_name"], row["case_segment"], _features(row), row["label"], answer)
        for row, answer, passed in zip(rows, answers.to_pylist(), right, strict=True)
        if not passed
    )


def distribution_of(task: str, answered: Answered) -> Distribution:
    """What both say of the recent rows, beside the labels of the holdout."""
    recent, holdout = answered.filter(answered.rows.column("is_recent")), answered.of(HOLDOUT)
    labels, served = holdout.rows.column("label"), recent.rows.column("prediction")
    now = recent.answers.column("prediction")
    if task == "regression":
        return compare_numbers(*(_numbers(values) for values in (served, now, labels)))
    columns = [pc.cast(each, pa.string()) for each in (served, now, labels, holdout.answers.column("prediction"))]
    classes = sorted({name for each in columns for name in pc.unique(each).to_pylist() if name is not None})
    return compare_classes(classes, *(_counts(each, classes) for each in columns))


def alignment_of(house: House, policy: Policy, retraining: Retraining) -> Alignment | None:
    """Whether users fared better after right predictions than after wrong ones, on the labelled rows of the last days;
    of a regression after the closer half. None where the policy names no outcome.
    """
    field, until = policy.task.outcome, retraining.opened_at
    if not field:
        return None
    since = until - timedelta(days=OUTCOME_DAYS)
    rows = house.archive.labelled(retraining.model, since, until, columns=["prediction", "outcome"])
    rows = rows.filter(pc.and_(pc.is_valid(rows.column("outcome")), pc.is_valid(rows.column("prediction"))))
    values = [said(text, field) for text in rows.column("outcome").to_pylist()]
    has_number = np.array([isinstance(value, float) for value in values], dtype=bool)
    rows = rows.filter(pa.array(has_number))
    right = outcomes(policy.task.kind, rows.column("prediction"), rows)
    if policy.task.kind == "regression" and len(right):
        right = (right <= np.median(right)).astype(np.float64)
    return align(field, right, np.array([value for value in values if isinstance(value, float)], dtype=np.float64))


def _features(row: Mapping[str, object]) -> dict[str, object]:
    named = {bare_name(name): value for name, value in row.items() if name.startswith("feature_")}
    return {name: value for name, value in named.items() if value is not None}


def _counts(values: pa.ChunkedArray, classes: list[str]) -> IntArray:
    places = pc.drop_null(pc.index_in(values, value_set=pa.array(classes, pa.string())))
    return np.bincount(places.to_numpy(), minlength=len(classes)).astype(np.int64)


def _numbers(values: pa.ChunkedArray) -> FloatArray:
    return np.asarray(pc.drop_null(pc.cast(values, pa.float64())).to_numpy(), dtype=np.float64)
