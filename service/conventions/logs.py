"""Logs of other systems: files with a JSON object a line, read into rows that know the line they came from."""

import gzip
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, tzinfo
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from service.conventions.unusable import Unusable


class Place(NamedTuple):
    """A line of a file, counted from 1."""

    file: Path
    line: int

    def __str__(self) -> str:
        """As compilers name it."""
        return f"{self.file}:{self.line}"


@dataclass(frozen=True)
class Told:
    """One object of a log, or of a line that is none the `problem`."""

    place: Place
    fields: dict[str, Any]
    problem: str = ""


@dataclass(frozen=True)
class Row:
    """One row as a sender would post it, or the problem of the line that gives none."""

    place: Place
    fields: dict[str, Any]
    problem: str = ""


@dataclass(frozen=True)
class Options:
    """What a log does not say itself.

    `columns` name the features of a list. `prediction` names the field or column of the prediction. `version` stands
    over every version that a log says. `threshold`: a single number is the probability of class 1, and it is predicted
    from there on. `zone` is that of times without one.
    """

    columns: tuple[str, ...] = ()
    prediction: str = ""
    version: str = ""
    threshold: float | None = None
    zone: tzinfo = UTC


def files_of(paths: Iterable[Path]) -> list[Path]:
    """The files themselves and all files below the folders, in the order of their names.

    Raises:
        Unusable: one is not there.
    """
    found: list[Path] = []
    for path in paths:
        if not path.exists():
            raise Unusable("unreadable", f"{path}: there is no such file or folder")
        within = sorted(path.rglob("*")) if path.is_dir() else [path]
        found += [file for file in within if file.is_file() and not file.name.startswith(".")]
    return list(dict.fromkeys(found))


def read(files: Iterable[Path]) -> Iterator[Told]:
    """Every line that is not empty; files that end in .gz are unpacked. Raises Unusable where one cannot be read."""
    for file in files:
        try:
            with gzip.open(file, "rb") if file.suffix == ".gz" else file.open("rb") as lines:
                for number, line in enumerate(lines, start=1):
                    if line.strip():
                        yield _told(Place(file, number), line)
        except (OSError, EOFError) as error:
            raise Unusable("unreadable", f"{file}: cannot be read: {error}") from error


def _told(place: Place, line: bytes) -> Told:
    try:
        return Told(place, msgspec.json.decode(line, type=dict[str, Any]))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        return Told(place, {}, f"the line is no JSON object: {error}")


def finish(row: Row, options: Options) -> Row:
    """The row with what the options say of every row."""
    fields = dict(row.fields)
    if options.version:
        fields["model_version"] = options.version
    if options.threshold is not None and not fields.get("scores"):
        fields |= _by_threshold(fields.get("prediction"), options.threshold)
    return replace(row, fields=fields)


def at_zone(text: str, zone: tzinfo) -> str:
    """A time with its zone; what is no time stays as it is, for the check of rows to name it."""
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        return text
    return text if at.tzinfo else at.replace(tzinfo=zone).isoformat()


def _by_threshold(value: object, threshold: float) -> dict[str, Any]:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        return {}
    return {"prediction": "1" if value >= threshold else "0", "scores": {"0": 1 - value, "1": value}}
