"""Model files: one folder holds `model.skops` and `manifest.json`, which says what it is and proves its bytes.

Pickle (and joblib) runs whatever a file says. skops builds only known types, and of those a model needs just arrays,
numbers and strings, so nothing further is trusted here.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from io import BytesIO
from pathlib import Path
from zipfile import BadZipFile, ZipFile

import sklearn
import skops.io

from service.training.models import Model, model_from
from service.training.training_errors import BadModelFile, TamperedModel, UnexpectedType

MODEL_FILE = "model.skops"
MANIFEST_FILE = "manifest.json"
TRUSTED: tuple[str, ...] = ()
"""Types that are built beyond plain values and numpy arrays. None is needed; add one only with its reason."""


MOST_UNPACKED_BYTES = 2 << 30


@dataclass(frozen=True)
class Manifest:
    """What a model folder holds. `features` maps bare names to kinds; digests are hex; `created` is ISO 8601, UTC."""

    model: str
    version: str
    created: str
    task: str
    classes: tuple[str, ...]
    features: Mapping[str, str]
    rows_digest: str
    fingerprint: str
    sha256: str
    sklearn: str


def write_model(
    folder: Path, model: Model, *, name: str, version: str, created: datetime, rows_digest: str
) -> Manifest:
    """Writes a model and its manifest to `folder`, which is created; both are on disk when this returns."""
    folder.mkdir(parents=True, exist_ok=True)
    data = skops.io.dumps(model.parts())
    manifest = Manifest(
        model=name,
        version=version,
        created=created.isoformat(),
        task=model.task,
        classes=model.classes,
        features=model.columns,
        rows_digest=rows_digest,
        fingerprint=model.fingerprint(),
        sha256=hashlib.sha256(data).hexdigest(),
        sklearn=sklearn.__version__,
    )
    write_durably(folder / MODEL_FILE, data)
    write_durably(folder / MANIFEST_FILE, json.dumps(asdict(manifest), indent=2).encode())
    return manifest


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a model folder.

    Raises:
        FileNotFoundError: there is none.
        BadModelFile: it is not a manifest.
    """
    file = folder / MANIFEST_FILE
    try:
        fields = json.loads(file.read_bytes())
        return Manifest(**{**fields, "classes": tuple(fields["classes"])})
    except (ValueError, TypeError, KeyError) as error:
        raise BadModelFile(f"{file} is not a model manifest: {error}") from error


def read_model(folder: Path) -> Model:
    """The model of a folder, after its bytes were compared with the manifest and its types with what is trusted.

    Raises:
        FileNotFoundError: there is no model in this folder.
        BadModelFile: changed bytes (`TamperedModel`), foreign types (`UnexpectedType`), or not a model.
    """
    manifest, file = read_manifest(folder), folder / MODEL_FILE
    # Read once, so that the bytes that were checked are the bytes that are loaded.
    data = file.read_bytes()
    seen = hashlib.sha256(data).hexdigest()
    if seen != manifest.sha256:
        raise TamperedModel(file, manifest.sha256, seen)
    try:
        _check_unpacked(file, data)
        foreign = sorted(set(skops.io.get_untrusted_types(data=data)) - set(TRUSTED))
        if foreign:
            raise UnexpectedType(file, foreign)
        parts = skops.io.loads(data, trusted=list(TRUSTED))
        if not isinstance(parts, dict):
            raise UnexpectedType(file, [type(parts).__name__])
        model = model_from(parts)
    except (BadZipFile, LookupError, ValueError, TypeError, AttributeError, ArithmeticError, EOFError) as error:
        raise BadModelFile(f"{file} is not a Tidegate model: {error!r}") from error
    except (MemoryError, RecursionError) as error:
        # A few bytes may say that they are a table of a trillion numbers.
        raise BadModelFile(f"{file} is not a Tidegate model: {error!r}") from error
    if model.fingerprint() != manifest.fingerprint:
        raise TamperedModel(file, manifest.fingerprint, model.fingerprint())
    return model


def _check_unpacked(file: Path, data: bytes) -> None:
    with ZipFile(BytesIO(data)) as packed:
        unpacked = sum(part.file_size for part in packed.infolist())
    if unpacked > MOST_UNPACKED_BYTES:
        raise BadModelFile(f"{file} unpacks to {unpacked:,} bytes; at most {MOST_UNPACKED_BYTES:,} are taken")


def write_durably(file: Path, data: bytes) -> None:
    """Writes a file and waits until the disk has it."""
    with file.open("wb") as opened:
        opened.write(data)
        opened.flush()
        os.fsync(opened.fileno())
