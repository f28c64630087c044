"""Views over parts of the archive that may differ in their columns: what a part lacks is null."""

from collections.abc import Iterable, Sequence

import duckdb

from service.intake.forms import outvoted


def of_files(paths: Iterable[str]) -> str:
    """Parquet files as one relation; none of their columns may be a list in one and a single value in another."""
    quoted = ", ".join(_quoted(path, "'") for path in paths)
    return f"read_parquet([{quoted}], union_by_name = true, hive_partitioning = false)"


def offer(db: duckdb.DuckDBPyConnection, name: str, relations: Sequence[str], *, may_clash: bool) -> None:
    """Make the view `name` of all rows of the relations; where columns clash in form, the outvoted ones are null."""
    left_out = _outvoted(db, relations) if may_clash and len(relations) > 1 else [set[str]()] * len(relations)
    parts = [_part(relation, names) for relation, names in zip(relations, left_out, strict=True)]
    db.execute(f"CREATE OR REPLACE TEMP VIEW {name} AS {' UNION ALL BY NAME '.join(parts)}")


def _outvoted(db: duckdb.DuckDBPyConnection, relations: Sequence[str]) -> list[set[str]]:
    described = [db.execute(f"DESCRIBE FROM {relation}").fetchall() for relation in relations]
    shapes = [{column[0]: column[1].endswith("[]") for column in each} for each in described]

    def count(place: int, column: str) -> int:
        return int(db.execute(f"FROM {relations[place]} SELECT count({_quoted(column)})").fetchall()[0][0])

    return outvoted(shapes, count)


def _part(relation: str, left_out: Iterable[str]) -> str:
    names = ", ".join(map(_quoted, sorted(left_out)))
    return f"SELECT * {f'EXCLUDE ({names}) ' if names else ''}FROM {relation}"


def _quoted(text: str, mark: str = '"') -> str:
    return mark + text.replace(mark, 2 * mark) + mark
