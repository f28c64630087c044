"""Lesson: labelled rows, encoded, and what they teach."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from monitors.columns.values import text_of
from monitors.readings import FloatArray
from service.training.checkpoints import BoolArray
from service.training.feature_blocks import Matrix
from service.training.features import Block, encode, learn_blocks
from service.training.linear_fit import Step, fit_classes, fit_numbers
from service.training.models import CLASSIFICATION, REGRESSION, Model
from service.training.training_errors import BadLabels, LossNotFinite, NoTrainingRows, OneClassOnly, TrainingData

WEIGHT = "weight"
"""The column of training rows that says how much each counts; where it or a value is not there, a row counts 1."""


@dataclass(frozen=True, eq=False)
class Lesson:
    """Encoded training rows and what they teach: label numbers, or numbers on the scale of the fit.

    `weights` say how much each row counts, 1 on average; None where all count the same.
    """

    task: str
    blocks: tuple[Block, ...]
    matrix: Matrix
    target: Any
    classes: tuple[str, ...] = ()
    centre: float = 0.0
    spread: float = 1.0
    weights: FloatArray | None = None

    def steps(self, seed: int) -> Iterator[Step]:
        if self.task == REGRESSION:
            return fit_numbers(self.matrix, self.target, self.weights)
        return fit_classes(self.matrix, self.target, len(self.classes), seed=seed, weights=self.weights)

    def model(self, step: Step) -> Model:
        return Model(self.task, self.blocks, step.linear, self.classes, self.centre, self.spread, step.number)


def learn(rows: pa.Table, task: str, columns: Mapping[str, str]) -> Lesson:
    """The lesson of the rows that have a label; raises what `service.training.trainers.train` says."""
    labels, known = labels_of(rows, task)
    check_labels(labels[known], rows.num_rows)
    taught = rows if known.all() else rows.filter(pa.array(known))
    blocks = learn_blocks(taught, columns)
    matrix, weights = encode(blocks, taught), _weights_of(taught)
    if task == REGRESSION:
        centre, spread = _middle(labels[known])
        return Lesson(task, blocks, matrix, (labels[known] - centre) / spread, (), centre, spread, weights)
    classes, codes = np.unique(labels[known], return_inverse=True)
    return Lesson(task, blocks, matrix, codes, tuple(classes.tolist()), weights=weights)


def _weights_of(rows: pa.Table) -> FloatArray | None:
    if WEIGHT not in rows.column_names:
        return None
    weights = pc.fill_null(pc.cast(rows.column(WEIGHT), pa.float64()), 1.0).to_numpy()
    return np.asarray(weights / weights.mean())


def _middle(values: FloatArray) -> tuple[float, float]:
    with np.errstate(over="ignore", invalid="ignore"):
        centre, spread = float(values.mean()), float(values.std()) or 1.0
    if not (np.isfinite(centre) and np.isfinite(spread)):
        raise LossNotFinite(0, spread)
    return centre, spread


def labels_of(rows: pa.Table, task: str) -> tuple[Any, BoolArray]:
    """The labels (strings or float64), and which rows have one."""
    if task not in (CLASSIFICATION, REGRESSION):
        raise TrainingData(f"task {task!r} cannot be trained; allowed: {CLASSIFICATION}, {REGRESSION}")
    if "label" not in rows.column_names:
        raise BadLabels("the rows have no column `label`")
    if task == CLASSIFICATION:
        words = pc.fill_null(text_of(rows, "label"), "")
        labels = np.asarray(words.to_pylist(), dtype=np.str_)
        return labels, np.asarray(labels != "")
    try:
        numbers = pc.cast(rows.column("label"), pa.float64()).to_numpy()
    except pa.ArrowInvalid as error:
        raise BadLabels(f"a regression needs numbers as labels: {error}") from error
    return numbers.copy(), np.isfinite(numbers)


def check_labels(labels: Any, seen: int) -> None:  # noqa: ANN401  strings or numbers
    """Whether labels can teach at all; `seen` rows were looked at.

    Raises:
        NoTrainingRows, OneClassOnly: they cannot.
    """
    if not len(labels):
        raise NoTrainingRows(seen)
    if labels.dtype.kind == "U" and (labels == labels[0]).all():
        raise OneClassOnly(str(labels[0]), len(labels))
