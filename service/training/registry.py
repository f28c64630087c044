"""Registry: stored model versions, at `<data_dir>/models/<model>/<version>/`.

A version appears whole or not at all: it is written beside its place and renamed into it. It never changes afterwards.
Where several machines share files at an address, a version is also put there, its manifest last, and fetched from
there by a machine that has not stored it.
"""

import os
import shutil
import tempfile
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from threading import Lock

from service.storage.files import Files
from service.storage.keys import check_name
from service.training.model_files import Manifest, read_manifest, read_model, write_model
from service.training.models import Model
from service.training.training_errors import UnknownVersion, VersionExists

_MANIFEST = "manifest.json"
_KEPT = 16
"""Models kept in memory: a champion and a challenger for each of eight models; a large text model has 30 MB."""


class Registry:
    """The models of one data folder, and of `shared` files. Threads may use it; a loaded version is kept, as it never
    changes. Where `shared` is an address, everything also raises ArchiveAway.
    """

    def __init__(self, data_dir: Path, shared: Files | None = None) -> None:
        self.root = data_dir / "models"
        self._shared = None if shared is None or shared.is_local else shared
        self._loaded: OrderedDict[tuple[str, str], Model] = OrderedDict()
        self._lock = Lock()

    def save(self, model: Model, *, name: str, version: str, created: datetime, rows_digest: str) -> Manifest:
        """Stores a model under a new version; storing the same model there again changes nothing.

        Raises:
            VersionExists: another model is stored there.
            BadName: the name or version cannot be a folder name.
        """
        target = self.folder(name, version)
        with self._beside(target) as draft:
            self._fetch(name, version)
            write_model(draft, model, name=name, version=version, created=created, rows_digest=rows_digest)
            manifest = self._place(draft, target)
        if self._shared is not None:
            self._shared.upload(target, _path(name, version), last=_MANIFEST)
        return manifest

    def adopt(self, folder: Path, *, name: str, version: str) -> Manifest:
        """Copies the model that a training job left in `folder` under a new version, after checking it.

        Raises:
            BadModelFile: the folder holds no sound model.
            VersionExists, BadName: as `save`.
        """
        model, manifest = read_model(folder), read_manifest(folder)
        created = datetime.fromisoformat(manifest.created)
        return self.save(model, name=name, version=version, created=created, rows_digest=manifest.rows_digest)

    def load(self, name: str, version: str) -> Model:
        """A stored model.

        Raises:
            UnknownVersion: it is not stored here.
            BadModelFile: it was changed after it was stored, or is no model.
        """
        with self._lock:
            model = self._loaded.get((name, version))
            if model is None:
                folder = self.folder(name, version)
                self._fetch(name, version)
                try:
                    model = read_model(folder)
                except FileNotFoundError as error:
                    raise UnknownVersion(name, version, folder) from error
                self._loaded[name, version] = model
            self._loaded.move_to_end((name, version))
            if len(self._loaded) > _KEPT:
                self._loaded.popitem(last=False)
            return model

    def manifest(self, name: str, version: str) -> Manifest:
        """What is stored under a version; raises `UnknownVersion` where nothing is."""
        folder = self.folder(name, version)
        self._fetch(name, version)
        try:
            return read_manifest(folder)
        except FileNotFoundError as error:
            raise UnknownVersion(name, version, folder) from error

    def list_versions(self, name: str) -> list[str]:
        """The stored versions of a model, the oldest first; empty for a model that has none."""
        folder = self.root / check_name("model", name)
        for version in self._shared.names(f"models/{name}") if self._shared else ():
            self._fetch(name, version)
        found = [read_manifest(f) for f in folder.iterdir() if _is_version(f)] if folder.is_dir() else []
        return [m.version for m in sorted(found, key=lambda m: (datetime.fromisoformat(m.created), m.version))]

    def folder(self, name: str, version: str) -> Path:
        """Where a version is stored, or would be; raises `BadName`."""
        return self.root / check_name("model", name) / check_name("version", version)

    def _fetch(self, name: str, version: str) -> None:
        """Have a version here that another machine has put among the shared files."""
        target = self.folder(name, version)
        there = f"{_path(name, version)}/{_MANIFEST}"
        if self._shared is None or _is_version(target) or not self._shared.holds(there):
            return
        with self._beside(target) as draft:
            self._shared.download(_path(name, version), draft)
            self._place(draft, target)

    @contextmanager
    def _beside(self, target: Path) -> Iterator[Path]:
        target.parent.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix=".draft-", dir=target.parent))
        try:
            yield draft
        finally:
            shutil.rmtree(draft, ignore_errors=True)

    def _place(self, draft: Path, target: Path) -> Manifest:
        mine = read_manifest(draft)
        try:
            draft.chmod(0o755)
            draft.rename(target)
        except OSError:
            # A rename onto a folder that is not empty fails: somebody was here first.
            if not _is_version(target):
                raise
            stored = read_manifest(target)
            if stored.fingerprint != mine.fingerprint:
                raise VersionExists(mine.model, mine.version) from None
            return stored
        _sync_folder(target.parent)
        return mine


def _path(name: str, version: str) -> str:
    return f"models/{name}/{version}"


def _is_version(folder: Path) -> bool:
    return not folder.name.startswith(".") and (folder / _MANIFEST).is_file()


def _sync_folder(folder: Path) -> None:
    """Waits until the disk has the folder's entries; without it a rename can be lost with the power."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
