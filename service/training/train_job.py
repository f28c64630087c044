"""Train job: one retraining's computing, from files to files, so that it runs in a process of its own anywhere.

The files are those of `train_files`; `python -m service.training.train_job FOLDER` is all that a launcher has to start.
"""

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TextIO

import pyarrow as pa
import pyarrow.parquet as pq

from service.training.attempts import Attempt, keep_attempt, kept_attempts
from service.training.checkpoints import Checkpoint
from service.training.curate import digest_ids
from service.training.model_files import Manifest, write_model
from service.training.models import Model
from service.training.train_files import Job, Outcome, read_job, read_segments, write_error, write_outcome
from service.training.trainers import OnCheckpoint, ShouldStop, out_of_fold, refit, train
from service.training.training_errors import TrainingData, TrainingError


def run(folder: Path, *, on_checkpoint: OnCheckpoint | None = None, should_stop: ShouldStop | None = None) -> Outcome:
    """Trains every candidate, chooses the one that is best on the validation rows, and trains it again with those
    rows, up to the checkpoint that was the best; gives and writes the outcome. Where an earlier run was killed, it
    goes on after the last candidate that was trained to its end.

    Raises:
        TrainingError: no candidate could be trained, or it was cancelled; `error.json` says the same.
    """
    for name in ("result.json", "error.json"):
        (folder / name).unlink(missing_ok=True)
    try:
        outcome = _run(folder, on_checkpoint, should_stop)
    except TrainingError as error:
        write_error(folder, error)
        raise
    write_outcome(folder, outcome)
    return outcome


def _run(folder: Path, on_checkpoint: OnCheckpoint | None, should_stop: ShouldStop | None) -> Outcome:
    job = read_job(folder)
    if job.repeats:
        return _repeat(folder, job, job.repeats)
    validation = pq.read_table(folder / "validation.parquet")
    attempts, refused = _try_all(folder, job, validation, on_checkpoint, _stop(folder, should_stop))
    if not attempts:
        raise TrainingData("; ".join(f"{name}: {why}" for name, why in refused.items()))
    chosen = min(attempts, key=lambda attempt: attempt.rank)
    rows = _rows(folder, chosen.name)
    everything = pa.concat_tables([rows, validation.select(_shared(rows, validation))], promote_options="permissive")
    manifest = _finish(folder, job, everything, chosen.best.step)
    return Outcome(chosen.name, chosen.best, everything.num_rows, manifest, refused, {a.name: a.best for a in attempts})


def _try_all(
    folder: Path, job: Job, validation: pa.Table, on_checkpoint: OnCheckpoint | None, should_stop: ShouldStop
) -> tuple[list[Attempt], dict[str, str]]:
    """The candidates that could be trained, and why the others could not."""
    attempts = kept_attempts(folder, job.candidates)
    refused: dict[str, str] = {}
    with _begun(folder / "checkpoints.ndjson", attempts) as lines:

        def note(checkpoint: Checkpoint) -> None:
            lines.write(json.dumps(checkpoint.to_dict()) + "\n")
            lines.flush()
            if on_checkpoint:
                on_checkpoint(checkpoint)

        for name in [n for n in job.candidates if n not in {attempt.name for attempt in attempts}]:
            try:
                attempts.append(_attempt(folder, job, name, validation, note, should_stop))
            except TrainingData as error:
                refused[name] = str(error)
            else:
                keep_attempt(folder, attempts[-1])
    return attempts, refused


def _begun(file: Path, attempts: Sequence[Attempt]) -> TextIO:
    """The file of checkpoints with those of the attempts in it, and open for more."""
    draft = file.with_suffix(".draft")
    with draft.open("w") as lines:
        lines.writelines(json.dumps(each.to_dict()) + "\n" for attempt in attempts for each in attempt.checkpoints)
    draft.replace(file)
    return file.open("a")


def _rows(folder: Path, name: str) -> pa.Table:
    return pq.read_table(folder / f"train-{name}.parquet")


def _shared(rows: pa.Table, others: pa.Table) -> list[str]:
    """The columns of both: curation weighs only what it may choose."""
    return [name for name in rows.column_names if name in others.column_names]


def _repeat(folder: Path, job: Job, best: Checkpoint) -> Outcome:
    rows = _rows(folder, job.candidates[0])
    model = refit(rows, task=job.task, columns=job.columns, seed=job.seed, step=best.step)
    return Outcome(job.candidates[0], best, rows.num_rows, _write(folder, job, model, rows), {}, {})


def _attempt(
    folder: Path, job: Job, name: str, validation: pa.Table, note: OnCheckpoint, should_stop: ShouldStop
) -> Attempt:
    taken: list[Checkpoint] = []
    # What follows the candidates, the last fit and those of its folds, takes about as long as one of them.
    done, parts = job.candidates.index(name), len(job.candidates) + 1

    def take(checkpoint: Checkpoint) -> None:
        progress = (done + (checkpoint.progress or 0.0)) / parts
        taken.append(replace(checkpoint, candidate=name, progress=progress))
        note(taken[-1])

    train(
        _rows(folder, name),
        validation,
        task=job.task,
        columns=job.columns,
        segments=read_segments(validation),
        seed=job.seed,
        on_checkpoint=take,
        should_stop=should_stop,
    )
    return Attempt(name, tuple(taken))


def _finish(folder: Path, job: Job, rows: pa.Table, step: int) -> Manifest:
    model = refit(rows, task=job.task, columns=job.columns, seed=job.seed, step=step)
    honest = out_of_fold(rows, task=job.task, columns=job.columns, seed=job.seed, step=step)
    pq.write_table(honest.add_column(0, "prediction_id", rows.column("prediction_id")), folder / "oof.parquet")
    return _write(folder, job, model, rows)


def _write(folder: Path, job: Job, model: Model, rows: pa.Table) -> Manifest:
    return write_model(
        folder / "model",
        model,
        name=job.model,
        version=job.version,
        created=datetime.fromisoformat(job.created),
        rows_digest=digest_ids(rows),
    )


def _stop(folder: Path, should_stop: ShouldStop | None) -> Callable[[], bool]:
    return lambda: (folder / "cancel").exists() or bool(should_stop and should_stop())


def main(folder: Path) -> int:
    """Runs the job of a folder; 0 when there is a result, 1 when there is an error."""
    try:
        run(folder)
    except TrainingError as error:
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
