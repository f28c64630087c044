"""The error to expect of a row, learned from the baseline's labels: what a regression has in place of a confidence.

It is one more column, derived from the cells of all others and counted like any of them: its bins are the strata of
labelled profiles, and drift reads it as the rows on which the model errs more becoming more frequent.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from monitors.columns.bins import BinArray, Float32Array
from monitors.columns.cells import Cells, number_cells
from monitors.columns.column import Column
from monitors.columns.derived import Derived
from monitors.columns.losses import number_errors
from monitors.readings import FloatArray, IntArray

NAME = "expected_error"
MOST_LEAVES = 32
MOST_DEPTH = 8
FEWEST_ROWS = 50
"""Rows with a label that a leaf rests on: its mean error is then known to within a tenth or so."""
MOST_ROWS = 100_000

_SOURCE = "feature_"
"""As a column of a batch has a name behind it, this one is in no batch."""


@dataclass(frozen=True, eq=False)
class ErrorTree:
    """A tree over the bins of columns that gives the mean absolute error of the leaf in which a row ends.

    Node i goes to `left[i]` where the bin of column `column[i]` (a place in `columns`) is at most `bound[i]`, else to
    `right[i]`; a leaf leads to itself. `error[i]` is its mean absolute error, in the units of the label.
    """

    columns: tuple[str, ...]
    column: IntArray
    bound: IntArray
    left: IntArray
    right: IntArray
    error: Float32Array

    def values(self, bins: BinArray) -> Float32Array:
        """The error to expect of each row, from the bins [n, C] of `columns`."""
        node, rows = np.zeros(len(bins), dtype=np.intp), np.arange(len(bins))
        for _ in range(MOST_DEPTH):
            is_left = bins[rows, self.column[node]] <= self.bound[node]
            node = np.where(is_left, self.left[node], self.right[node])
        return self.error.take(node)

    def cells(self, column: Column, cells: Mapping[str, Cells]) -> Cells:
        """The cells of the column that counts it, from those of the other columns by name."""
        values = self.values(_bins([cells[name] for name in self.columns]))
        nowhere = np.zeros(len(values), dtype=bool)
        return number_cells(column.lookup, column.low, column.high, values, nowhere, nowhere)

    def to_plain(self) -> dict[str, Any]:
        """As values that JSON can hold; read back with `from_plain`."""
        return {name: list(values) if name == "columns" else values.tolist() for name, values in vars(self).items()}

    @classmethod
    def from_plain(cls, data: Mapping[str, Any]) -> "ErrorTree":
        """What `to_plain` gave."""
        nodes = {name: np.asarray(data[name], dtype=np.int64) for name in ("column", "bound", "left", "right")}
        return cls(tuple(data["columns"]), **nodes, error=np.asarray(data["error"], dtype=np.float32))


def learn_expected_error(columns: Sequence[Column], table: pa.Table) -> tuple[ErrorTree, Column] | None:
    """What the labelled rows of a regression's baseline teach, and the column that counts it.

    None without labels, or where no rows can be told apart by their errors.
    """
    if "label" not in table.column_names:
        return None
    error, _, usable = number_errors(table)
    rows = np.flatnonzero(usable)
    rows = rows[np.arange(MOST_ROWS) * len(rows) // MOST_ROWS] if len(rows) > MOST_ROWS else rows
    if len(rows) < 2 * FEWEST_ROWS:
        return None
    read: dict[str, Derived] = {}
    some = table.take(rows)
    tree = learn_tree([c.name for c in columns], _bins([c.cells(some, read) for c in columns]), error[rows])
    if tree is None:
        return None
    means = np.unique(tree.error[tree.left == np.arange(len(tree.left))])
    edges = np.unique(((means[1:].astype(np.float64) + means[:-1]) / 2).astype(np.float32))
    name = NAME if NAME not in {c.name for c in columns} else f"{NAME}.rows"
    return tree, Column(name, _SOURCE, "number", NAME, edges=tuple(edges.tolist()))


def learn_tree(names: Sequence[str], bins: BinArray, errors: FloatArray) -> ErrorTree | None:
    """The tree that tells rows with small errors from rows with large ones; None where it finds none apart.

    At most 32 leaves of at least 50 rows each. What is expected of a window is then sum of n_leaf e_leaf / n: direct
    loss estimation on counts. Source: NannyML, DLE 2022; the tree by Breiman et al., 1984.

    Args:
        names: of the C columns.
        bins: bins [n, C] of labelled rows, one more than the last for rows in none.
        errors: their errors [n], of either sign.

    >>> import numpy as np
    >>> bins = np.repeat([[0, 3], [1, 3]], 100, axis=0)
    >>> tree = learn_tree(["zone", "size"], bins, np.repeat([5.0, -1.0], 100))
    >>> tree.columns, tree.values(np.array([[0, 0], [1, 0]])).tolist()
    (('zone',), [5.0, 1.0])
    """
    from sklearn.tree import DecisionTreeRegressor  # noqa: PLC0415  slow to import, and only a baseline learns

    fitted = DecisionTreeRegressor(
        max_leaf_nodes=MOST_LEAVES, max_depth=MOST_DEPTH, min_samples_leaf=FEWEST_ROWS, random_state=0
    )
    tree = fitted.fit(bins, np.abs(errors)).tree_
    is_inner = tree.children_left >= 0
    if not is_inner.any():
        return None
    used, column = np.unique(tree.feature[is_inner], return_inverse=True)
    nodes = np.arange(tree.node_count)
    columns = np.zeros(len(nodes), dtype=np.int64)
    columns[is_inner] = column
    return ErrorTree(
        columns=tuple(names[place] for place in used),
        column=columns,
        bound=np.floor(np.where(is_inner, tree.threshold, 0)).astype(np.int64),
        left=np.where(is_inner, tree.children_left, nodes).astype(np.int64),
        right=np.where(is_inner, tree.children_right, nodes).astype(np.int64),
        error=tree.value[:, 0, 0].astype(np.float32),
    )


def _bins(cells: Sequence[Cells]) -> BinArray:
    """Bins [n, C], one more than the last for rows in none."""
    return np.column_stack([np.where(c.counted, c.bins, c.size) for c in cells])
