"""Policy files and the defaults beside them, from disk."""

from dataclasses import dataclass
from pathlib import Path

from policies.errors import PolicyInvalid
from policies.file.inherit import STEM, Defaults, read_defaults
from policies.file.parse import Settled, settle

SUFFIXES = (".yaml", ".yml")
Stamp = tuple[int, int]
"""When a file was changed, and its size: while both stay, its text does."""


def is_defaults(file: Path) -> bool:
    """Whether the file holds what the others of its folder inherit."""
    return file.stem == STEM and file.suffix in SUFFIXES


def defaults_beside(file: Path) -> Path | None:
    """The file that this one inherits from, if there is one in its folder."""
    found = (file.with_name(STEM + suffix) for suffix in SUFFIXES)
    return next((each for each in found if each.is_file() and each != file), None)


def read_settled(file: Path, defaults: Path | None = None) -> Settled:
    """The policy of a file over its defaults: those that are named, else those beside it.

    Raises PolicyInvalid, of either file; OSError or UnicodeDecodeError where one cannot be read.
    """
    below = defaults or defaults_beside(file)
    inherited = read_defaults(below.read_text(encoding="utf-8"), str(below)) if below else None
    return settle(file.read_text(encoding="utf-8"), str(file), inherited)


def stamp_of(file: Path) -> Stamp:
    """The stamp of a file as it is now. Raises OSError."""
    stat = file.stat()
    return stat.st_mtime_ns, stat.st_size


@dataclass(frozen=True)
class DefaultsState:
    """The last good defaults of a folder, None where it has none; and what is wrong with the newest, if anything."""

    defaults: Defaults | None = None
    problem: str = ""
    file: Path | None = None
    stamp: Stamp | None = None

    def look(self, file: Path | None) -> "DefaultsState":
        """The state after a look at the file; a text that cannot be taken leaves the defaults that were."""
        if file is None:
            return DefaultsState()
        kept = self.defaults
        try:
            stamp = stamp_of(file)
            if (self.file, self.stamp) == (file, stamp):
                return self
            return DefaultsState(read_defaults(file.read_text(encoding="utf-8"), str(file)), "", file, stamp)
        except PolicyInvalid as error:
            return DefaultsState(kept, str(error), file, stamp)
        except (OSError, UnicodeDecodeError) as error:
            return DefaultsState(kept, f"{file}: cannot be read: {error}", file)
