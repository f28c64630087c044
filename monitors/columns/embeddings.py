"""Embeddings, learned from the baseline: a vector is counted by where it lies.

Of the baseline's vectors each dimension is standardised, x -> z = (x - mean) / sd, and long ones are brought to R
numbers by a matrix of random signs, r = z S / sqrt(D), which keeps distances (Achlioptas 2003, Database-friendly random
projections). Then a vector has

- projections on the few directions in which the baseline varies most (principal components, Pearson 1901),
- a cluster: the nearest of the baseline's centres by k-means (Lloyd 1982, Least squares quantization in PCM), fitted in
  mini-batches (Sculley 2010),
- its distance to that centre: the root mean square of r - centre.

How to read them: projections and clusters move with what the vectors are about; the distance rises where they lie far
from all that the baseline held, as with another encoder, another language, or a broken input.

R is at most a fiftieth of the vectors learned from. What is fitted to more numbers than that lies nearer to its own
rows than to new ones, which looks like drift on the first day: with 500 vectors of 1,536 numbers and no change, the psi
of new vectors was .26 for the distance and up to 2.3 for the projections; so it is .02 at most.
"""

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from monitors.columns.bins import Float32Array
from monitors.columns.derived import Derived
from monitors.readings import FloatArray, IntArray

MOST_DIMENSIONS = 4096
_PROJECTIONS = 3
_CLUSTERS = 10
_ROWS_PER_CLUSTER = 100
_ROWS_PER_NUMBER = 50
_MOST_NUMBERS = 200
_SAMPLE = 10_000
_NUMBERS_AT_ONCE = 2_000_000
_ARRAYS = ("mean", "spread", "axes", "centres")
_SIGNS_SEED = 0


@dataclass(frozen=True, eq=False)
class Embedding:
    """Mean and standard deviation of each of D dimensions, random signs [D, R] (R = 0 where all D are kept), principal
    axes [P, R or D] and cluster centres [K, R or D].
    """

    mean: Float32Array
    spread: Float32Array
    signs: NDArray[np.int8]
    axes: Float32Array
    centres: Float32Array

    @property
    def categories(self) -> tuple[str, ...]:
        """The values of the cluster column, in the order of its codes: the largest cluster is `1`."""
        return tuple(str(1 + k) for k in range(len(self.centres)))

    @property
    def projections(self) -> tuple[str, ...]:
        return tuple(f"projection_{1 + p}" for p in range(len(self.axes)))

    def read(self, column: pa.ChunkedArray) -> Derived:
        """Projections, `cluster` and `distance` of each vector; one of another length or not finite is of wrong type.

        Computed in float64 and kept in float32: what a row gives does not depend on the rows beside it.
        """
        missing = np.asarray(column.is_null().to_numpy(), dtype=bool)
        rows, vectors = read_vectors(column, len(self.mean))
        wrong = ~missing
        wrong[rows] = False
        numbers = np.zeros((len(self.axes) + 1, len(column)), dtype=np.float32)
        cluster = np.zeros(len(column), dtype=np.intp)
        at_once = max(1, _NUMBERS_AT_ONCE // len(self.mean))
        for start in range(0, len(rows), at_once):
            block = rows[start : start + at_once]
            numbers[:, block], cluster[block] = self._place(vectors[start : start + at_once])
        named = dict(zip((*self.projections, "distance"), numbers, strict=True))
        return Derived(missing, wrong, named, {"cluster": cluster})

    def _place(self, vectors: Float32Array) -> tuple[FloatArray, IntArray]:
        r = _sketched(vectors, self.mean, self.spread, self.signs)
        centres = self.centres.astype(np.float64)
        # |r - c|^2 = |r|^2 - 2 r c + |c|^2, a matrix product in place of a difference for each centre.
        away = (r * r).sum(axis=1)[:, None] - 2 * (r @ centres.T) + (centres * centres).sum(axis=1)
        nearest = away.argmin(axis=1)
        distance = np.sqrt(np.maximum(away[np.arange(len(r)), nearest], 0) / r.shape[1])
        return np.column_stack([r @ self.axes.astype(np.float64).T, distance]).T, nearest

    def to_plain(self) -> dict[str, Any]:
        packed = np.packbits(self.signs > 0)
        return {
            "numbers": self.signs.shape[1],
            "signs": base64.b64encode(packed.tobytes()).decode(),
            **{name: base64.b64encode(getattr(self, name).astype("<f4").tobytes()).decode() for name in _ARRAYS},
        }

    @classmethod
    def from_plain(cls, data: Mapping[str, Any]) -> "Embedding":
        """The embedding that `to_plain` gave."""
        read = {name: np.frombuffer(base64.b64decode(data[name]), "<f4").astype(np.float32) for name in _ARRAYS}
        dimensions, numbers = len(read["mean"]), int(data["numbers"])
        packed = np.frombuffer(base64.b64decode(data["signs"]), np.uint8)
        bits = np.unpackbits(packed, count=dimensions * numbers).astype(np.int8)
        wide = {name: read[name].reshape(-1, numbers or dimensions) for name in ("axes", "centres")}
        return cls(**{**read, **wide}, signs=(2 * bits - 1).reshape(dimensions, numbers))


def is_list(kind: pa.DataType) -> bool:
    """Whether a column of this type holds lists of numbers."""
    lists = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)
    if not any(is_kind(kind) for is_kind in lists):
        return False
    return bool(pa.types.is_floating(kind.value_type) or pa.types.is_integer(kind.value_type))


def read_vectors(column: pa.ChunkedArray, dimensions: int) -> tuple[IntArray, Float32Array]:
    """The rows that hold a vector of so many finite numbers, and these vectors [rows, dimensions]."""
    if not is_list(column.type):
        return np.zeros(0, dtype=np.int64), np.zeros((0, dimensions), dtype=np.float32)
    fits = pc.fill_null(pc.equal(pc.list_value_length(column), dimensions), False)
    rows = np.flatnonzero(fits.to_numpy())
    values = pc.cast(pc.list_flatten(column.filter(fits)), pa.float32(), safe=False)
    vectors = np.asarray(values.to_numpy(), dtype=np.float32).reshape(-1, dimensions)
    finite = np.isfinite(vectors).all(axis=1)
    return (rows, vectors) if finite.all() else (rows[finite], vectors[finite])


def common_length(column: pa.ChunkedArray) -> tuple[int, float]:
    """The commonest length of the lists of a column, and the share of its lists that have it; (0, 0) without any."""
    if not is_list(column.type):
        return 0, 0.0
    lengths = pc.drop_null(pc.list_value_length(column)).to_numpy()
    values, times = np.unique(lengths, return_counts=True)
    return (int(values[times.argmax()]), float(times.max() / len(lengths))) if len(lengths) else (0, 0.0)


def learn_embedding(column: pa.ChunkedArray, dimensions: int) -> Embedding | None:
    """Axes and centres of 10,000 vectors of the baseline, evenly spread; None where none is finite.

    The same vectors give the same ones. A dimension that is constant in the baseline keeps its unit.
    """
    sample = column.filter(pc.fill_null(pc.equal(pc.list_value_length(column), dimensions), False))
    spread_out = np.linspace(0, max(len(sample) - 1, 0), min(len(sample), _SAMPLE))
    _, vectors = read_vectors(sample.take(np.unique(spread_out.astype(np.int64))), dimensions)
    if not len(vectors):
        return None
    mean, spread = vectors.mean(axis=0, dtype=np.float64), vectors.std(axis=0, dtype=np.float64)
    spread = np.where(spread > 1e-6 * np.maximum(np.abs(mean), 1e-30), spread, 1.0)
    numbers = max(1, min(_MOST_NUMBERS, len(vectors) // _ROWS_PER_NUMBER))
    shape = (dimensions, numbers if numbers < dimensions else 0)
    signs = np.random.default_rng(_SIGNS_SEED).choice(np.array([-1, 1], dtype=np.int8), shape)
    axes, centres = _axes_and_centres(_sketched(vectors, mean, spread, signs))
    return Embedding(mean.astype(np.float32), spread.astype(np.float32), signs, axes, centres)


def _sketched(vectors: Float32Array, mean: NDArray[Any], spread: NDArray[Any], signs: NDArray[np.int8]) -> FloatArray:
    z = np.asarray((vectors.astype(np.float64) - mean) / spread)
    return np.asarray(z @ signs / np.sqrt(len(mean))) if signs.shape[1] else z


def _axes_and_centres(r: FloatArray) -> tuple[Float32Array, Float32Array]:
    """Principal axes of unit length, their largest part positive, and centres, the largest cluster first."""
    from sklearn.cluster import MiniBatchKMeans  # noqa: PLC0415  it takes a second to import
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped] # noqa: PLC0415  as sklearn

    count = max(1, min(_CLUSTERS, len(r) // _ROWS_PER_CLUSTER))
    # The sums of one thread do not depend on how many there are.
    with threadpool_limits(limits=1):
        means = MiniBatchKMeans(count, n_init=3, random_state=0, batch_size=1024).fit(r)
        centred = r - r.mean(axis=0)
        axes = np.linalg.eigh(centred.T @ centred)[1].T[::-1][:_PROJECTIONS]
    axes = axes * np.sign(np.take_along_axis(axes, np.abs(axes).argmax(axis=1)[:, None], axis=1))
    largest_first = np.argsort(-np.bincount(means.labels_, minlength=count), kind="stable")
    return axes.astype(np.float32), means.cluster_centers_[largest_first].astype(np.float32)
