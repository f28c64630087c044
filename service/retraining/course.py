"""The course of a retraining: curate → train → judge → write the challenger's baseline → move the champion pointer.

Each state is saved as it is reached, and an unfinished retraining is begun again from its decision.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
from pyarrow import parquet

from monitors.baseline.baselines import Baseline
from policies.file.policy import Policy
from service.errors import ArchiveAway, ServiceError
from service.house import House
from service.ledger.records import Retraining
from service.orders.cancelling import RetrainingCancelled, forget, heed
from service.retraining.gathering import gather
from service.retraining.judging import cases_failed, judge_challenger
from service.retraining.opening import next_version
from service.retraining.releasing import describe_now, release, when_rows_changed
from service.training.checkpoints import Checkpoint
from service.training.comparing import masks_of, with_predictions
from service.training.curate import Curated
from service.training.model_files import read_model
from service.training.models import Model
from service.training.registry import Registry
from service.training.train_files import Job, Outcome, prepare, prepare_again

_log = logging.getLogger(__name__)

Launch = Callable[[Path, Callable[[Checkpoint], None]], Outcome]
"""Runs a prepared training job to its end, telling each checkpoint; raises TrainingError."""


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
        curated = gather(self._house, policy, retraining)
        self._heed(retraining)
        retraining = self._save(retraining, state="training", manifest=dict(curated.manifest), checkpoints=())
        trial, retraining = self._train(policy, retraining, curated, baseline)
        self._heed(retraining)
        retraining = self._save(retraining, state="judging", labelled_rows=trial.outcome.training_rows)
        verdict = judge_challenger(
            self._house, self._registry, policy, retraining, baseline, trial.challenger, trial.unseen
        )
        retraining = self._save(retraining, verdict=msgspec.to_builtins(verdict))
        ledger.count(model, f"verdicts:{'pass' if verdict.passed else 'fail'}")
        if not verdict.passed:
            return self._finish(retraining, "refused", "; ".join(r.text for r in verdict.reasons if r.met))
        folder = self._train_again(retraining, trial)
        retraining = self._save(retraining, labelled_rows=trial.everything.num_rows)
        self._heed(retraining)
        failed = cases_failed(self._house, policy, read_model(folder / "model"))
        if failed:
            return self._finish(retraining, "refused", f"with all rows taught, {failed} cases that must pass do not")
        release(self._house, self._registry, policy, retraining, folder / "model", trial.baseline_rows)
        return self._finish(retraining, "released", f"version {retraining.version} replaced {retraining.champion}")

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
        described = describe_now(rows, when_rows_changed(retraining))
        return Trial(job, curated.whole[outcome.candidate], challenger, outcome, unseen, described), retraining

    def _train_again(self, retraining: Retraining, trial: Trial) -> Path:
        """What passed, with the rows that judged it: they are the newest, and held back they help nobody any more."""
        folder = self._house.settings.data_dir / "retrainings" / retraining.id / "released"
        prepare_again(folder, trial.job, trial.outcome.candidate, trial.everything, trial.outcome.checkpoint)
        self._launch(folder, lambda _: None)
        return folder

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
