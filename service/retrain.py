"""Retraining: curate → train → judge → write the challenger's baseline → move the champion pointer.

Recorded before anything starts, under a name that follows from the decision, so that no crash opens it twice; each
state is saved as it is reached, and an unfinished retraining is begun again from its decision.
"""

import hashlib
import json
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import parquet

from monitors.baseline.baselines import Baseline
from policies.decision import TRIGGER_CODES
from policies.file.policy import Policy
from policies.gate import Verdict
from service.errors import ArchiveAway, ServiceError
from service.house import House
from service.ledger.records import DecisionRecord, Release, Retraining, Watch
from service.orders.cancelling import RetrainingCancelled, forget, heed
from service.training.checkpoints import Checkpoint
from service.training.comparing import compare, masks_of, outcomes, with_predictions
from service.training.curate import Curated, curate
from service.training.model_files import read_model
from service.training.models import Model
from service.training.readiness import failed_cases, latency_p95
from service.training.references import baseline_of, keep_baseline, read_reference
from service.training.registry import Registry
from service.training.train_files import Job, Outcome, prepare, prepare_again

_log = logging.getLogger(__name__)
_EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)
_LATEST = datetime(9000, 1, 1, tzinfo=UTC)

BASELINE_ROWS = 500
CALM_BASELINE_ROWS = 2_000
"""Without a known change, the newest of the rows that taught the model stand for the present."""

Launch = Callable[[Path, Callable[[Checkpoint], None]], Outcome]
"""Runs a prepared training job to its end, telling each checkpoint; raises TrainingError."""


def open_retraining(house: House, decision: DecisionRecord) -> Retraining | None:
    """The retraining of a decision, recorded before anything starts; None where it was opened before."""
    retraining = Retraining(
        id=name_of(decision),
        model=decision.model,
        decision=decision.id,
        champion=decision.version,
        state="requested",
        opened_at=house.clock(),
        reasons=tuple(sorted({r["code"] for r in decision.reasons if r["met"] and r["code"] in TRIGGER_CODES})),
        segments=decision.triggers,
        change_started=decision.change_started,
        labels_seen=house.ledger.evaluation(decision.model).labels,
    )
    if not house.ledger.open_retraining(retraining):
        return None
    for verb in ("retrain", "approve"):
        house.ledger.drop_request(decision.model, verb)
    return retraining


def name_of(decision: DecisionRecord) -> str:
    """A name that the same decision always gives: from model, policy, baseline and the window's end."""
    said = json.dumps([decision.model, decision.policy, decision.baseline, decision.at.isoformat()])
    return "r-" + hashlib.sha256(said.encode()).hexdigest()[:12]


@dataclass(frozen=True)
class Trial:
    """What a training gave: the challenger, what it makes of the unseen rows, and the rows for its baseline.

    `everything` are the rows of the challenger's candidate when nothing is held back.
    """

    job: Job
    everything: pa.Table
    challenger: Model
    outcome: Outcome
    unseen: pa.Table
    baseline_rows: pa.Table


class Retrainer:
    """Brings one retraining from requested to its end."""

    def __init__(self, house: House, registry: Registry, launch: Launch) -> None:
        self._house = house
        self._registry = registry
        self._launch = launch

    def run(self, policy: Policy, retraining: Retraining) -> Retraining:
        """The finished retraining. What goes wrong ends it as failed, and a person's word as cancelled, with the reason
        in its note; once the champion has moved it is too late to cancel.

        Raises:
            ArchiveAway: rows or models cannot be read or written now; it is begun again.
        """
        try:
            return self._run(policy, retraining)
        except ArchiveAway:
            raise
        except ServiceError as error:
            state = "cancelled" if isinstance(error, RetrainingCancelled) else "failed"
            _log.warning("retraining %s of %s %s: %s", retraining.id, retraining.model, state, error)
            known = self._house.ledger.retraining(retraining.model, retraining.id) or retraining
            return self._finish(known, state, str(error))

    def _run(self, policy: Policy, retraining: Retraining) -> Retraining:
        ledger, model = self._house.ledger, retraining.model
        baseline = ledger.baseline(model, retraining.champion)
        if ledger.champion(model) != retraining.champion or baseline is None:
            return self._finish(retraining, "cancelled", "another version became the champion meanwhile")
        self._heed(retraining)
        if policy.retrain.trainer.kind != "builtin":
            kind = policy.retrain.trainer.kind
            return self._finish(retraining, "failed", f"trainers of kind {kind} are not launched yet; use builtin")
        curated = self._curate(policy, retraining)
        self._heed(retraining)
        retraining = self._save(retraining, state="training", manifest=dict(curated.manifest), checkpoints=())
        trial, retraining = self._train(policy, retraining, curated, baseline)
        self._heed(retraining)
        retraining = self._save(retraining, state="judging", labelled_rows=trial.outcome.training_rows)
        verdict = self._judge(policy, retraining, trial, baseline)
        retraining = self._save(retraining, verdict=msgspec.to_builtins(verdict))
        ledger.count(model, f"verdicts:{'pass' if verdict.passed else 'fail'}")
        if not verdict.passed:
            return self._finish(retraining, "refused", "; ".join(r.text for r in verdict.reasons if r.met))
        folder = self._train_again(retraining, trial)
        retraining = self._save(retraining, labelled_rows=trial.everything.num_rows)
        self._heed(retraining)
        failed = self._failed_cases(policy, read_model(folder / "model"))
        if failed:
            return self._finish(retraining, "refused", f"with all rows taught, {failed} cases that must pass do not")
        return self._release(policy, retraining, trial)

    def _curate(self, policy: Policy, retraining: Retraining) -> Curated:
        return curate(
            self._labelled(retraining.model),
            change_started=retraining.change_started,
            fault_slices=self._house.ledger.faulty_slices(retraining.model),
            slice_seconds=int(policy.window.slice.total_seconds()),
            cuts=policy.segments,
            target=policy.task.target,
        )

    def _labelled(self, model: str) -> pa.Table:
        """All labelled rows: those of the archive, and the first version's baseline rows, which came from a file."""
        house = self._house
        tables = [house.archive.labelled(model, _EARLIEST, _LATEST)]
        for release in house.ledger.releases(model):
            first = read_reference(house.files, model, release.version) if release.kind == "first" else None
            if first is not None:
                tables.insert(0, first)
        usable = [table for table in tables if "label" in table.column_names]
        return pa.concat_tables(usable, promote_options="permissive")

    def _train(
        self, policy: Policy, retraining: Retraining, curated: Curated, baseline: Baseline
    ) -> tuple[Trial, Retraining]:
        folder = self._house.settings.data_dir / "retrainings" / retraining.id
        version = next_version(self._house, retraining.model)
        job = Job(
            model=retraining.model,
            version=version,
            task=policy.task.kind,
            created=self._house.clock().isoformat(),
            candidates=tuple(curated.candidates),
            columns=policy.column_kinds(),
        )
        prepare(folder, job, curated, masks_of(baseline, curated.validation))
        noted: list[Checkpoint] = []

        def note(checkpoint: Checkpoint) -> None:
            noted.append(checkpoint)
            self._save(retraining, checkpoints=tuple(c.to_dict() for c in noted))
            self._heed(retraining)

        outcome = self._launch(folder, note)
        challenger = read_model(folder / "model")
        retraining = self._save(retraining, version=version, checkpoints=tuple(c.to_dict() for c in noted))
        unseen = with_predictions(curated.holdout, challenger.predict(curated.holdout), version)
        honest = parquet.read_table(folder / "oof.parquet")
        learnt = pa.concat_tables(
            [curated.candidates[outcome.candidate], curated.validation], promote_options="permissive"
        )
        learnt = with_predictions(learnt, honest, version)
        rows = pa.concat_tables([learnt, unseen], promote_options="permissive")
        described = describe_now(rows, _when_rows_changed(retraining))
        return Trial(job, curated.whole[outcome.candidate], challenger, outcome, unseen, described), retraining

    def _train_again(self, retraining: Retraining, trial: Trial) -> Path:
        """What passed, with the rows that judged it: they are the newest, and held back they help nobody any more."""
        folder = self._house.settings.data_dir / "retrainings" / retraining.id / "released"
        prepare_again(folder, trial.job, trial.outcome.candidate, trial.everything, trial.outcome.checkpoint)
        self._launch(folder, lambda _: None)
        return folder

    def _judge(self, policy: Policy, retraining: Retraining, trial: Trial, baseline: Baseline) -> Verdict:
        """On rows that neither has learnt from: the champion as it served them, or as it would have."""
        holdout, kind = trial.unseen, policy.task.kind
        champion = self._champion_predictions(retraining, holdout)
        served = with_predictions(holdout, pa.table({"prediction": champion}), retraining.champion)
        answers = outcomes(kind, champion, holdout), outcomes(kind, holdout.column("prediction"), holdout)
        gate = policy.gate
        return compare(
            policy,
            *answers,
            masks_of(baseline, served),
            self._failed_cases(policy, trial.challenger),
            latency_p95(trial.challenger, holdout) if gate.latency_p95 else None,
        )

    def _failed_cases(self, policy: Policy, model: Model) -> int:
        cases = policy.gate.must_pass
        return failed_cases(model, self._house.settings.policies / cases) if cases else 0

    def _champion_predictions(self, retraining: Retraining, holdout: pa.Table) -> pa.ChunkedArray:
        ends = pc.min_max(holdout.column("timestamp")).as_py()
        served = self._house.archive.predictions(
            retraining.model,
            ends["min"],
            ends["max"] + timedelta(seconds=1),
            version=retraining.champion,
            columns=["prediction_id", "prediction"],
        )
        at = pc.index_in(holdout.column("prediction_id"), value_set=served.column("prediction_id").combine_chunks())
        found = served.column("prediction").take(at)
        if not found.null_count:
            return found
        model = self._registry.load(retraining.model, retraining.champion)
        return pc.coalesce(found, model.predict(holdout).column("prediction"))

    def _release(self, policy: Policy, retraining: Retraining, trial: Trial) -> Retraining:
        house, model, version = self._house, retraining.model, retraining.version
        folder = house.settings.data_dir / "retrainings" / retraining.id / "released" / "model"
        self._registry.adopt(folder, name=model, version=version)
        rows = trial.baseline_rows
        most = house.settings.max_segments
        baseline = baseline_of(policy, version, rows, out_of_fold=True, most_segments=most)
        keep_baseline(house.ledger, house.files, baseline, rows)
        now = house.clock()
        reason = ", ".join(retraining.reasons)
        house.ledger.move_champion(Release(model, version, retraining.champion, now, "release", reason, retraining.id))
        watch = Watch(version, retraining.champion, now + policy.watch.duration)
        house.ledger.save_watch(model, watch)
        return self._finish(retraining, "released", f"version {version} replaced {retraining.champion}")

    def _heed(self, retraining: Retraining) -> None:
        heed(self._house.ledger, retraining.model, retraining.id)

    def _finish(self, retraining: Retraining, state: str, note: str) -> Retraining:
        finished = self._save(retraining, state=state, note=note, finished_at=self._house.clock())
        forget(self._house.ledger, retraining.model, retraining.id)
        return finished

    def _save(self, retraining: Retraining, **changes: Any) -> Retraining:  # noqa: ANN401  fields of the record
        retraining = replace(retraining, **changes)
        self._house.ledger.save_retraining(retraining)
        return retraining


def _when_rows_changed(retraining: Retraining) -> datetime | None:
    """A fresh twin that wins says that newer rows teach better; rows as they are now may be much like those before."""
    return None if set(retraining.reasons) <= {"twin_better", "manual"} else retraining.change_started


def next_version(house: House, model: str) -> str:
    """The number after the largest one among the versions with a baseline."""
    numbers = [int(v) for v in house.ledger.baselines(model) if v.isdecimal()]
    return str(max(numbers, default=0) + 1)


def describe_now(rows: pa.Table, change_started: datetime | None) -> pa.Table:
    """The rows that a baseline is made of: those of the world as it is now, at least `BASELINE_ROWS` of them.

    A baseline that reached back over a change would take the change for the usual wobble, and see no further one.
    """
    rows = rows.sort_by([("timestamp", "ascending"), ("prediction_id", "ascending")])
    fewest = BASELINE_ROWS if change_started else CALM_BASELINE_ROWS
    after = (
        pc.sum(pc.greater_equal(rows.column("timestamp"), pa.scalar(change_started))).as_py() if change_started else 0
    )
    return rows.slice(max(0, rows.num_rows - max(after or 0, fewest)))
