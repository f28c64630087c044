"""What a trainer sends, read: predictions in any of the usual forms, and the two files of a model out of an archive."""

import tarfile
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import PurePosixPath
from typing import IO, Any, BinaryIO, Literal

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv, parquet

from service.errors import MalformedBody, ServiceError
from service.intake.bodies import plain_streams
from service.intake.bodies.rows import explain
from service.launching.uploads import BESIDE_MODEL
from service.training.model_files import MANIFEST_FILE, MODEL_FILE

Form = Literal["parquet", "ndjson", "csv", "arrow"]
_MOST_UNPACKED_BYTES = 512 << 20
_MOST_MODEL_BYTES = 512 << 20
_MOST_COLUMNS = 1_000
_MOST_MEMBERS = 100
_MOST_MANIFEST_BYTES = 1 << 20
_MODEL_FILES = frozenset({MODEL_FILE, MANIFEST_FILE})
_ID, _PREDICTION, _CONFIDENCE, _SCORE = "prediction_id", "prediction", "confidence", "score_"


class BadUpload(ServiceError):
    """What a trainer sent cannot be used."""


def read_rows(body: BinaryIO, form: Form, task: str) -> pa.Table:
    """Predictions: the columns `prediction_id`, `prediction`, `confidence`, `score_*` as far as they are there, with
    whatever was sent in them. Ids and classes of a CSV are texts.

    Raises:
        BadUpload: it cannot be read.
    """
    body.seek(0)
    try:
        table = _READERS[form](body, task)
        wanted = [name for name in table.column_names if _is_wanted(name)][:_MOST_COLUMNS]
        # A row may be asked about in two files, and said twice alike.
        return table.group_by(wanted).aggregate([]) if wanted else table.select(wanted)
    except (pa.ArrowException, OSError, ValueError, MalformedBody) as error:
        raise BadUpload(f"the predictions cannot be read as {form}: {str(error)[:300]}") from error


def read_model_files(body: BinaryIO) -> dict[str, bytes]:
    """`model.skops` and `manifest.json` of a zip or tar archive, wherever in it they lie, and where they are there the
    builtin trainer's `result.json` and `oof.parquet`. Nothing is unpacked to disk.

    Raises:
        BadUpload: it is neither, lacks one of them or has it twice, or holds more than is allowed.
    """
    try:
        found = list(_zipped(body) if zipfile.is_zipfile(body) else _tarred(body))
    except (tarfile.TarError, zipfile.BadZipFile, OSError, EOFError, ValueError, NotImplementedError) as error:
        raise BadUpload(f"the model is no zip and no tar archive that can be read: {str(error)[:200]}") from error
    files = dict(found)
    if len(found) != len(files) or not files.keys() >= _MODEL_FILES:
        seen = ", ".join(sorted(name for name, _ in found)) or "neither"
        raise BadUpload(f"an archive with one {MODEL_FILE} and one {MANIFEST_FILE} is needed; it holds {seen}")
    return files


def _parquet(body: BinaryIO, _: str) -> pa.Table:
    names = [name for name in parquet.read_schema(body).names if _is_wanted(name)]
    # A text that comes often is kept once: a few bytes of a file may stand for gigabytes.
    once = [name for name in (_ID, _PREDICTION) if name in names]
    with parquet.ParquetFile(body, read_dictionary=once) as file:
        footer = file.metadata
        packed = sum(footer.row_group(group).total_byte_size for group in range(footer.num_row_groups))
        _check_unpacked(max(packed, 8 * footer.num_rows * len(names)))
        table = file.read(names)
    _check_unpacked(sum(_text_bytes(chunk) for column in table.columns for chunk in column.chunks))
    plain = [pa.field(f.name, f.type.value_type if pa.types.is_dictionary(f.type) else f.type) for f in table.schema]
    return table.cast(pa.schema(plain))


def _text_bytes(chunk: pa.Array) -> int:
    if not isinstance(chunk, pa.DictionaryArray) or not len(chunk):
        return 0
    return pc.sum(pc.binary_length(chunk.dictionary).take(chunk.indices)).as_py() or 0


def _check_unpacked(unpacked: int) -> None:
    if unpacked > _MOST_UNPACKED_BYTES:
        raise BadUpload(f"the predictions unpack to {unpacked:,} bytes; {_MOST_UNPACKED_BYTES:,} are allowed")


def _arrow(body: BinaryIO, _: str) -> pa.Table:
    schema, batches = plain_streams.read(body.read())
    table = pa.Table.from_batches(batches, schema)
    table.validate(full=True)
    return table


def _csv(body: BinaryIO, task: str) -> pa.Table:
    # Read as texts: an id like 007 is no number, and "null" may be the name of a class.
    kinds = {_ID: pa.string(), _PREDICTION: pa.float64() if task == "regression" else pa.string()}
    options = csv.ConvertOptions(column_types=kinds, null_values=[""], strings_can_be_null=True)
    return csv.read_csv(body, convert_options=options)


def _ndjson(body: BinaryIO, _: str) -> pa.Table:
    # pyarrow's own reader of JSON ends the process where a value is nested deep enough.
    text = body.read()
    try:
        rows = msgspec.json.Decoder(dict[str, Any]).decode_lines(text)
    except (msgspec.DecodeError, RecursionError) as error:
        raise MalformedBody(explain(error, text)) from error
    names = sorted({name for row in rows for name in row if _is_wanted(name)})
    return pa.table({name: pa.array([row.get(name) for row in rows]) for name in names})


_READERS: Mapping[Form, Callable[[BinaryIO, str], pa.Table]] = {
    "parquet": _parquet,
    "ndjson": _ndjson,
    "csv": _csv,
    "arrow": _arrow,
}


def _is_wanted(name: str) -> bool:
    return name in {_ID, _PREDICTION, _CONFIDENCE} or name.startswith(_SCORE)


def _zipped(body: BinaryIO) -> Iterator[tuple[str, bytes]]:
    with zipfile.ZipFile(body) as archive:
        members = archive.infolist()
        _check_members(len(members))
        for member in members:
            name = PurePosixPath(member.filename).name
            if name in _MODEL_FILES | BESIDE_MODEL and not member.is_dir():
                with archive.open(member) as file:
                    yield name, _within(file, name)


def _tarred(body: BinaryIO) -> Iterator[tuple[str, bytes]]:
    body.seek(0)
    with tarfile.open(fileobj=body, mode="r:*") as archive:
        for count, member in enumerate(archive, 1):
            _check_members(count)
            if archive.offset > _MOST_UNPACKED_BYTES:
                raise BadUpload(f"the archive unpacks to more than {_MOST_UNPACKED_BYTES} bytes")
            name = PurePosixPath(member.name).name
            # isreg: a link may point anywhere.
            if name in _MODEL_FILES | BESIDE_MODEL and member.isreg():
                file = archive.extractfile(member)
                if file is not None:
                    yield name, _within(file, name)


def _check_members(count: int) -> None:
    if count > _MOST_MEMBERS:
        raise BadUpload(f"the archive holds more than {_MOST_MEMBERS} files; two are needed")


def _within(file: IO[bytes], name: str) -> bytes:
    most = _MOST_MANIFEST_BYTES if name.endswith(".json") else _MOST_MODEL_BYTES
    content = file.read(most + 1)
    if len(content) > most:
        raise BadUpload(f"{name} unpacks to more than the {most} bytes allowed")
    return content
