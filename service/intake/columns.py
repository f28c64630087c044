"""Arrow tables to bytes and back, and tables that differ in their columns put together."""

from collections.abc import Iterable, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from service.errors import UnreadableEntry
from service.intake.forms import with_one_form

TIME = pa.timestamp("us", "UTC")
NUMBERS = pa.list_(pa.float32())
"""Of a feature that is a list of numbers."""
_PACKED = pa.ipc.IpcWriteOptions(compression="lz4")
# Below this, compressing costs more than it saves.
_SMALL_BYTES = 4096


def pack(table: pa.Table) -> bytes:
    """The table as one Arrow IPC stream."""
    sink = pa.BufferOutputStream()
    options = _PACKED if table.nbytes > _SMALL_BYTES else None
    with pa.ipc.new_stream(sink, table.schema, options=options) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue())


def unpack(data: bytes) -> pa.Table:
    """The table of an Arrow IPC stream, fully validated. Raises UnreadableEntry."""
    try:
        with pa.ipc.open_stream(pa.BufferReader(data)) as reader:
            table = reader.read_all()
        table.validate(full=True)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise UnreadableEntry(f"not a readable Arrow stream: {error}") from error
    return table


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
