"""Input of estimators, row by row. Nothing of numpy, pandas or scipy is imported: what the input offers is used."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from tidegate_client.errors import BadRow

# A few at a time: turning a whole table into lists would hold the interpreter.
_ROWS = 64


def rows(table: Any) -> Iterator[Sequence[object]]:  # noqa: ANN401  arrays and frames of any kind
    """The rows of a data frame, an array of one or two dimensions, or a list.

    >>> list(rows([[1, 2], [3, 4]])), list(rows(["a text", "another"]))
    ([[1, 2], [3, 4]], [['a text'], ['another']])

    Raises:
        BadRow: it is sparse: its columns are too many to be features.
    """
    if hasattr(table, "tocsr"):
        raise BadRow("a sparse matrix cannot be logged: wrap the pipeline that makes it, not its last step")
    take = table.iloc if hasattr(table, "iloc") else table
    for begin in range(0, len(table), _ROWS):
        part = take[begin : begin + _ROWS]
        yield from zip(*_columns(part), strict=True) if hasattr(part, "iloc") else map(_row, listed(part))


def _columns(frame: Any) -> list[list[Any]]:  # noqa: ANN401  same
    """Column by column: each keeps its own type."""
    return [frame.tolist()] if frame.ndim == 1 else [frame.iloc[:, place].tolist() for place in range(frame.shape[1])]


def _row(row: Any) -> Sequence[object]:  # noqa: ANN401  same
    return row if isinstance(row, list | tuple) else listed(row) if hasattr(row, "tolist") else [row]


def names(values: Sequence[object]) -> list[str]:
    """Names for columns that have none.

    >>> names([0.5, 1.5])
    ['x0', 'x1']
    """
    return [f"x{place}" for place in range(len(values))]


def listed(array: Any) -> list[Any]:  # noqa: ANN401  same
    """An array as a list of plain values."""
    to_list = getattr(array, "tolist", None)
    return list(array) if to_list is None else list(to_list())
