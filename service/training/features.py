"""Features: rows of an Arrow table to a matrix that a linear model can learn from, and how that was learned."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
from scipy import sparse

from monitors.columns.kinds import KINDS, bare_name, infer_kind
from service.training.feature_blocks import CategoryBlock, EmbeddingBlock, Matrix, NumberBlock, TextBlock, TimeBlock
from service.training.training_errors import NoFeatures, TrainingData


class Block(Protocol):
    """The columns of the matrix that one feature becomes."""

    @property
    def name(self) -> str:
        """The feature's bare name."""

    @property
    def kind(self) -> str:
        """number, time, category, text or embedding."""

    def encode(self, table: pa.Table) -> Matrix:
        """The feature's part of the matrix; whatever cannot be read is missing, and no row fails."""

    def parts(self) -> dict[str, object]:
        """What the block has learned, as plain values and arrays."""


def learn_blocks(table: pa.Table, overrides: Mapping[str, str]) -> tuple[Block, ...]:
    """The blocks that the feature columns of `table` become, in column order.

    A column without a value, without a frequent value, or said to be `tag` or `ignore` is left out.

    Raises:
        NoFeatures: nothing is left to learn from.
        TrainingData: an override names an unknown kind.
    """
    names = [bare_name(source) for source in table.column_names if source.startswith("feature_")]
    blocks = [block for name in names if (block := _learn_block(name, table, overrides.get(name, ""))) is not None]
    if not blocks:
        raise NoFeatures(names)
    return tuple(blocks)


def _learn_block(name: str, table: pa.Table, kind: str) -> Block | None:
    column = table.column(f"feature_{name}")
    if kind in ("tag", "ignore") or column.null_count == len(column):
        return None
    kind = kind or infer_kind(column)
    if kind == "number":
        return NumberBlock.learn(name, table)
    if kind == "time":
        return TimeBlock(name)
    if kind == "text":
        return TextBlock.learn(name, table)
    if kind == "embedding":
        return EmbeddingBlock.learn(name, table)
    if kind in ("category", "boolean"):
        return CategoryBlock.learn(name, table)
    raise TrainingData(
        f"column {name!r}: kind {kind!r} cannot be learned from; allowed: {', '.join((*KINDS, 'tag', 'ignore'))}"
    )


def encode(blocks: Sequence[Block], table: pa.Table) -> Matrix:
    """The matrix of a table: dense where every block is, otherwise CSR."""
    encoded = [block.encode(table) for block in blocks]
    if not any(sparse.issparse(part) for part in encoded):
        return encoded[0] if len(encoded) == 1 else np.hstack(encoded)
    if len(encoded) == 1:
        return encoded[0]
    narrow = [part for part in encoded if not sparse.issparse(part)]
    wide = [part for part in encoded if sparse.issparse(part)]
    dense = [sparse.csr_matrix(np.hstack(narrow).astype(np.float32))] if narrow else []
    return sparse.hstack([*dense, *wide], format="csr", dtype=np.float32)


def block_from(parts: Mapping[str, Any]) -> Block:
    """The block that `Block.parts` described."""
    name = str(parts["name"])
    match parts["kind"]:
        case "number":
            median, mean, scale = (float(parts[key]) for key in ("median", "mean", "scale"))
            return NumberBlock(name, median, mean, scale, parts["knots"], bool(parts["flags_missing"]))
        case "time":
            return TimeBlock(name)
        case "text":
            return TextBlock(name, tuple(str(parts["terms"]).split("\n")), parts["idf"])
        case "embedding":
            return EmbeddingBlock(name, parts["mean"], parts["scale"], parts["axes"])
        case _:
            return CategoryBlock(name, tuple(parts["values"].tolist()))
