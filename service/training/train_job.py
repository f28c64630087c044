"""Train job: one retraining's computing, from files to files, so that it runs in a process of its own anywhere.

The files are those of `train_files`; `python -m service.training.train_job FOLDER` is all that a launcher has to start.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from monitors.counting.segments import ALL
from service.training.checkpoints import Checkpoint
from service.training.curate import digest_ids
from service.training.model_files import Manifest, write_model
from service.training.models import Model
from service.training.train_files import Job, Outcome, read_job, read_segments, write_error, write_outcome
from service.training.trainers import OnCheckpoint, ShouldStop, out_of_fold, refit, train
from service.training.training_errors import TrainingData, TrainingError


def run(folder: Path, *, on_checkpoint: OnCheckpoint | None = None, should_stop: ShouldStop | None = None) -> Outcome:
    """Trains every candidate, chooses the one that is best on the validation rows, and trains it again with those
    rows, up to the checkpoint that was the best; gives and writes the outcome.

    Raises:
        TrainingError: no candidate could be trained, or it was cancelled; `error.json` says the same.
    """
    try:
        outcome = _run(folder, on_checkpoint, should_stop)
    except TrainingError as error:
        write_error(folder, error)
        raise
    write_outcome(folder, outcome)
    return outcome


def start(folder: Path) -> "subprocess.Popen[bytes]":
    """Starts `run` on a prepared folder in a child process; it ends with 0 and a result, or with 1 and an error."""
    with (folder / "job.log").open("wb") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "service.training.train_job", str(folder)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        )


@dataclass(frozen=True, eq=False)
class _Attempt:
    """A trained candidate: its rows and its best checkpoint."""

    name: str
    rows: pa.Table
    best: Checkpoint

    @property
    def rank(self) -> tuple[float, float]:
        """The lower the better: the share of wrong validation rows, then the loss (regression: the loss).

        Between steps of one training the loss decides, as it is smoother. Between candidates it misleads, as more
        rows make a model surer: on 53 choices over five streams, choosing by accuracy gave .7929 against .7817 on
        the rows that followed (sea_abrupt), .8120 against .8035 (clinc150), .7634 against .7598 (elec2), the same
        (mixed_abrupt), and .7795 against .7858 (noaa_weather).
        """
        loss = self.best.loss if self.best.validation_loss is None else self.best.validation_loss
        accuracy = self.best.metrics.get(ALL, {}).get("accuracy", 0.0)
        return -accuracy, loss


def _run(folder: Path, on_checkpoint: OnCheckpoint | None, should_stop: ShouldStop | None) -> Outcome:
    job = read_job(folder)
    if job.repeats:
        return _repeat(folder, job, job.repeats)
    validation = pq.read_table(folder / "validation.parquet")
    attempts: list[_Attempt] = []
    refused: dict[str, str] = {}
    with (folder / "checkpoints.ndjson").open("w") as lines:

        def note(checkpoint: Checkpoint) -> None:
            lines.write(json.dumps(checkpoint.to_dict()) + "\n")
            lines.flush()
            if on_checkpoint:
                on_checkpoint(checkpoint)

        for name in job.candidates:
            rows = pq.read_table(folder / f"train-{name}.parquet")
            try:
                attempts.append(_attempt(job, name, rows, validation, note, _stop(folder, should_stop)))
            except TrainingData as error:
                refused[name] = str(error)
    if not attempts:
        raise TrainingData("; ".join(f"{name}: {why}" for name, why in refused.items()))
    chosen = min(attempts, key=lambda attempt: attempt.rank)
    everything = pa.concat_tables(
        [chosen.rows, validation.select(chosen.rows.column_names)], promote_options="permissive"
    )
    manifest = _finish(folder, job, everything, chosen.best.step)
    return Outcome(chosen.name, chosen.best, everything.num_rows, manifest, refused, {a.name: a.best for a in attempts})


def _repeat(folder: Path, job: Job, best: Checkpoint) -> Outcome:
    rows = pq.read_table(folder / f"train-{job.candidates[0]}.parquet")
    model = refit(rows, task=job.task, columns=job.columns, seed=job.seed, step=best.step)
    return Outcome(job.candidates[0], best, rows.num_rows, _write(folder, job, model, rows), {}, {})


def _attempt(
    job: Job, name: str, rows: pa.Table, validation: pa.Table, note: OnCheckpoint, should_stop: ShouldStop
) -> _Attempt:
    best: list[Checkpoint] = []

    def take(checkpoint: Checkpoint) -> None:
        checkpoint = replace(checkpoint, candidate=name)
        note(checkpoint)
        if checkpoint.is_best:
            best[:] = [checkpoint]

    train(
        rows,
        validation,
        task=job.task,
        columns=job.columns,
        segments=read_segments(validation),
        seed=job.seed,
        on_checkpoint=take,
        should_stop=should_stop,
    )
    return _Attempt(name, rows, best[0])


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
    os.nice(5)
    sys.exit(main(Path(sys.argv[1])))
