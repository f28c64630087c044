"""Train files: what goes into a training job's folder, and what comes out of it.

In: `job.json` (a `Job`), `train-<candidate>.parquet` for each candidate, and, unless it repeats another training,
`validation.parquet` with an optional column `segments`, a list of names for each row. Out: `checkpoints.ndjson` as it
goes, `model/`, `oof.parquet` (prediction_id, prediction, confidence: each training row by a model that has not seen
it), and last `result.json` (an `Outcome`), or `error.json`. A file named `cancel` in the folder ends the job between
two checkpoints.

The holdout is not here: whoever judges the model predicts on it, so no job can learn from it. Once it has judged, a
second job repeats the training that passed with the holdout's rows among its own.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from service.training.checkpoints import BoolArray, Checkpoint
from service.training.curate import Curated
from service.training.model_files import Manifest, write_durably
from service.training.training_errors import TrainingData, TrainingError, TrainingFailed

_FORMAT = 1
_TASKS = ("classification", "regression")


@dataclass(frozen=True)
class Job:
    """What is to be trained. `columns` are overrides of kinds by bare name; `created` is ISO 8601 with an offset.

    A job that `repeats` a checkpoint chooses nothing: its one candidate is trained up to the same step.
    """

    model: str
    version: str
    task: str
    created: str
    candidates: tuple[str, ...]
    columns: Mapping[str, str]
    seed: int = 0
    repeats: Checkpoint | None = None
    format: int = _FORMAT


@dataclass(frozen=True)
class Outcome:
    """What came of it: the chosen candidate with its best checkpoint, and why other candidates could not be trained."""

    candidate: str
    checkpoint: Checkpoint
    training_rows: int
    manifest: Manifest
    refused: Mapping[str, str]
    candidates: Mapping[str, Checkpoint]


def prepare(folder: Path, job: Job, curated: Curated, segments: Mapping[str, BoolArray]) -> None:
    """Writes what `run` reads; `segments` are masks over the validation rows. `job.json` comes last."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in job.candidates:
        pq.write_table(curated.candidates[name], folder / f"train-{name}.parquet")
    names = [[name for name, mask in segments.items() if mask[row]] for row in range(curated.validation.num_rows)]
    column = pa.array(names, pa.list_(pa.string()))
    pq.write_table(curated.validation.append_column("segments", column), folder / "validation.parquet")
    write_job(folder, job)


def prepare_again(folder: Path, job: Job, name: str, rows: pa.Table, repeats: Checkpoint) -> None:
    """Writes what `run` reads for training the candidate `name` again, on `rows` and up to the step it `repeats`."""
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(rows, folder / f"train-{name}.parquet")
    write_job(folder, replace(job, candidates=(name,), repeats=repeats))


def write_job(folder: Path, job: Job) -> None:
    """Writes `job.json`."""
    write_durably(folder / "job.json", json.dumps(asdict(job), indent=2).encode())


def write_outcome(folder: Path, outcome: Outcome) -> None:
    """Writes `result.json`, whole or not at all."""
    write_durably(folder / "result.draft", json.dumps(asdict(outcome), indent=2).encode())
    (folder / "result.draft").replace(folder / "result.json")


def write_error(folder: Path, error: TrainingError) -> None:
    """Writes `error.json`."""
    said = {"error": type(error).__name__, "message": str(error)}
    write_durably(folder / "error.json", json.dumps(said, indent=2).encode())


def read_outcome(folder: Path) -> Outcome:
    """The outcome of a job that has ended.

    Raises:
        TrainingFailed: it ended with an error, or without an answer.
    """
    if (folder / "result.json").is_file():
        said = json.loads((folder / "result.json").read_bytes())
        manifest = {**said["manifest"], "classes": tuple(said["manifest"]["classes"])}
        return Outcome(
            **{
                **said,
                "checkpoint": Checkpoint(**said["checkpoint"]),
                "manifest": Manifest(**manifest),
                "candidates": {name: Checkpoint(**c) for name, c in said["candidates"].items()},
            }
        )
    if (folder / "error.json").is_file():
        said = json.loads((folder / "error.json").read_bytes())
        raise TrainingFailed(f"{said['error']}: {said['message']}")
    raise TrainingFailed(f"the training in {folder} ended without an answer; its last words are in job.log there")


def read_job(folder: Path) -> Job:
    """The job of a folder; raises `TrainingData` where it cannot be read."""
    file = folder / "job.json"
    try:
        said = json.loads(file.read_bytes())
        repeats = said.get("repeats") and Checkpoint(**said["repeats"])
        job = Job(**{**said, "candidates": tuple(said["candidates"]), "repeats": repeats})
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise TrainingData(f"{file} is not a training job: {error!r}") from error
    if job.format != _FORMAT or job.task not in _TASKS or not job.candidates:
        raise TrainingData(
            f"{file}: format {job.format}, task {job.task!r}, {len(job.candidates)} candidates cannot be run"
        )
    return job


def read_segments(validation: pa.Table) -> dict[str, BoolArray]:
    """The masks over validation rows that `prepare` wrote; empty where there are none."""
    if "segments" not in validation.column_names:
        return {}
    names = validation.column("segments").to_pylist()
    known = sorted({name for row in names for name in row or ()})
    return {name: np.asarray([name in (row or ()) for row in names]) for name in known}
