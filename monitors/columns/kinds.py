"""Kinds of columns: what a column of the baseline looks like, and the names it goes by."""

import pyarrow as pa
import pyarrow.compute as pc

from monitors.columns.embeddings import is_list
from monitors.columns.values import plain

KINDS = ("number", "category", "boolean", "time", "text", "embedding")

_PREFIXES = ("feature_", "tag_")
_TIME = r"^\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}[0-9:.,]*(Z|[+-]\d{2}:?\d{2})?)?$"
_LOOKED_AT = 1_000


def bare_name(source: str) -> str:
    """`feature_text` → `text`: the name that policies, readings and metrics use."""
    return next((source.removeprefix(p) for p in _PREFIXES if source.startswith(p)), source)


def source_of(table: pa.Table, name: str, target: str) -> str:
    """The table's column that a bare name means in a segment: the prediction, a feature, or a tag."""
    if name in (target, "prediction"):
        return "prediction"
    return next((p + name for p in _PREFIXES if p + name in table.column_names), f"tag_{name}")


def infer_kind(column: pa.ChunkedArray) -> str:
    """What a column of the baseline looks like.

    Lists of numbers are embeddings, timestamps and ISO 8601 dates are times, strings with spaces and many values are
    text, other strings and booleans are categories, all else is a number. Integers stay numbers: whether they are codes
    only the policy can say.
    """
    kind = column.type
    if is_list(kind):
        return "embedding"
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        return "time"
    if pa.types.is_boolean(kind) or pa.types.is_dictionary(kind):
        return "category"
    if not is_string(kind):
        return "number"
    values = pc.unique(pc.drop_null(plain(column)))
    if len(values) and pc.all(pc.match_substring_regex(values[:_LOOKED_AT], _TIME)).as_py():
        return "time"
    spaced = pc.sum(pc.match_substring(values, " ")).as_py() or 0
    return "text" if len(values) > max(20, 0.05 * len(column)) and spaced > len(values) / 2 else "category"


def is_string(kind: pa.DataType) -> bool:
    """Whether a column of this type holds text."""
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))
