import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from service.training.checkpoints import Checkpoint
from service.training.curate import Curated, curate, digest_ids
from service.training.model_files import read_model
from service.training.registry import Registry
from service.training.train_files import Job, prepare, prepare_again, read_job, read_outcome
from service.training.train_job import main, run
from service.training.training_errors import TrainingCancelled, TrainingData, TrainingFailed

START = datetime(2026, 11, 22, tzinfo=UTC)
CHANGE = 1000


def world(n: int = 1800) -> pa.Table:
    """A label that follows x, and from row 1,000 on the opposite."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=n)
    high = (x > 0) ^ (np.arange(n) >= CHANGE)
    stamp = pa.timestamp("us", tz="UTC")
    times = pa.array([START + timedelta(minutes=i) for i in range(n)], stamp)
    return pa.table(
        {
            "prediction_id": [f"p{i:05}" for i in range(n)],
            "timestamp": times,
            "prediction": np.where(x > 0, "high", "low"),
            "feature_x": x,
            "feature_channel": rng.choice(["web", "app"], n),
            "label": np.where(high, "high", "low"),
            "labelled_at": times,
        }
    )


def prepared(folder: Path, rows: pa.Table | None = None) -> Curated:
    found = curate(
        world() if rows is None else rows,
        change_started=START + timedelta(minutes=CHANGE),
        fault_slices=frozenset(),
        slice_seconds=3600,
    )
    channel = found.validation["feature_channel"].to_numpy()
    segments = {f"channel={c}": channel == c for c in ("web", "app")}
    job = Job("assistant", "2", "classification", START.isoformat(), tuple(found.candidates), {"channel": "category"})
    prepare(folder, job, found, segments)
    return found


def test_the_candidate_that_knows_the_new_world_is_chosen(tmp_path: Path) -> None:
    found = prepared(tmp_path)
    outcome = run(tmp_path)
    assert set(found.candidates) == {"after_change", "last_window"}
    assert outcome.candidate == "after_change"
    assert outcome.training_rows == found.candidates["after_change"].num_rows + found.validation.num_rows
    assert set(outcome.candidates) == set(found.candidates)
    predicted = read_model(tmp_path / "model").predict(found.holdout)
    assert np.mean(predicted["prediction"].to_numpy() == found.holdout["label"].to_numpy()) > 0.97


def test_a_training_that_passed_is_repeated_with_the_rows_that_judged_it(tmp_path: Path) -> None:
    found = prepared(tmp_path)
    first = run(tmp_path)
    again = tmp_path / "again"
    prepare_again(again, read_job(tmp_path), first.candidate, found.whole[first.candidate], first.checkpoint)
    for second in (run(again), read_outcome(again)):
        assert second.candidate == first.candidate
        assert second.training_rows == first.training_rows + found.holdout.num_rows
        assert read_model(again / "model").step == first.checkpoint.step
        assert second.manifest.rows_digest == digest_ids(found.whole[first.candidate])


def test_the_child_process_does_the_same_as_the_call(tmp_path: Path) -> None:
    for name in ("called", "child"):
        prepared(tmp_path / name)
    called = run(tmp_path / "called")
    program = [sys.executable, "-m", "service.training.train_job", str(tmp_path / "child")]
    subprocess.run(program, check=True, timeout=60)
    told = read_outcome(tmp_path / "child")
    assert told.manifest.fingerprint == called.manifest.fingerprint
    assert told.checkpoint == called.checkpoint
    assert read_outcome(tmp_path / "called") == called


def test_checkpoints_are_written_as_they_come_with_every_segment(tmp_path: Path) -> None:
    prepared(tmp_path)
    seen: list[int] = []

    def look(_: object) -> None:
        seen.append(len((tmp_path / "checkpoints.ndjson").read_text().splitlines()))

    run(tmp_path, on_checkpoint=look)
    assert seen == list(range(1, len(seen) + 1))
    lines = [json.loads(line) for line in (tmp_path / "checkpoints.ndjson").read_text().splitlines()]
    assert {line["candidate"] for line in lines} == {"after_change", "last_window"}
    assert all(set(line["metrics"]) == {"all", "channel=web", "channel=app"} for line in lines)


def test_the_training_rows_are_predicted_by_models_that_have_not_seen_them(tmp_path: Path) -> None:
    found = prepared(tmp_path)
    outcome = run(tmp_path)
    honest = pq.read_table(tmp_path / "oof.parquet")
    trained = pa.concat_tables([found.candidates[outcome.candidate], found.validation])
    assert honest["prediction_id"].equals(trained["prediction_id"])
    assert np.mean(honest["prediction"].to_numpy() == trained["label"].to_numpy()) > 0.95


def test_the_model_of_a_job_can_be_adopted(tmp_path: Path) -> None:
    prepared(tmp_path / "job")
    outcome = run(tmp_path / "job")
    registry = Registry(tmp_path)
    registry.adopt(tmp_path / "job" / "model", name="assistant", version="2")
    assert registry.manifest("assistant", "2").rows_digest == outcome.manifest.rows_digest


def test_a_cancelled_job_says_so_and_leaves_no_model(tmp_path: Path) -> None:
    prepared(tmp_path)
    (tmp_path / "cancel").touch()
    with pytest.raises(TrainingCancelled):
        run(tmp_path)
    with pytest.raises(TrainingFailed, match="TrainingCancelled: training was cancelled after checkpoint 1"):
        read_outcome(tmp_path)
    assert not (tmp_path / "model").exists()


def test_a_candidate_that_cannot_teach_is_named_and_another_is_taken(tmp_path: Path) -> None:
    rows = world()
    label = [("same" if CHANGE <= i < 1500 else v) for i, v in enumerate(rows["label"].to_pylist())]
    prepared(tmp_path, rows.set_column(rows.column_names.index("label"), "label", pa.array(label)))
    outcome = run(tmp_path)
    assert outcome.candidate == "last_window"
    assert "'same'" in outcome.refused["after_change"]


def test_a_job_that_no_candidate_can_serve_fails_with_every_reason(tmp_path: Path) -> None:
    rows = world()
    prepared(tmp_path, rows.set_column(rows.column_names.index("label"), "label", pa.array(["same"] * rows.num_rows)))
    assert main(tmp_path) == 1
    with pytest.raises(TrainingFailed, match=r"after_change: .*last_window: .*at least two"):
        read_outcome(tmp_path)


def test_a_folder_without_a_sound_job_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TrainingData, match=r"job\.json is not a training job"):
        run(tmp_path)
    with pytest.raises(TrainingFailed, match="without an answer"):
        read_outcome(tmp_path / "elsewhere")
    (tmp_path / "job.json").write_text(json.dumps({"candidates": [], "surprise": 1}))
    with pytest.raises(TrainingData, match="surprise"):
        run(tmp_path)


def test_a_job_that_was_killed_goes_on_after_its_last_whole_candidate(tmp_path: Path) -> None:
    for name in ("whole", "killed"):
        prepared(tmp_path / name)
    seen: list[Checkpoint] = []
    whole = run(tmp_path / "whole", on_checkpoint=seen.append)
    second = [each.candidate for each in seen].index("last_window")

    class Killed(BaseException):
        """What no job catches."""

    def kill(checkpoint: Checkpoint) -> None:
        if checkpoint.candidate == "last_window":
            raise Killed

    with pytest.raises(Killed):
        run(tmp_path / "killed", on_checkpoint=kill)
    told: list[Checkpoint] = []
    again = run(tmp_path / "killed", on_checkpoint=told.append)
    assert told == seen[second:]
    assert again.manifest.fingerprint == whole.manifest.fingerprint
    assert again.candidates == whole.candidates
    written = (tmp_path / "killed" / "checkpoints.ndjson").read_text()
    assert written == (tmp_path / "whole" / "checkpoints.ndjson").read_text()


def test_a_candidate_of_other_rows_is_trained_anew(tmp_path: Path) -> None:
    prepared(tmp_path)
    run(tmp_path)
    prepared(tmp_path, world(1700))
    told: list[Checkpoint] = []
    run(tmp_path, on_checkpoint=told.append)
    assert {each.candidate for each in told} == {"after_change", "last_window"}


def test_progress_only_grows_and_leaves_room_for_the_last_fit(tmp_path: Path) -> None:
    prepared(tmp_path)
    told: list[float | None] = []
    run(tmp_path, on_checkpoint=lambda checkpoint: told.append(checkpoint.progress))
    done = [each for each in told if each is not None]
    assert done == sorted(done)
    assert done[0] > 0
    assert done[-1] == pytest.approx(2 / 3)
