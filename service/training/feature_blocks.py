"""Blocks: the columns of the matrix that one feature becomes, one class for each kind of feature.

Numbers are imputed with the median, standardised, and given three hinges at their quartiles, so that a linear model
can bend. Measured with logistic regression trained on 2,000 rows, tested on the next 2,000 and rolled over the
stream, the hinges bring +.007 (elec2), +.023 (mixed_abrupt), +.028 (sine_abrupt), +.019 (noaa_weather),
+.017 (carloan) and -.004 (sea_abrupt, whose true border is a plane) against plain standardised numbers. Categories
become one column a value, texts TF-IDF of words and word pairs, times the hour on a circle, embeddings themselves.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from scipy import sparse
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer

from monitors.columns.embeddings import common_length, read_vectors
from monitors.columns.numeric import numbers
from monitors.columns.values import text_of
from monitors.readings import FloatArray

Matrix = Any
"""A dense float64 array, or a float32 CSR matrix where a column is wide; rows x width. (scipy ships no types.)"""

FARTHEST = 8.0
"""Standard deviations from the mean at which a number is cut, so that one broken feed cannot outshout all columns."""
HINGE_WEIGHT = 0.5
"""Hinges enter smaller than the straight line, so the penalty bends it only where the rows insist."""
MIN_FREQUENCY = 5
TEXT_WEIGHT = float(np.sqrt(10.0))
"""Texts enter with more weight: a penalty of C=1 on them is then C=10 on plain TF-IDF, the better one on CLINC150."""
MOST_TERMS = 50_000
WIDEST_DENSE = 64
WIDEST_EMBEDDING = 512
"""Longer embeddings enter by so many principal components: 50,000 rows of 4,096 doubles would be 1.6 GB. On 1,024
numbers made of CLINC150's texts, 256 components cost .015 of accuracy (.874 against .889)."""
SAMPLE = 10_000
_WORDS = r"(?u)\b\w+\b"


@dataclass(frozen=True, eq=False)
class NumberBlock:
    """A number: standardised, its hinges above `knots` (standardised too), and whether it is missing."""

    name: str
    median: float
    mean: float
    scale: float
    knots: FloatArray
    flags_missing: bool
    kind: str = "number"

    def encode(self, table: pa.Table) -> Matrix:
        values = _numbers(table, self.name)
        missing = np.isnan(values)
        filled = np.where(missing, self.median, values)
        z = np.clip((filled - self.mean) / self.scale, -FARTHEST, FARTHEST)
        columns = [z, *(HINGE_WEIGHT * np.maximum(z - knot, 0.0) for knot in self.knots)]
        return np.column_stack([*columns, missing] if self.flags_missing else columns)

    def parts(self) -> dict[str, object]:
        return {
            "kind": self.kind,
            "name": self.name,
            "median": self.median,
            "mean": self.mean,
            "scale": self.scale,
            "knots": self.knots,
            "flags_missing": self.flags_missing,
        }

    @classmethod
    def learn(cls, name: str, table: pa.Table) -> "NumberBlock | None":
        values = _numbers(table, name)
        known = values[~np.isnan(values)]
        if not len(known):
            return None
        median = float(np.median(known))
        filled = np.where(np.isnan(values), median, values)
        mean, scale = float(filled.mean()), float(filled.std()) or 1.0
        bends = len(np.unique(known)) > 10
        quartiles = np.quantile(known, [0.25, 0.5, 0.75]) if bends else np.empty(0)
        return cls(name, median, mean, scale, np.unique((quartiles - mean) / scale), len(known) < len(values))


@dataclass(frozen=True, eq=False)
class TimeBlock:
    """A time: its hour of day on a circle, zero where it is missing."""

    name: str
    kind: str = "time"

    def encode(self, table: pa.Table) -> Matrix:
        source = f"feature_{self.name}"
        if source in table.column_names and not _holds_times(table.column(source).type):
            return np.zeros((table.num_rows, 2))
        hours, missing, wrong = numbers(table, source, "hour")
        angle = hours.astype(np.float64) * (2 * np.pi / 24)
        circle = np.column_stack([np.sin(angle), np.cos(angle)])
        return np.where((missing | wrong)[:, None], 0.0, circle)

    def parts(self) -> dict[str, object]:
        return {"kind": self.kind, "name": self.name}


@dataclass(frozen=True, eq=False)
class CategoryBlock:
    """A category: one column for each value seen at least `MIN_FREQUENCY` times; all others are zero everywhere."""

    name: str
    values: tuple[str, ...]
    kind: str = "category"

    @cached_property
    def places(self) -> Mapping[str, int]:
        return {value: i for i, value in enumerate(self.values)}

    def encode(self, table: pa.Table) -> Matrix:
        encoded = pc.dictionary_encode(_categories(table, self.name)).combine_chunks()
        known = np.asarray([self.places.get(v, -1) for v in encoded.dictionary.to_pylist()], dtype=np.intp)
        codes = known[encoded.indices.to_numpy()] if len(known) else np.empty(0, dtype=np.intp)
        rows = np.flatnonzero(codes >= 0)
        if len(self.values) > WIDEST_DENSE:
            shape = (len(codes), len(self.values))
            return sparse.csr_matrix((np.ones(len(rows), np.float32), (rows, codes[rows])), shape=shape)
        matrix = np.zeros((len(codes), len(self.values)))
        matrix[rows, codes[rows]] = 1.0
        return matrix

    def parts(self) -> dict[str, object]:
        return {"kind": self.kind, "name": self.name, "values": np.asarray(self.values, dtype=np.str_)}

    @classmethod
    def learn(cls, name: str, table: pa.Table) -> "CategoryBlock | None":
        counts = pc.value_counts(_categories(table, name)).to_pylist()
        often = sorted(c["values"] for c in counts if c["counts"] >= min(MIN_FREQUENCY, table.num_rows / 2))
        return cls(name, tuple(often)) if often else None


@dataclass(frozen=True, eq=False)
class TextBlock:
    """A text: TF-IDF of its words and word pairs. A missing text is an empty one."""

    name: str
    terms: tuple[str, ...]
    idf: NDArray[np.float32]
    kind: str = "text"

    @cached_property
    def vectorizer(self) -> Any:  # noqa: ANN401  scikit-learn ships no types
        vectorizer = _vectorizer({term: i for i, term in enumerate(self.terms)})
        vectorizer.idf_ = self.idf
        return vectorizer

    def encode(self, table: pa.Table) -> Matrix:
        return self.vectorizer.transform(_texts(table, self.name)) * np.float32(TEXT_WEIGHT)

    def parts(self) -> dict[str, object]:
        return {"kind": self.kind, "name": self.name, "terms": "\n".join(self.terms), "idf": self.idf}

    @classmethod
    def learn(cls, name: str, table: pa.Table) -> "TextBlock | None":
        texts = _texts(table, name)
        if not any(any(c.isalnum() for c in text) for text in texts):
            return None
        vectorizer = _vectorizer(None).fit(texts)
        return cls(name, tuple(vectorizer.get_feature_names_out().tolist()), vectorizer.idf_.astype(np.float32))


@dataclass(frozen=True, eq=False)
class EmbeddingBlock:
    """An embedding: standardised, and where it is long, on `axes` [D, components]. All zero where it is missing."""

    name: str
    mean: NDArray[np.float32]
    scale: NDArray[np.float32]
    axes: NDArray[np.float32]
    kind: str = "embedding"

    def encode(self, table: pa.Table) -> Matrix:
        width = self.axes.shape[1] or len(self.mean)
        matrix = np.zeros((table.num_rows, width))
        source = f"feature_{self.name}"
        if source in table.column_names:
            rows, vectors = read_vectors(table.column(source), len(self.mean))
            z = np.clip((vectors - self.mean) / self.scale, -FARTHEST, FARTHEST)
            matrix[rows] = z @ self.axes if self.axes.shape[1] else z
        return matrix

    def parts(self) -> dict[str, object]:
        return {"kind": self.kind, "name": self.name, "mean": self.mean, "scale": self.scale, "axes": self.axes}

    @classmethod
    def learn(cls, name: str, table: pa.Table) -> "EmbeddingBlock | None":
        column = table.column(f"feature_{name}")
        length, _ = common_length(column)
        _, vectors = read_vectors(column, length)
        if not len(vectors) or not length:
            return None
        mean, scale = vectors.mean(axis=0), vectors.std(axis=0)
        scale = np.where(scale > 0, scale, np.float32(1))
        axes = np.zeros((length, 0), dtype=np.float32)
        if length > WIDEST_EMBEDDING and len(vectors) > WIDEST_EMBEDDING:
            some = vectors[np.linspace(0, len(vectors) - 1, min(len(vectors), SAMPLE)).astype(np.int64)]
            z = np.clip((some - mean) / scale, -FARTHEST, FARTHEST)
            found = TruncatedSVD(WIDEST_EMBEDDING, random_state=0).fit(z)
            # A component has a mean square of at most length / components: brought back to the others' size.
            axes = np.ascontiguousarray(found.components_.T * np.sqrt(WIDEST_EMBEDDING / length), dtype=np.float32)
        return cls(name, mean, scale, axes)


def _numbers(table: pa.Table, name: str) -> FloatArray:
    """float64, NaN where there is no finite number."""
    source = f"feature_{name}"
    if source in table.column_names and not _holds_numbers(table.column(source).type):
        return np.full(table.num_rows, np.nan)
    values, missing, wrong = numbers(table, source, "")
    return np.where(missing | wrong | ~np.isfinite(values), np.nan, values.astype(np.float64))


def _holds_numbers(kind: pa.DataType) -> bool:
    readable = (
        pa.types.is_integer,
        pa.types.is_floating,
        pa.types.is_boolean,
        pa.types.is_string,
        pa.types.is_large_string,
    )
    return any(is_kind(kind) for is_kind in readable) or pa.types.is_null(kind)


def _holds_times(kind: pa.DataType) -> bool:
    return any(is_kind(kind) for is_kind in (pa.types.is_temporal, pa.types.is_string, pa.types.is_large_string))


def _categories(table: pa.Table, name: str) -> pa.ChunkedArray:
    return pc.fill_null(text_of(table, f"feature_{name}"), "missing")


def _texts(table: pa.Table, name: str) -> list[str]:
    return [text or "" for text in text_of(table, f"feature_{name}").to_pylist()]


def _vectorizer(vocabulary: Mapping[str, int] | None) -> Any:  # noqa: ANN401  scikit-learn ships no types
    return TfidfVectorizer(
        ngram_range=(1, 2),
        sublinear_tf=True,
        token_pattern=_WORDS,
        max_features=None if vocabulary else MOST_TERMS,
        vocabulary=vocabulary,
        dtype=np.float32,
    )
