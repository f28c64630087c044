"""Columns that are a list of numbers in some rows and a single value in others: the form that holds more values wins.

One body of the wrong form must not make all other rows of a column unreadable: text and numbers have a common type,
which is text; lists and single values have none.
"""

from collections.abc import Callable, Mapping, Sequence

import pyarrow as pa


def outvoted(parts: Sequence[Mapping[str, bool]], count: Callable[[int, str], int]) -> list[set[str]]:
    """The columns to leave out of each part, so that no column has both forms.

    Args:
        parts: for each part, whether each of its columns holds lists.
        count: values of a column in the part of this index; asked only about columns that clash.

    >>> rows = {0: 900, 1: 1, 2: 50}
    >>> outvoted([{"e": True, "x": False}, {"e": False}, {"x": False}], lambda part, _: rows[part])
    [set(), {'e'}, set()]
    """
    left_out: list[set[str]] = [set() for _ in parts]
    lists = {name for part in parts for name, is_list in part.items() if is_list}
    for name in sorted(lists):
        forms = {place: part[name] for place, part in enumerate(parts) if name in part}
        if all(forms.values()):
            continue
        votes = {True: 0, False: 0}
        for place, is_list in forms.items():
            votes[is_list] += count(place, name)
        for place, is_list in forms.items():
            if is_list != (votes[True] >= votes[False]):
                left_out[place].add(name)
    return left_out


def with_one_form(tables: Sequence[pa.Table]) -> list[pa.Table]:
    """The tables without the columns that are outvoted."""
    parts = [{field.name: pa.types.is_list(field.type) for field in table.schema} for table in tables]
    if not any(any(part.values()) for part in parts):
        return list(tables)

    def count(place: int, name: str) -> int:
        column = tables[place].column(name)
        return len(column) - int(column.null_count)

    left_out = outvoted(parts, count)
    return [t.drop_columns(sorted(names)) if names else t for t, names in zip(tables, left_out, strict=True)]
