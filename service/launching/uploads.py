"""Uploads: the predictions or the model that a trainer sends, kept whole, under the digest of what was sent."""

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import IO, Literal

import msgspec
import pyarrow as pa
from pyarrow import parquet

from service.house import House
from service.launching.port import Order
from service.storage import keys
from service.storage.store import Store

What = Literal["answer", "model"]
ANSWER_FILE = "predictions.parquet"
BESIDE_MODEL = frozenset({"result.json", "oof.parquet"})
"""What the builtin trainer leaves beside its model: how the training can be repeated, and its honest predictions."""


@dataclass(frozen=True)
class Upload:
    """What a trainer sent. `sha256` and `bytes` are of the body as it came; `names` are the files that it became, in
    the folder `path` below the place of the house's files; `rows` are those of an answer.
    """

    what: What
    sha256: str
    bytes: int
    at: datetime
    path: str
    names: tuple[str, ...]
    rows: int = 0


@dataclass(frozen=True)
class Asked:
    """The order that something is sent for, by its name."""

    model: str
    retraining: str
    name: str


@dataclass(frozen=True)
class Sent:
    """A body that came: the SHA-256 of its bytes, and how many they are."""

    sha256: str
    bytes: int


def keep_answer(house: House, order: Asked, rows: pa.Table, sent: Sent) -> Upload:
    """Keep predictions, in the place of what was sent before. Raises ArchiveAway: nothing has changed."""
    return _keep(house, order, "answer", {ANSWER_FILE: partial(parquet.write_table, rows)}, sent, rows.num_rows)


def keep_model(house: House, order: Asked, files: Mapping[str, bytes], sent: Sent) -> Upload:
    """Keep the files of a model, in the place of what was sent before. Raises ArchiveAway: nothing has changed."""
    return _keep(house, order, "model", {name: _writing(content) for name, content in files.items()}, sent)


def upload_of(store: Store, model: str, order: str) -> Upload | None:
    """What the trainer of an order sent last."""
    found = store.do("GET", keys.outside(model, order, "upload"))
    return msgspec.json.decode(found, type=Upload) if found else None


def bring(house: House, order: Order, upload: Upload, more: Mapping[str, bytes]) -> None:
    """Bring what was sent into the order's folder, into `answer/` or `model/`, and more files with it.

    Where the house's files are at an address, it is put beside what the trainer was given, for whoever goes on
    elsewhere. Raises ArchiveAway.
    """
    folder = order.folder / upload.what
    folder.mkdir(exist_ok=True)
    base = order.folder.relative_to(house.settings.data_dir).as_posix()
    for name in upload.names:
        beside = upload.what == "model" and name in BESIDE_MODEL
        target = order.folder / name if beside else folder / name
        with house.files.open(f"{upload.path}/{name}") as source:
            _copy(source, target)
        if beside and not house.files.is_local:
            house.files.put(f"{base}/{name}", target.read_bytes())
    for name, content in more.items():
        _copy(BytesIO(content), folder / name)
    if not house.files.is_local:
        house.files.upload(folder, f"{base}-{upload.what}")


def _keep(
    house: House,
    order: Asked,
    what: What,
    files: Mapping[str, Callable[[IO[bytes]], object]],
    sent: Sent,
    rows: int = 0,
) -> Upload:
    before = upload_of(house.store, order.model, order.name)
    # A folder of its own for each content: what is meant changes in the store, at once, and nobody reads half of it.
    path = f"retrainings/{order.retraining}/sent/{order.name}-{what}-{sent.sha256[:16]}"
    for name, fill in files.items():
        house.files.write(f"{path}/{name}", fill)
    upload = Upload(what, sent.sha256, sent.bytes, house.clock(), path, tuple(files), rows)
    place = keys.outside(order.model, order.name, "upload")
    house.store.do("SET", place, msgspec.json.encode(upload), "EX", keys.OUTSIDE_SECONDS)
    if before is not None and before.path != path:
        for name in before.names:
            house.files.remove(f"{before.path}/{name}")
    return upload


def _writing(content: bytes) -> Callable[[IO[bytes]], object]:
    return lambda file: file.write(content)


def _copy(source: IO[bytes], target: Path) -> None:
    draft = target.with_name(f".{target.name}.draft")
    with draft.open("wb") as copy:
        shutil.copyfileobj(source, copy)
    draft.replace(target)
