"""The folder of a retraining: what its trainer is given, and what it is judged by.

`<data>/retrainings/<id>/<name>/` holds `rows/`, which no trainer sees and which all that follows is read from, with
`manifest.json`, the account of every labelled row;
`training/`, the folder of its order; and, once it has passed the gate, `teaching/`. Whoever prepares a retraining
writes a folder of its own, and the record names the one that counts: two leaders never write into one another's files.
Where the house's files are at an address they are put there too, so that a leader on another machine can go on.
"""

import hashlib
import json
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
from pyarrow import parquet

from service.failures.carrying import write_failures
from service.house import House
from service.ledger.records import Retraining
from service.retraining.asking import Asked
from service.storage.files import Files
from service.training.checkpoints import BoolArray, Checkpoint
from service.training.curate import Curated
from service.training.model_files import write_durably
from service.training.train_files import Job, prepare, prepare_again, read_job
from service.training.training_errors import TrainingData, TrainingError

ROWS, TRAINING, TEACHING = "rows", "training", "teaching"
_ANSWERED = "answered"
"""A file that says that the trainer's answer is here too."""
_NEEDED = {"judging": (_ANSWERED,), "teaching": (_ANSWERED, TEACHING)}
_LEAVES = (ROWS, TRAINING, f"{TRAINING}/model", f"{TRAINING}/answer", TEACHING, f"{TEACHING}/model")


class FilesGone(TrainingError):
    """The files of a retraining are not on this machine, nor anywhere it could fetch them."""

    def __init__(self, place: Path) -> None:
        super().__init__(
            f"the files of this retraining are not in {place}: the machine that began it had them. Schedulers on "
            "several machines need the archive at an address, or one data folder"
        )


class RowsChanged(TrainingError):
    """The rows that a retraining is judged by are not those that were put aside for it."""

    def __init__(self, place: Path, expected: str, seen: str) -> None:
        super().__init__(
            f"{place} has the digest {seen[:12]}…, {expected[:12]}… was put aside: somebody has changed what the "
            "challenger is judged by. A trainer that you do not trust belongs on another machine"
        )


@dataclass(frozen=True)
class Folder:
    """One preparation of a retraining."""

    place: Path
    shared: Files | None
    path: str

    @property
    def training(self) -> Path:
        return self.place / TRAINING

    @property
    def teaching(self) -> Path:
        return self.place / TEACHING

    def read(self, name: str) -> pa.Table:
        """A table kept for judging: `asked`, `holdout`, `validation`, `train-<candidate>`, `aside-<candidate>` or
        `whole-<candidate>`.
        """
        return parquet.read_table(self.place / ROWS / f"{name}.parquet")

    @property
    def asked(self) -> Asked:
        """What the challenger is asked, with the answers."""
        return Asked(self.read("asked"))

    @property
    def job(self) -> Job:
        """The job as it was written for the trainer."""
        return read_job(self.place / ROWS)

    @property
    def given_rows(self) -> int:
        """How many labelled rows the trainer was given, where it took the largest candidate."""
        largest = max(self._rows(f"train-{name}") for name in self.job.candidates)
        return largest + self._rows("validation")

    @property
    def taught_rows(self) -> int:
        """How many rows the second training was given."""
        return sum(parquet.read_metadata(file).num_rows for file in (self.place / TEACHING).glob("train-*.parquet"))

    @property
    def rows_digest(self) -> str:
        """The digest of what no trainer is given, and all is judged by."""
        return digest_of(self.place / ROWS)

    def check_rows(self, expected: str) -> None:
        """Whether those rows are as they were put aside. Raises RowsChanged, FilesGone."""
        if not (self.place / ROWS).is_dir():
            raise FilesGone(self.place)
        seen = self.rows_digest
        if seen != expected:
            raise RowsChanged(self.place / ROWS, expected, seen)

    def share(self, part: str) -> None:
        """Put the files of a part where other machines can fetch them. Raises ArchiveAway."""
        for leaf in (leaf for leaf in _LEAVES if leaf.split("/")[0] == part):
            if self.shared is not None and (self.place / leaf).is_dir():
                self.shared.upload(self.place / leaf, f"{self.path}/{leaf.replace('/', '-')}")

    def fetch(self, *, is_answered: bool) -> None:
        """Have here what another machine has put there, by now with the trainer's answer or not. Raises ArchiveAway."""
        with _drafting(self.place) as draft:
            for leaf in _LEAVES if self.shared is not None else ():
                source = f"{self.path}/{leaf.replace('/', '-')}"
                if self.shared is not None and self.shared.names(source):
                    (draft / leaf).mkdir(parents=True)
                    self.shared.download(source, draft / leaf)
            if is_answered:
                (draft / _ANSWERED).touch()

    def keep_answer(self) -> None:
        """Before it is judged: whoever goes on elsewhere finds the same answer. Raises ArchiveAway."""
        self.share(TRAINING)
        (self.place / _ANSWERED).touch()

    def unshare(self) -> None:
        """Remove what was put there: no other machine goes on with a retraining that is over. Raises ArchiveAway."""
        if self.shared is None:
            return
        for leaf in _LEAVES:
            path = f"{self.path}/{leaf.replace('/', '-')}"
            for name in self.shared.names(path):
                self.shared.remove(f"{path}/{name}")

    def teach(self, candidate: str, checkpoint: Checkpoint) -> str:
        """Write the order that repeats a training with nothing held back; gives its digest. Again is no change.

        Raises:
            TrainingData: there was no such candidate.
        """
        if candidate not in self.job.candidates:
            raise TrainingData(f"result.json names the candidate {candidate[:80]!r}: {', '.join(self.job.candidates)}")
        with _drafting(self.teaching) as draft:
            prepare_again(draft, self.job, candidate, self.read(f"whole-{candidate}"), checkpoint)
        self.share(TEACHING)
        return digest_of(self.teaching)

    def _rows(self, name: str) -> int:
        return int(parquet.read_metadata(self.place / ROWS / f"{name}.parquet").num_rows)


def prepare_folder(
    house: House, retraining: Retraining, job: Job, curated: Curated, asked: Asked, segments: Mapping[str, BoolArray]
) -> tuple[str, str]:
    """Write a new folder for a retraining; gives its name, and the digest of what the trainer is given.

    Raises:
        ArchiveAway: it cannot be shared now.
    """
    name = secrets.token_hex(4)
    folder = folder_of(house, retraining.id, name)
    kept = {"asked": asked.known, "holdout": curated.holdout, "validation": curated.validation}
    kept |= {f"train-{candidate}": rows for candidate, rows in curated.candidates.items()}
    kept |= {f"whole-{candidate}": rows for candidate, rows in curated.whole.items()}
    kept |= {f"aside-{candidate}": rows for candidate, rows in curated.aside.items()}
    with _drafting(folder.place) as draft:
        (draft / ROWS).mkdir()
        for each, table in kept.items():
            parquet.write_table(table, draft / ROWS / f"{each}.parquet")
        write_durably(draft / ROWS / "manifest.json", json.dumps(curated.listing, indent=1).encode())
        prepare(draft / TRAINING, job, curated, segments)
        shutil.copyfile(draft / TRAINING / "job.json", draft / ROWS / "job.json")
        parquet.write_table(asked.unseen, draft / TRAINING / "unseen.parquet")
        write_failures(draft / TRAINING, retraining)
    for part in (ROWS, TRAINING):
        folder.share(part)
    return name, digest_of(folder.training)


def find_folder(house: House, retraining: Retraining) -> Folder:
    """The folder that the record names, fetched where another machine has written it.

    Raises:
        FilesGone: it is nowhere.
        ArchiveAway: it cannot be fetched now.
    """
    folder = folder_of(house, retraining.id, retraining.files)
    is_whole = all((folder.place / part).exists() for part in _NEEDED.get(retraining.state, (TRAINING,)))
    if not is_whole and folder.shared is not None and folder.shared.names(f"{folder.path}/{TRAINING}"):
        # It may be here as it was when this machine led before.
        shutil.rmtree(folder.place, ignore_errors=True)
        folder.fetch(is_answered=retraining.state in _NEEDED)
    if not folder.place.is_dir():
        raise FilesGone(folder.place)
    return folder


def remove_others(house: House, retraining: Retraining) -> None:
    """Remove what others prepared for the same retraining: the record does not name it, and never will."""
    for other in (house.settings.data_dir / "retrainings" / retraining.id).iterdir():
        if other.is_dir() and other.name != retraining.files:
            shutil.rmtree(other, ignore_errors=True)


def folder_of(house: House, retraining_id: str, name: str) -> Folder:
    """Where a folder of this name is, or would be."""
    place = house.settings.data_dir / "retrainings" / retraining_id / name
    shared = None if house.files.is_local else house.files
    return Folder(place, shared, f"retrainings/{retraining_id}/{name}")


def digest_of(folder: Path) -> str:
    """The SHA-256 of the names and contents of the files in a folder, in hex."""
    digest = hashlib.sha256()
    for file in sorted(file for file in folder.iterdir() if file.is_file()):
        with file.open("rb") as opened:
            content = hashlib.file_digest(opened, "sha256").hexdigest()
        digest.update(f"{file.name} {content}\n".encode())
    return digest.hexdigest()


@contextmanager
def _drafting(place: Path) -> Iterator[Path]:
    """A folder that appears whole or not at all, and is on disk then; one that is there already stays as it is."""
    place.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=".draft-", dir=place.parent))
    try:
        yield draft
        for path in (*draft.rglob("*"), draft):
            _sync(path)
        draft.chmod(0o755)
        try:
            draft.rename(place)
        except OSError:
            if not place.is_dir():
                raise
        _sync(place.parent)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
