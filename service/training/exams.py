"""Exam: the validation rows that each step of a training is scored on."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from monitors.counting.segments import ALL
from monitors.readings import FloatArray, IntArray
from service.training.checkpoints import BoolArray, Segments, masks_of, score_classes, score_numbers
from service.training.feature_blocks import Matrix
from service.training.features import encode
from service.training.lessons import Lesson, labels_of
from service.training.linear_fit import Linear, Step
from service.training.models import REGRESSION

_LEAST_SHARE = 1e-6
"""The probability of a label that the model has never seen, for the log loss."""


@dataclass(frozen=True, eq=False)
class Exam:
    """The encoded validation rows, their true labels, and their segments."""

    lesson: Lesson
    matrix: Matrix
    truth: Any
    masks: Mapping[str, BoolArray]

    @classmethod
    def of(cls, validation: pa.Table, lesson: Lesson, segments: Segments | None) -> "Exam":
        labels, known = labels_of(validation, lesson.task) if validation.num_rows else (np.empty(0), np.empty(0, bool))
        masks = {name: mask[known] for name, mask in masks_of(segments, validation.num_rows).items()}
        if not known.any():
            return cls(lesson, None, np.empty(0), masks)
        matrix = encode(lesson.blocks, validation.filter(pa.array(known)))
        truth = labels[known] if lesson.task == REGRESSION else _numbers_of(labels[known], lesson.classes)
        return cls(lesson, matrix, truth, masks)

    def score(self, step: Step) -> tuple[float, float | None, dict[str, dict[str, float]]]:
        """The loss on the training rows, the loss on these rows, and the scores of each segment that has rows."""
        if self.lesson.task == REGRESSION:
            return self._score_numbers(step)
        loss = _log_loss(step.linear, self.lesson.matrix, self.lesson.target)[0]
        if self.matrix is None:
            return loss, None, {}
        validation_loss, predicted = _log_loss(step.linear, self.matrix, self.truth)
        shown = {name: mask for name, mask in self.masks.items() if mask.any()}
        return loss, validation_loss, {n: score_classes(self.truth[m], predicted[m]) for n, m in shown.items()}

    def _score_numbers(self, step: Step) -> tuple[float, float | None, dict[str, dict[str, float]]]:
        model = self.lesson.model(step)
        errors = step.linear.scores(self.lesson.matrix)[:, 0] - self.lesson.target
        loss = float(np.sqrt((errors**2).mean())) * self.lesson.spread
        if self.matrix is None:
            return loss, None, {}
        predicted = model.numbers(self.matrix)
        shown = {name: mask for name, mask in self.masks.items() if mask.any()}
        metrics = {name: score_numbers(self.truth[mask], predicted[mask]) for name, mask in shown.items()}
        return loss, metrics[ALL]["rmse"], metrics


def _numbers_of(labels: Any, classes: tuple[str, ...]) -> IntArray:  # noqa: ANN401  an array of strings
    """The place of each label in `classes`; new labels are numbered after them."""
    new = sorted(set(labels.tolist()) - set(classes))
    places = {label: i for i, label in enumerate((*classes, *new))}
    return np.fromiter((places[label] for label in labels.tolist()), np.int64, len(labels))


def _log_loss(linear: Linear, matrix: Matrix, codes: IntArray) -> tuple[float, IntArray]:
    """The mean log loss, and the most probable label of each row."""
    shares: FloatArray = linear.probabilities(matrix)
    known = codes < shares.shape[1]
    given = shares[np.arange(len(codes)), np.where(known, codes, 0)]
    floor = np.where(known, given, _LEAST_SHARE)
    return float(-np.log(np.maximum(floor, _LEAST_SHARE)).mean()), shares.argmax(axis=1).astype(np.int64)
