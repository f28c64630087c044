"""Joint: how unusual the features of a row are together, as one number a row that is counted like any other.

Columns can each keep their distribution while what ties them together is lost: two sensors that agreed, a price that
followed a size. No count of a single column shows it. So one more column is derived from the cells of the features:

    d² = zᵀ R⁻¹ z

z are the normal scores of the row's bins, R is their correlation in the baseline. It is counted on quantile bins, so
that wobble, evidence, season and segments come for free.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import Any

import numpy as np
import pyarrow as pa

from monitors.columns.bins import Float32Array, quantile_edges
from monitors.columns.cells import Cells, number_cells
from monitors.columns.column import Column
from monitors.columns.derived import Derived
from monitors.columns.kinds import bare_name
from monitors.readings import FloatArray, IntArray
from monitors.statistics.shares import normal_scores, smoothed_shares

NAME = "joint"
MOST_COLUMNS = 60
"""A row costs the square of it; of more features the first are read."""
MOST_ROWS = 100_000
"""A correlation of so many rows is known to .003."""
BINS = 10

_SOURCE = "feature_"
"""As a column of a batch has a name behind it, this one is in no batch."""
_PRODUCTS_AT_ONCE = 2**18
"""Up to here OpenBLAS stays in one thread. On busy cores its threads wait for each other: 15 ms instead of .4 were
measured for 10,000 rows of 20 columns."""
_RIDGE = 1e-3
"""Two columns that are one in the baseline are a bond of a thousand to one, not of infinity."""
_SCORE_UNIT = 32
_LARGEST_SCORE = 127
_EXACT = 2**23
"""Whole numbers below it are exact in float32, and so is the sum of `MOST_COLUMNS` of their squares in float64."""


@dataclass(frozen=True, eq=False)
class Joint:
    """The squared distance of a row's features from the baseline's middle, by how they go together there.

        d² = zᵀ R⁻¹ z

    z [C] are the normal scores of the row's bins, those of categories in the order of their frequency, 0 where there
    is no value; R is the correlation of the baseline's z, shrunk towards that of independent columns (Ledoit & Wolf
    2004). Read it: with normal scores it is C in the mean where nothing changed, more where rows break the usual
    bond, and both very small and very large values become more frequent where a bond appears. It moves, too, when one
    column drifts far: drift of `joint` alone says that no single column shows what changed.

    Source: Mahalanobis 1936; Hotelling 1947 (T²); on normal scores, Nelsen 2006 (the Gaussian copula).

    Whole numbers, so that sums are exact and a row has the same value in any batch and on any machine: `scores` by bin
    of each column in 32nds, `weights` [C, C] with weightsᵀ weights = R⁻¹ in fractions of `unit`.
    """

    columns: tuple[str, ...]
    scores: tuple[tuple[int, ...], ...]
    weights: tuple[tuple[int, ...], ...]
    unit: int

    @cached_property
    def _tables(self) -> list[Float32Array]:
        return [_by_code(scores) for scores in self.scores]

    @cached_property
    def _matrix(self) -> Float32Array:
        return np.asarray(self.weights, dtype=np.float32)

    def values(self, cells: Mapping[str, Cells]) -> Float32Array:
        """d² of each row, from the cells of the columns by name."""
        scores = np.stack(
            [table.take(cells[name].codes) for name, table in zip(self.columns, self._tables, strict=True)]
        )
        squares = np.empty(scores.shape[1])
        at_once = max(1, _PRODUCTS_AT_ONCE // len(scores) ** 2)
        for begin in range(0, len(squares), at_once):
            distances = (self._matrix @ scores[:, begin : begin + at_once]).astype(np.float64)
            np.einsum("cn,cn->n", distances, distances, out=squares[begin : begin + at_once])
        return np.asarray(squares / (self.unit * _SCORE_UNIT) ** 2, dtype=np.float32)

    def cells(self, column: Column, cells: Mapping[str, Cells]) -> Cells:
        """The cells of the column that counts it."""
        values = self.values(cells)
        nowhere = np.zeros(len(values), dtype=bool)
        return number_cells(column.lookup, column.low, column.high, values, nowhere, nowhere)

    def to_plain(self) -> dict[str, Any]:
        """As values that JSON can hold; read back with `from_plain`."""
        return {"columns": self.columns, "scores": self.scores, "weights": self.weights, "unit": self.unit}

    @classmethod
    def from_plain(cls, data: Mapping[str, Any]) -> "Joint":
        """What `to_plain` gave."""
        scores, weights = (tuple(tuple(row) for row in data[name]) for name in ("scores", "weights"))
        return cls(tuple(data["columns"]), scores, weights, data["unit"])


def learn_joint(
    columns: Sequence[Column], table: pa.Table, overrides: Mapping[str, str]
) -> tuple[Joint, Column] | None:
    """What the baseline's rows teach, and the column that counts it.

    None with fewer than two features that vary, or where `overrides` says to ignore it by its name: `joint`, or
    `joint.features` where a feature or tag has that name.

    Of n rows at most (n / 14)^(2/3) columns are read: more would fit these rows so closely that all others look further
    away by more than a tenth of a standard deviation of d².
    """
    name = _free_name({*(column.name for column in columns), *map(bare_name, table.column_names)})
    if overrides.get(name) == "ignore":
        return None
    rows = table.num_rows
    some = table.take(np.arange(MOST_ROWS) * rows // MOST_ROWS) if rows > MOST_ROWS else table
    found = dict(islice(_varying(columns, some), min(MOST_COLUMNS, int((some.num_rows / 14) ** (2 / 3)))))
    if len(found) < 2:
        return None
    cells = {column: cells for column, (cells, _) in found.items()}
    scores = tuple(scores for _, scores in found.values())
    weights, unit = _weights(np.stack([_by_code(scores).take(cells.codes) for cells, scores in found.values()]))
    joint = Joint(tuple(found), scores, weights, unit)
    edges = tuple(quantile_edges(joint.values(cells), BINS).tolist())
    return joint, Column(name, _SOURCE, "number", NAME, edges=edges)


def _varying(columns: Sequence[Column], table: pa.Table) -> Iterator[tuple[str, tuple[Cells, tuple[int, ...]]]]:
    """Cells and scores of the features whose rows are in more than one bin."""
    read: dict[str, Derived] = {}
    for column in columns:
        if column.source.startswith("feature_"):
            cells = column.cells(table, read)
            counts = np.bincount(cells.bins[cells.counted], minlength=column.bins)
            if np.count_nonzero(counts) > 1:
                yield column.name, (cells, _scores(column, counts))


def _free_name(taken: Collection[str]) -> str:
    name = NAME
    while name in taken:
        name += ".features"
    return name


def _scores(column: Column, counts: IntArray) -> tuple[int, ...]:
    """Normal scores of the bins in 32nds."""
    order = np.arange(len(counts)) if column.kind == "number" else np.argsort(-counts, kind="stable")
    found = np.zeros(len(counts))
    found[order] = normal_scores(smoothed_shares(counts[order].astype(np.float64)))
    return tuple(np.clip(np.rint(found * _SCORE_UNIT), -_LARGEST_SCORE, _LARGEST_SCORE).astype(int).tolist())


def _by_code(scores: Sequence[int]) -> Float32Array:
    """The score of each code of `Cells`: missing and wrongly typed values have none."""
    return np.asarray([*scores, *scores, *scores, 0, 0], dtype=np.float32)


def _weights(scores: Float32Array) -> tuple[tuple[tuple[int, ...], ...], int]:
    """Whole numbers W and the unit u with WᵀW / u² = R⁻¹, so large that products with scores are exact in float32."""
    correlation = _shrunk(scores.astype(np.float64) / _SCORE_UNIT) + _RIDGE * np.eye(len(scores))
    weights = np.linalg.cholesky(np.linalg.inv(correlation)).T
    largest = _LARGEST_SCORE * float(np.abs(weights).sum(axis=1).max())
    unit = 2 ** int(np.log2(_EXACT / (largest + _LARGEST_SCORE * len(weights))))
    return tuple(tuple(row) for row in np.rint(weights * unit).astype(int).tolist()), unit


def _shrunk(scores: FloatArray) -> FloatArray:
    """Covariance [C, C] of scores [C, n] of mean 0, shrunk towards equal, independent columns.

    (1 - s) S + s m I with m the mean variance, and s = b² / d² by Ledoit & Wolf (2004, A well-conditioned estimator for
    large-dimensional covariance matrices): d² = |S - m I|², b² = mean over rows of |z zᵀ - S|² / n, at most d².
    """
    columns, rows = scores.shape
    covariance = scores @ scores.T / rows
    middle = np.trace(covariance) / columns * np.eye(columns)
    distance = ((covariance - middle) ** 2).sum()
    noise = (((scores**2).sum(axis=0) ** 2).mean() - (covariance**2).sum()) / rows
    shrinkage = min(noise / max(distance, 1e-12), 1)
    return np.asarray((1 - shrinkage) * covariance + shrinkage * middle)
