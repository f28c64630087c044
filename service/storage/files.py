"""Files: where Parquet files, reports and models live: a folder of this machine, or an address that fsspec knows.

A file is absent or whole, also after a power loss: a folder gets a draft that is renamed, object storage one upload.
"""

import io
import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from service.errors import ArchiveAway, BadSetting, ServiceError

Fill = Callable[[IO[bytes]], object]

_SETTING = "TIDEGATE_ARCHIVE"
_PAUSE_SECONDS = 10.0
"""After a failure nothing is tried for so long: who waits for one timeout after the other does nothing else."""
# A store that does not answer must be noticed while somebody waits. What the environment says goes first.
_OPTIONS: dict[str, dict[str, Any]] = {
    "s3": {"config_kwargs": {"connect_timeout": 3, "read_timeout": 20, "retries": {"max_attempts": 2}}}
}


class Files:
    """A place for files, each named by its path below it. Threads may share it.

    Raises:
        BadSetting: nothing is installed that knows the address.
    """

    def __init__(self, place: Path | str, *, beats: Callable[[], float] = time.monotonic) -> None:
        self.is_local = isinstance(place, Path) or "://" not in place
        self._place = str(place).rstrip("/") or "/"
        self._beats = beats
        self._away: tuple[float, ArchiveAway] | None = None
        self.filesystem: Any = None if self.is_local else _filesystem(self._place)
        """What reads the address, None for a folder."""

    @classmethod
    def of(cls, place: "Files | Path") -> "Files":
        """The place itself, or the one that a folder is."""
        return place if isinstance(place, Files) else cls(place)

    def __str__(self) -> str:
        """The folder or address itself."""
        return self._place

    def at(self, path: str) -> str:
        """The whole address of a file, as DuckDB and pyarrow's readers take it."""
        return f"{self._place}/{path}"

    def folder(self) -> Path:
        """The folder; only where `is_local`."""
        return Path(self._place)

    def check(self) -> None:
        """That a file can be written here; a folder is made when the first file comes.

        Raises:
            BadSetting: it cannot.
        """
        if self.is_local:
            return
        try:
            self.put(".tidegate", b"This place belongs to a Tidegate.\n")
        except ArchiveAway as error:
            raise BadSetting(_SETTING, self._place, f"nothing can be written there: {error.__cause__}") from error

    def write(self, path: str, fill: Fill) -> None:
        """Write a file through `fill`, which gets it open; a file of that name is replaced.

        Raises:
            ArchiveAway: it cannot be written now; no part of it is there.
        """
        if self.is_local:
            with self._naming():
                _write_whole(Path(self.at(path)), fill)
            return
        # Made whole before a byte is sent: an upload that is cut off is no file.
        whole = io.BytesIO()
        fill(whole)
        self.put(path, whole.getvalue())

    def put(self, path: str, content: bytes) -> None:
        """Write a file of this content; see `write`."""
        if self.is_local:
            self.write(path, lambda file: file.write(content))
            return
        with self._naming():
            try:
                self.filesystem.pipe_file(self.at(path), content)
            except FileNotFoundError as error:
                raise self._named(error) from error  # a bucket that is not there

    @contextmanager
    def open(self, path: str) -> Iterator[IO[bytes]]:
        """The file, to be read at any place.

        Raises:
            FileNotFoundError: there is none.
            ArchiveAway: the place does not answer.
        """
        with self._naming(), self._open(path) as file:
            yield file

    def read_all(self, paths: Sequence[str]) -> dict[str, bytes]:
        """The content of several files, asked for at once.

        Raises:
            FileNotFoundError: one is not there.
            ArchiveAway: the place does not answer.
        """
        with self._naming():
            if self.is_local:
                return {path: Path(self.at(path)).read_bytes() for path in paths}
            # The address of a file as its filesystem spells it, which may leave out the protocol.
            found = self.filesystem.cat([self.at(path) for path in paths])
            spelt = {path: self.filesystem._strip_protocol(self.at(path)) for path in paths}  # noqa: SLF001  fsspec's
            return {path: found[spelt[path]] for path in paths}

    def holds(self, path: str) -> bool:
        """Whether there is such a file. Raises ArchiveAway."""
        with self._naming():
            if self.is_local:
                return Path(self.at(path)).is_file()
            try:
                # Not isfile: to that, what cannot be asked is not there.
                return bool(self.filesystem.info(self.at(path))["type"] == "file")
            except FileNotFoundError:
                return False

    def remove(self, path: str) -> None:
        """Remove a file; one that is not there is no matter. Raises ArchiveAway."""
        with self._naming(), suppress(FileNotFoundError):
            if self.is_local:
                Path(self.at(path)).unlink()
            else:
                self.filesystem.rm_file(self.at(path))

    def names(self, path: str) -> list[str]:
        """Names of what lies directly below a path, sorted; none where nothing does. Raises ArchiveAway."""
        try:
            with self._naming():
                if self.is_local:
                    return sorted(entry.name for entry in Path(self.at(path)).iterdir())
                found = self.filesystem.ls(self.at(path), detail=False)
        except FileNotFoundError:
            return []
        return sorted(str(name).rstrip("/").rsplit("/", 1)[-1] for name in found)

    def upload(self, folder: Path, path: str, last: str = "") -> None:
        """Copy the files of a folder here, `last` after all others. Raises ArchiveAway."""
        names = sorted(file.name for file in folder.iterdir() if file.is_file())
        for name in sorted(names, key=lambda name: name == last):
            self.put(f"{path}/{name}", (folder / name).read_bytes())

    def download(self, path: str, folder: Path) -> None:
        """Copy what `upload` put here into a folder. Raises ArchiveAway."""
        for name in self.names(path):
            with self.open(f"{path}/{name}") as source, (folder / name).open("wb") as target:
                shutil.copyfileobj(source, target)

    @contextmanager
    def reading(self, failures: Callable[[Exception], bool]) -> Iterator[None]:
        """Names what goes wrong while something else reads files of this place, like DuckDB, whose failures it knows.

        Raises:
            ArchiveAway: they cannot be read now.
        """
        try:
            yield
        except Exception as error:
            if failures(error):
                raise self._named(error) from error
            raise

    def check_not_away(self) -> None:
        """Raises ArchiveAway where it was away a moment ago."""
        if self._away is not None and self._beats() < self._away[0]:
            raise self._away[1]
        self._away = None

    def _open(self, path: str) -> IO[bytes]:
        if self.is_local:
            return Path(self.at(path)).open("rb")
        file: IO[bytes] = self.filesystem.open(self.at(path), "rb")
        return file

    @contextmanager
    def _naming(self) -> Iterator[None]:
        self.check_not_away()
        try:
            yield
        except (FileNotFoundError, ServiceError, ValueError, TypeError, LookupError):
            raise  # what is in a file, or what was asked for, says nothing about the place
        except OSError as error:
            raise self._named(error) from error
        except Exception as error:
            if self.is_local:
                raise
            raise self._named(error) from error  # each library of fsspec has errors of its own

    def _named(self, error: Exception) -> ArchiveAway:
        named = ArchiveAway(self._place, error)
        if not self.is_local:
            self._away = (self._beats() + _PAUSE_SECONDS, named)
        return named


def _filesystem(address: str) -> Any:  # noqa: ANN401  fsspec's filesystems have no types
    import fsspec  # type: ignore[import-untyped]  # noqa: PLC0415  for places that are no folder
    from fsspec.config import conf  # type: ignore[import-untyped]  # noqa: PLC0415  same

    protocol = address.partition("://")[0]
    options = {name: value for name, value in _OPTIONS.get(protocol, {}).items() if name not in conf.get(protocol, {})}
    try:
        # No listings are kept: other processes write too.
        return fsspec.filesystem(protocol, use_listings_cache=False, skip_instance_cache=True, **options)
    except ImportError as error:
        need = 'pip install "tidegate[s3]"' if protocol == "s3" else f"install what fsspec needs for it ({error})"
        raise BadSetting(_SETTING, address, f"{protocol}:// is not known here: {need}") from error
    except ValueError as error:
        raise BadSetting(_SETTING, address, f"a folder or an address of fsspec is needed: {error}") from error


def _write_whole(path: Path, fill: Fill) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with draft.open("wb") as file:
            fill(file)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    """Waits until the disk has the folder's entries; without it a rename can be lost with the power."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
