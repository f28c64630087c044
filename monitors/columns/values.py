"""Values as text: the one spelling in which categories, classes and segments are compared."""

import hashlib

import pyarrow as pa
import pyarrow.compute as pc

LONGEST_BYTES = 256
"""Longer values are compared by how they begin and by their digest: names of bins and segments stay readable, and a
value of 10 MB costs its bytes once, not in every baseline and page."""
_KEPT_CHARACTERS = 40


def text_of(table: pa.Table, source: str) -> pa.ChunkedArray:
    """A column as text; a column that is not there is all null, and what has no text (a list) says its type.

    Whole numbers read the same as integers and as floats, long values are cut as `short` says.
    """
    if not has(table, source):
        return pa.chunked_array([pa.nulls(table.num_rows, pa.string())])
    column = table.column(source)
    if not pa.types.is_dictionary(column.type):
        return _shortened(_spelled(column))
    return pa.chunked_array([_of_dictionary(chunk) for chunk in column.chunks], pa.string())


def has(table: pa.Table, source: str) -> bool:
    """Whether the table has this column; `column_names` would spell all names anew, for each column of each batch."""
    return bool(table.schema.get_field_index(source) >= 0)


def plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """The column without its dictionary."""
    return pc.cast(column, column.type.value_type) if pa.types.is_dictionary(column.type) else column


def short(value: str) -> str:
    """A value as it is compared: whole up to `LONGEST_BYTES`, else its beginning and 64 bits of its SHA-256.

    >>> short("returns")
    'returns'
    >>> short("x" * 300)
    'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx… 0d4e2ca9e9cbced7'
    """
    data = value.encode()
    if len(data) <= LONGEST_BYTES:
        return value
    return f"{value[:_KEPT_CHARACTERS]}… {hashlib.sha256(data).hexdigest()[:16]}"


def _of_dictionary(column: pa.DictionaryArray) -> pa.Array:
    words = _shortened(_spelled(pa.chunked_array([column.dictionary])))
    return words.combine_chunks().take(column.indices)


def _spelled(column: pa.ChunkedArray) -> pa.ChunkedArray:
    if pa.types.is_string(column.type):
        return column
    if pa.types.is_integer(column.type):
        # Beyond 2^53 a float is the nearest one: JSON senders have no others.
        column = pc.cast(column, pa.float64(), safe=False)
    try:
        return pc.cast(column, pa.string())
    except pa.ArrowException:
        kind = pa.scalar(f"a {column.type}"[:_KEPT_CHARACTERS])
        return pc.if_else(pc.is_valid(column), kind, pa.scalar(None, pa.string()))


def _shortened(texts: pa.ChunkedArray) -> pa.ChunkedArray:
    if (pc.max(pc.binary_length(texts)).as_py() or 0) <= LONGEST_BYTES:
        return texts
    encoded = texts.combine_chunks().dictionary_encode()
    values = pa.array([short(value) for value in encoded.dictionary.to_pylist()], pa.string())
    return pa.chunked_array([values.take(encoded.indices)])
