"""The answer of a trainer: what it left in its order's folder, checked before anybody relies on a byte of it.

Either `model/`, files as the built-in trainer writes them, beside an optional `result.json` and `oof.parquet`; or
`answer/predictions.parquet` (or `.csv`, or `.ndjson`) of a model that stays outside, beside an optional
`answer/answer.json`.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, BinaryIO

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from service.launching.received import BadUpload, Form, read_rows
from service.launching.untrusted import is_plain, open_plain
from service.training.checkpoints import Checkpoint
from service.training.model_files import MANIFEST_FILE, MODEL_FILE, read_model
from service.training.models import REGRESSION, Model
from service.training.train_files import Outcome, read_outcome
from service.training.training_errors import TrainingError

MOST_MODEL_BYTES = 1 << 30
"""A linear model of 200,000 words and 1,000 classes has 800 MB; what is larger is better kept outside."""
MOST_ANSWER_BYTES = 256 << 20
_MOST_SAID_BYTES = 1 << 20
_Text = Annotated[str, msgspec.Meta(max_length=2_000)]


@dataclass(frozen=True, eq=False)
class Answer:
    """What a trainer answered.

    `predictions` has a row for each row that was asked about, `honest` one for each known row whose prediction came
    from a model that had not seen it: `prediction_id`, `prediction`, maybe `confidence` and `score_*`. `model` and
    `size_bytes` are None of a model that stays outside, at `uri`. `candidate` and `checkpoint` say how the training can
    be repeated; without them it cannot. `claims` are what the trainer says of its model: shown, and never believed.
    """

    predictions: pa.Table
    honest: pa.Table
    model: Model | None = None
    size_bytes: int | None = None
    training_rows: int | None = None
    candidate: str = ""
    checkpoint: Checkpoint | None = None
    uri: str = ""
    digest: str = ""
    claims: Mapping[str, Any] = field(default_factory=dict)


class BadAnswer(TrainingError):
    """What a trainer left cannot be used."""


class Said(msgspec.Struct, frozen=True):
    """`answer.json`: what a trainer says of a model that stays outside. Further keys are not looked at."""

    uri: _Text = ""
    digest: _Text = ""
    metrics: dict[str, Any] = {}


def read_answer(folder: Path, task: str, asked: pa.Table, validation: pa.Table) -> Answer:
    """The answer in a folder whose order has succeeded.

    `asked` are the rows of `unseen.parquet`, and `validation` those whose answers the trainer knew; both as they were
    given, for nothing that lay in the trainer's hands is read back.

    Raises:
        BadAnswer: there is none, or it cannot be used; the message says what to do.
        BadModelFile, NotPlain: files that must not be read.
    """
    found = [name for name in (_MODEL, *_FORMS) if is_plain(folder, name)]
    if len(found) != 1:
        seen = " and ".join(found) or "neither"
        raise BadAnswer(f"a trainer leaves either {_MODEL} or answer/predictions.parquet; {seen} is in {folder}")
    try:
        if found == [_MODEL]:
            return _of_model(folder, task, asked)
        return _of_predictions(folder, found[0], task, asked, validation)
    except (OSError, pa.ArrowException, msgspec.MsgspecError, RecursionError) as error:
        raise BadAnswer(f"the answer in {folder} cannot be read: {error}") from error


def read_taught(folder: Path, task: str) -> tuple[Model, int]:
    """The model that a trainer left in `model/`, and how many bytes it has.

    Raises:
        BadAnswer: it is not there, too large, or for another task.
        BadModelFile, NotPlain: files that must not be read.
    """
    size = 0
    for name in (f"model/{MODEL_FILE}", _MODEL):
        try:
            with open_plain(folder, name) as file:
                size += os.fstat(file.fileno()).st_size
        except FileNotFoundError:
            raise BadAnswer(f"{name} is missing: a model folder holds {MODEL_FILE} and {MANIFEST_FILE}") from None
    if size > MOST_MODEL_BYTES:
        raise BadAnswer(
            f"the model has {size:,} bytes, at most {MOST_MODEL_BYTES:,} are taken: answer with predictions, "
            "and keep the model outside"
        )
    model = read_model(folder / "model")
    if model.task != task:
        raise BadAnswer(f"the model is for a {model.task}, and the policy's task is {task}")
    return model, size


def check_predictions(said: pa.Table, ids: pa.Array, task: str) -> pa.Table:
    """The predictions in the order of `ids`: `prediction` as string or double, `confidence` and `score_*` as double.

    Raises:
        BadAnswer: an id that is missing, unknown or there twice; a prediction of another type, none, or not finite; a
            confidence or score that is not from 0 to 1.
    """
    for name in ("prediction_id", "prediction"):
        if name not in said.column_names:
            raise BadAnswer(f"the predictions have no column {name}; there are {', '.join(said.column_names[:20])}")
    own = _as(said.column("prediction_id"), pa.string(), "prediction_id", "the ids as they were given, strings")
    _check_ids(own, ids)
    said = said.take(pc.index_in(ids, value_set=own.combine_chunks()))
    columns = {"prediction_id": pa.chunked_array([ids]), "prediction": _predictions(said.column("prediction"), task)}
    for name in said.column_names:
        if name == "confidence" or name.startswith("score_"):
            columns[name] = _shares(said.column(name), name)
    return pa.table(columns)


def _of_model(folder: Path, task: str, asked: pa.Table) -> Answer:
    model, size = read_taught(folder, task)
    ids = asked.column("prediction_id")
    try:
        said = model.predict(asked).add_column(0, "prediction_id", ids)
    except Exception as error:
        raise BadAnswer(f"the model cannot answer for the unseen rows: {error!r:.200}") from error
    outcome = _outcome(folder)
    return Answer(
        check_predictions(said, ids.combine_chunks(), task),
        _out_of_fold(folder, task),
        model=model,
        size_bytes=size,
        training_rows=outcome.training_rows if outcome else None,
        candidate=outcome.candidate if outcome else "",
        checkpoint=outcome.checkpoint if outcome else None,
    )


def _of_predictions(folder: Path, name: str, task: str, asked: pa.Table, validation: pa.Table) -> Answer:
    known, unknown = (_ids_of(rows) for rows in (validation, asked))
    ids = pc.unique(pa.concat_arrays([unknown, known]))
    with open_plain(folder, name) as file:
        said = check_predictions(_read_table(file, name, task), ids, task)
    more = Said()
    if is_plain(folder, _WORDS):
        with open_plain(folder, _WORDS) as file:
            words = file.read(_MOST_SAID_BYTES + 1)
        if len(words) > _MOST_SAID_BYTES:
            raise BadAnswer(f"{_WORDS} is too long; at most {_MOST_SAID_BYTES:,} bytes are read")
        more = msgspec.json.decode(words, type=Said)
    own, was_asked = (pc.is_in(said.column("prediction_id"), value_set=each) for each in (known, unknown))
    return Answer(said.filter(was_asked), said.filter(own), uri=more.uri, digest=more.digest, claims=more.metrics)


def _outcome(folder: Path) -> Outcome | None:
    if not is_plain(folder, "result.json"):
        return None
    try:
        return read_outcome(folder)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise BadAnswer(f"result.json is no outcome of a training: {error!r}") from error


def _out_of_fold(folder: Path, task: str) -> pa.Table:
    name = "oof.parquet"
    if not is_plain(folder, name):
        return pa.table({"prediction_id": pa.array([], pa.string())})
    with open_plain(folder, name) as file:
        said = _read_table(file, name, task)
    if "prediction_id" not in said.column_names:
        raise BadAnswer(f"{name} has no column prediction_id")
    return check_predictions(said, pc.cast(said.column("prediction_id"), pa.string()).combine_chunks(), task)


def _read_table(file: BinaryIO, name: str, task: str) -> pa.Table:
    size = os.fstat(file.fileno()).st_size
    if size > MOST_ANSWER_BYTES:
        raise BadAnswer(f"{name} has {size:,} bytes; at most {MOST_ANSWER_BYTES:,} are read")
    try:
        return read_rows(file, _FORMS.get(name, "parquet"), task)
    except BadUpload as error:
        raise BadAnswer(f"{name}: {error}") from error


_MODEL = f"model/{MANIFEST_FILE}"
_WORDS = "answer/answer.json"
_FORMS: Mapping[str, Form] = {f"answer/predictions.{form}": form for form in ("parquet", "csv", "ndjson")}


def _ids_of(rows: pa.Table) -> pa.Array:
    return rows.column("prediction_id").combine_chunks()


def _check_ids(own: pa.ChunkedArray, ids: pa.Array) -> None:
    if own.null_count:
        raise BadAnswer(f"{own.null_count:,} predictions have no prediction_id")
    missing = ids.filter(pc.invert(pc.is_in(ids, value_set=own.combine_chunks())))
    if len(missing):
        raise BadAnswer(f"{len(missing):,} of {len(ids):,} rows have no prediction, the first is {_shown(missing)}")
    unknown = own.filter(pc.invert(pc.is_in(own, value_set=ids)))
    if len(unknown):
        raise BadAnswer(f"{len(unknown):,} predictions are for rows that nobody asked about, like {_shown(unknown)}")
    if len(own) != len(ids):
        raise BadAnswer(f"{len(own):,} predictions for {len(ids):,} rows: each prediction_id once")


def _predictions(values: pa.ChunkedArray, task: str) -> pa.ChunkedArray:
    if values.null_count:
        raise BadAnswer(f"{values.null_count:,} predictions are empty; each row needs one")
    if task != REGRESSION:
        return _as(values, pa.string(), "prediction", "class names, strings or whole numbers")
    numbers = _as(values, pa.float64(), "prediction", "numbers, as the task is a regression")
    if not pc.all(pc.is_finite(numbers)).as_py():
        raise BadAnswer("predictions of a regression are finite numbers; there are NaN or infinite ones")
    return numbers


def _shares(values: pa.ChunkedArray, name: str) -> pa.ChunkedArray:
    shares = _as(values, pa.float64(), name, "numbers from 0 to 1")
    known = shares.drop_null()
    if not pc.all(pc.and_(pc.greater_equal(known, 0.0), pc.less_equal(known, 1.0)), min_count=0).as_py():
        raise BadAnswer(f"{name} is from 0 to 1; there are values outside, or NaN")
    return shares


def _as(values: pa.ChunkedArray, kind: pa.DataType, name: str, expected: str) -> pa.ChunkedArray:
    plain = values.type.value_type if pa.types.is_dictionary(values.type) else values.type
    is_number = pa.types.is_integer(plain) or (kind == pa.float64() and pa.types.is_floating(plain))
    is_text = kind == pa.string() and (pa.types.is_string(plain) or pa.types.is_large_string(plain))
    if is_number or is_text or (pa.types.is_null(plain) and kind == pa.float64()):
        return pc.cast(pc.cast(values, plain), kind)
    raise BadAnswer(f"{name} has the type {values.type}; expected are {expected}")


def _shown(values: pa.Array | pa.ChunkedArray) -> str:
    return repr(values[0].as_py())[:80]
