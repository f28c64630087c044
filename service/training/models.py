"""Model: what the built-in trainer makes, and how it predicts."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from monitors.readings import FloatArray
from service.training.features import Block, block_from, encode
from service.training.linear_fit import LINKS, Linear

CLASSIFICATION = "classification"
REGRESSION = "regression"
_FORMAT = 1


@dataclass(frozen=True, eq=False)
class Model:
    """A trained model: feature blocks, linear weights, and what their output means.

    `classes` are the labels in the order of the outputs (empty for a regression). A regression predicts
    `centre + spread * output`. `step` is the checkpoint that was kept.
    """

    task: str
    blocks: tuple[Block, ...]
    linear: Linear
    classes: tuple[str, ...] = ()
    centre: float = 0.0
    spread: float = 1.0
    step: int = 0

    @property
    def columns(self) -> dict[str, str]:
        """The features it reads, by bare name, with their kinds."""
        return {block.name: block.kind for block in self.blocks}

    def predict(self, table: pa.Table) -> pa.Table:
        """`prediction` (string, or double for a regression) and `confidence` (0..1, null for a regression), a row each.

        Reads `feature_*`; a column that is not there, or a value of another type, is missing; further columns are
        not looked at. Never fails on a row.
        """
        if not table.num_rows:
            kind = pa.float64() if self.task == REGRESSION else pa.string()
            return pa.schema({"prediction": kind, "confidence": pa.float64()}).empty_table()
        matrix = encode(self.blocks, table)
        if self.task == REGRESSION:
            values = self.numbers(matrix)
            return pa.table({"prediction": values, "confidence": pa.nulls(len(values), pa.float64())})
        shares = self.linear.probabilities(matrix)
        best = shares.argmax(axis=1)
        labels = pa.array(self.classes, pa.string()).take(pa.array(best, pa.int64()))
        return pa.table({"prediction": labels, "confidence": shares[np.arange(len(best)), best]})

    def numbers(self, matrix: Any) -> FloatArray:  # noqa: ANN401  scipy ships no types
        """What a regression predicts for encoded rows."""
        return np.asarray(self.centre + self.spread * self.linear.scores(matrix)[:, 0])

    def parts(self) -> dict[str, object]:
        """Everything that makes the model, as plain values and arrays: what a model file holds."""
        return {
            "format": _FORMAT,
            "task": self.task,
            "blocks": [block.parts() for block in self.blocks],
            "weights": self.linear.weights,
            "intercepts": self.linear.intercepts,
            "link": self.linear.link,
            "classes": list(self.classes),
            "centre": self.centre,
            "spread": self.spread,
            "step": self.step,
        }

    def fingerprint(self) -> str:
        """Hex digest of all parts: two models with the same one predict the same."""
        digest = hashlib.sha256()
        _digest(digest, self.parts())
        return digest.hexdigest()


def model_from(parts: Mapping[str, Any]) -> Model:
    """The model that `Model.parts` described.

    Raises:
        ValueError, KeyError, TypeError: these are not the parts of a model of this format.
    """
    if parts["format"] != _FORMAT or parts["link"] not in LINKS or parts["task"] not in (CLASSIFICATION, REGRESSION):
        raise ValueError(f"model format {parts['format']!r} with link {parts['link']!r} is not known here")
    weights, intercepts = np.asarray(parts["weights"]), np.asarray(parts["intercepts"])
    outputs = len(parts["classes"]) if parts["task"] == CLASSIFICATION else 1
    if weights.ndim != 2 or weights.shape[1] != outputs or intercepts.shape != (outputs,):
        raise ValueError(f"weights of shape {weights.shape} do not fit {outputs} outputs")
    return Model(
        task=str(parts["task"]),
        blocks=tuple(block_from(block) for block in parts["blocks"]),
        linear=Linear(weights, intercepts, str(parts["link"])),
        classes=tuple(str(label) for label in parts["classes"]),
        centre=float(parts["centre"]),
        spread=float(parts["spread"]),
        step=int(parts["step"]),
    )


def _digest(digest: Any, value: object) -> None:  # noqa: ANN401  hashlib's own type is private
    if isinstance(value, Mapping):
        for key in sorted(value):
            digest.update(f"{key}:".encode())
            _digest(digest, value[key])
    elif isinstance(value, list | tuple):
        for item in value:
            _digest(digest, item)
            digest.update(b",")
    elif isinstance(value, np.ndarray):
        digest.update(f"{value.dtype}{value.shape}".encode())
        digest.update(np.ascontiguousarray(value).tobytes())
    else:
        digest.update(repr(value).encode())
