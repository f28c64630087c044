"""Arrow tables to bytes and back, and tables that differ in their columns put together."""

from collections.abc import Iterable, Sequence
from functools import lru_cache

import pyarrow as pa
import pyarrow.compute as pc

from service.errors import UnreadableEntry
from service.intake.forms import with_one_form

TIME = pa.timestamp("us", "UTC")
NUMBERS = pa.list_(pa.float32())
"""Of a feature that is a list of numbers."""
_COMPRESSED = pa.ipc.IpcWriteOptions(compression="lz4")
# Texts shrink to less than half. Numbers shrink by a seventh, for twelve times the work of packing and reading them.
_LONG_TEXT_BYTES = 256
_SMALL_BYTES = 16 * 1024


def pack(table: pa.Table) -> bytes:
    """The table as one Arrow IPC stream, compressed where its rows are long texts."""
    plain = _stream(table, None)
    most = max(_SMALL_BYTES, _LONG_TEXT_BYTES * table.num_rows)
    if len(plain) > most and sum(each.nbytes for each in table.columns if pa.types.is_string(each.type)) > most:
        return _stream(table, _COMPRESSED)
    return plain


def _stream(table: pa.Table, options: pa.ipc.IpcWriteOptions | None) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema, options=options) as writer:
        writer.write_table(table.combine_chunks())
    return bytes(sink.getvalue())


def unpack(data: bytes, rows: int = -1) -> pa.Table:
    """The table of an Arrow IPC stream, fully validated; quicker where it is one batch of so many rows.

    Raises:
        UnreadableEntry: the bytes are no such stream.
    """
    try:
        table = _only_batch(data) if rows > 0 else None
        if table is None or table.num_rows != rows:
            with pa.ipc.open_stream(pa.BufferReader(data)) as reader:
                table = reader.read_all()
        table.validate(full=True)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise UnreadableEntry(f"not a readable Arrow stream: {error}") from error
    return table


def heading(data: bytes) -> bytes:
    """The schema of an Arrow IPC stream as it stands there: a mark, a length, and so many bytes."""
    return data[: 8 + int.from_bytes(data[4:8], "little")]


@lru_cache(maxsize=256)
def schema_of(heading: bytes) -> pa.Schema:
    """The schema of a heading. Reading it takes longer than reading a small batch, and most headings are the same."""
    return pa.ipc.read_schema(pa.py_buffer(heading))


def _only_batch(data: bytes) -> pa.Table:
    begin = heading(data)
    batch = pa.ipc.read_record_batch(pa.py_buffer(data).slice(len(begin)), schema_of(begin))
    return pa.Table.from_batches([batch])


def concat(tables: Sequence[pa.Table]) -> pa.Table:
    """All rows under all columns, nulls where a table lacks one.

    A column whose type differs becomes text: numbers as JSON writes them, true and false. One that is a list here and a
    single value there keeps the form that holds more values.
    """
    if len(tables) == 1:
        return tables[0]
    tables = with_one_form(tables)
    types: dict[str, pa.DataType] = {}
    for table in tables:
        for field in table.schema:
            seen = types.setdefault(field.name, field.type)
            if seen != field.type:
                types[field.name] = NUMBERS if pa.types.is_list(seen) else pa.string()
    schema = pa.schema(list(types.items()))
    if all(table.schema == schema for table in tables):
        return pa.concat_tables(tables)
    return pa.concat_tables([_under(table, schema) for table in tables])


def group_by_schema(tables: Iterable[pa.Table]) -> list[pa.Table]:
    """The tables, those of equal columns put together; so no value changes its type because of its neighbours."""
    groups: dict[pa.Schema, list[pa.Table]] = {}
    for table in tables:
        groups.setdefault(table.schema.remove_metadata(), []).append(table)
    return [pa.concat_tables(group) for group in groups.values()]


def split(table: pa.Table, column: str) -> dict[str, pa.Table]:
    """The rows for each value of a text column."""
    values = pc.unique(table.column(column)).to_pylist()
    if len(values) == 1:
        return {values[0]: table}
    return {value: table.filter(pc.equal(table.column(column), value)) for value in values}


def _under(table: pa.Table, schema: pa.Schema) -> pa.Table:
    columns = []
    for field in schema:
        if field.name not in table.column_names:
            columns.append(pa.nulls(table.num_rows, field.type))
        else:
            columns.append(pc.cast(table.column(field.name), field.type))
    return pa.Table.from_arrays(columns, schema=schema)
