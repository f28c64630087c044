"""Suspicious labels: those that models which have not seen them find very unlikely, while they are sure of another.

For labels the rule of confident learning (Northcutt, Jiang, Chuang: Confident Learning: Estimating Uncertainty in
Dataset Labels, Journal of Artificial Intelligence Research 70, 2021): a row is confidently of label j where its
probability p_j is at least t_j, the mean p_j of the rows labelled j; it is suspicious where the likeliest such j is
not the label it was given, and, stricter than there, the given label has a probability below `UNLIKELY`. For numbers:
a residual of more than `FAR` robust standard deviations (1.4826 times the median absolute residual).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa

from monitors.readings import FloatArray, IntArray
from service.training.checkpoints import BoolArray
from service.training.features import encode
from service.training.lessons import labels_of
from service.training.models import REGRESSION, Model
from service.training.trainers import refit
from service.training.training_errors import TrainingError

UNLIKELY = 0.1
FAR = 8.0
FOLDS = 5
LOOKED_AT = 10_000
"""The newest so many rows on each side of a change are looked at; of texts with 100 labels they take 5 s."""
LEAST_ROWS = 200
LEAST_OF_LABEL = 10
"""A label with fewer rows is not judged: its own rows would be all that speaks for it."""
MOST_LABELS = 1_000
_STEP = 3


@dataclass(frozen=True, eq=False)
class Suspicion:
    """Which rows are suspicious, which were looked at, and of each how likely its label is and which one is likelier.

    Of a regression `likelihood` is a distance: how far the number lies from what was expected, in robust standard
    deviations, and `rather` what was expected. `why_not` says why nothing could be looked at.
    """

    rows: BoolArray
    looked_at: BoolArray
    likelihood: FloatArray
    rather: Any
    why_not: str = ""
    is_distance: bool = False

    @property
    def doubt(self) -> FloatArray:
        """The larger, the more suspicious."""
        return self.likelihood if self.is_distance else -self.likelihood


def nothing_suspected(rows: int, why_not: str = "") -> Suspicion:
    """No row was looked at."""
    return Suspicion(
        np.zeros(rows, bool), np.zeros(rows, bool), np.full(rows, np.nan), np.full(rows, None, dtype=object), why_not
    )


def suspect(rows: pa.Table, taught: int, changed: int, task: str, columns: Mapping[str, str]) -> Suspicion:
    """The suspicious labels among rows in time order, which all have a label.

    The first `taught` rows may teach: each of them is judged by models of the others. The rest, which chooses and
    judges models, is judged by models of those and teaches none of them. Rows before and from `changed` on are of two
    worlds, and never judge each other.
    """
    n, changed = rows.num_rows, min(changed, taught)
    found = replace(nothing_suspected(n), is_distance=task == REGRESSION)
    problems: list[str] = []
    for first, middle, end in ((0, changed, changed), (changed, taught, n)):
        begin = max(first, middle - LOOKED_AT)
        if middle - begin < LEAST_ROWS:
            continue
        try:
            _suspect_side(rows.slice(begin, end - begin), middle - begin, (task, columns), found, begin)
        except TrainingError as error:
            problems.append(str(error))
    if found.looked_at.any():
        return found
    return replace(found, why_not="; ".join(problems) or f"there are fewer than {LEAST_ROWS} rows of one world")


def _suspect_side(
    rows: pa.Table, taught: int, how: tuple[str, Mapping[str, str]], found: Suspicion, begin: int
) -> None:
    labels, _ = labels_of(rows, how[0])
    judge = _judge_numbers if how[0] == REGRESSION else _judge_labels
    suspicious, looked_at, likelihood, rather = judge(rows, labels, taught, how)
    places = slice(begin, begin + rows.num_rows)
    found.rows[places], found.looked_at[places] = suspicious, looked_at
    found.likelihood[places], found.rather[places] = likelihood, rather


def _folds(rows: pa.Table, taught: int, how: tuple[str, Mapping[str, str]]) -> Iterator[tuple[Model, BoolArray]]:
    """Models, and the rows that each is asked about: none that it has seen."""
    fold = np.random.default_rng(0).permutation(rows.num_rows) % FOLDS
    may_teach = np.arange(rows.num_rows) < taught
    for k in range(FOLDS):
        teach = pa.array(may_teach & (fold != k))
        yield refit(rows.filter(teach), task=how[0], columns=how[1], step=_STEP), fold == k


def _judge_labels(
    rows: pa.Table,
    labels: Any,  # noqa: ANN401  an array of strings
    taught: int,
    how: tuple[str, Mapping[str, str]],
) -> tuple[BoolArray, BoolArray, FloatArray, Any]:
    classes, given = np.unique(labels, return_inverse=True)
    if len(classes) > MOST_LABELS:
        raise TrainingError(
            f"{len(classes):,} labels are too many to look for suspicious ones; {MOST_LABELS:,} are not"
        )
    shares = np.zeros((len(given), len(classes)), dtype=np.float32)
    places = {label: i for i, label in enumerate(classes.tolist())}
    for model, asked in _folds(rows, taught, how):
        answered = model.linear.probabilities(encode(model.blocks, rows.filter(pa.array(asked))))
        known = np.asarray([places[label] for label in model.classes])
        shares[np.flatnonzero(asked)[:, None], known] = answered
    return _disagree(shares, given, np.bincount(given[:taught], minlength=len(classes)), classes)


def _disagree(
    shares: Any,  # noqa: ANN401  an array of 32-bit numbers
    given: IntArray,
    seen: IntArray,
    classes: Any,  # noqa: ANN401  an array of strings
) -> tuple[BoolArray, BoolArray, FloatArray, Any]:
    own = shares[np.arange(len(given)), given].astype(np.float64)
    rows_of = np.maximum(np.bincount(given, minlength=len(classes)), 1)
    usual = np.bincount(given, weights=own, minlength=len(classes)) / rows_of
    confident = np.where(shares >= usual, shares, 0.0)
    rather = confident.argmax(axis=1)
    looked_at = seen[given] >= LEAST_OF_LABEL
    suspicious = looked_at & (confident.max(axis=1) > 0) & (rather != given) & (own < UNLIKELY)
    return suspicious, looked_at, own, classes[rather].astype(object)


def _judge_numbers(
    rows: pa.Table, labels: FloatArray, taught: int, how: tuple[str, Mapping[str, str]]
) -> tuple[BoolArray, BoolArray, FloatArray, Any]:
    expected = np.zeros(len(labels))
    for model, asked in _folds(rows, taught, how):
        expected[asked] = model.predict(rows.filter(pa.array(asked))).column("prediction").to_numpy()
    away = np.abs(labels - expected)
    usual = 1.4826 * float(np.median(away)) or 1.0
    return away > FAR * usual, np.ones(len(labels), bool), away / usual, expected.astype(object)
