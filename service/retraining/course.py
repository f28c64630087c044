"""The course of a retraining, as far as it can go now.

    requested → training → judging → teaching → trying → released, or refused, failed, cancelled

Each state is saved as it is reached, and nothing is waited for: all that is needed to go on is in the record and in the
retraining's folder, so that any leader goes on, also after a crash, also on another machine. The record moves by
compare-and-set: a leader that was stopped for long and wakes up changes nothing that another has brought further.
"""

import logging
from pathlib import Path

import msgspec

from monitors.baseline.baselines import Baseline
from policies.file.policy import Policy
from service.errors import ArchiveAway, ServiceError, StoreError
from service.house import House
from service.launching.choose import LauncherOf
from service.ledger.ledger import ChampionMoved, RetrainingMoved
from service.ledger.records import Retraining
from service.orders.cancelling import RetrainingCancelled
from service.retraining.answer import Answer, read_answer, read_taught
from service.retraining.describing import rows_to_describe
from service.retraining.folder import folder_of, prepare_folder, remove_others
from service.retraining.following import give_up, is_answered
from service.retraining.gathering import gather
from service.retraining.judging import cases_failed, judge_challenger, rows_to_ask, why_refused
from service.retraining.opening import next_version
from service.retraining.releasing import is_overtaken, promote, release
from service.retraining.report import keep_report
from service.retraining.standing import Standing, place, trainer_of
from service.retraining.trying import begin_trial, look_at_trial
from service.training.comparing import masks_of
from service.training.registry import Registry
from service.training.train_files import Job
from service.training.training_errors import TrainingError

_log = logging.getLogger(__name__)
REPEATABLE = ("builtin", "command", "kubernetes")
"""Kinds of trainers that are asked to train once more. A webhook starts a pipeline, once."""


_MOST_NOTE = 1_000


class Overtaken(TrainingError):
    """The champion that a retraining was to replace is not the champion any more."""

    def __init__(self) -> None:
        super().__init__("another version became the champion meanwhile")


class Course:
    """Brings retrainings further; `launchers` gives the launcher for a trainer."""

    def __init__(self, house: House, registry: Registry, launchers: LauncherOf) -> None:
        self._house = house
        self._registry = registry
        self._launchers = launchers

    def step(self, policy: Policy, retraining: Retraining) -> Retraining:
        """The retraining, as far as it can go now. What goes wrong ends it as failed, and a person's word as
        cancelled, with the reason in its note; once the champion has moved it is too late to cancel.

        Raises:
            ArchiveAway, StoreError: what it needs does not answer now; it goes on later.
            RetrainingMoved: another process goes on with it.
        """
        standing = Standing(self._house, retraining)
        state = ""
        try:
            while state != standing.record.state and not standing.record.is_finished:
                state = standing.record.state
                self._go_on(policy, standing)
        except (ArchiveAway, StoreError, RetrainingMoved):
            raise
        except ServiceError as error:
            end = "cancelled" if isinstance(error, RetrainingCancelled | Overtaken | ChampionMoved) else "failed"
            _log.warning("retraining %s of %s %s: %s", retraining.id, retraining.model, end, error)
            # Noted first: a process that was overtaken must not end a training that another one follows.
            standing.save(note=str(error))
            give_up(self._launchers, standing)
            standing.finish(end, str(error))
        except Exception as error:
            standing.note(f"{standing.record.state} went wrong and is tried again: {error!r}"[:_MOST_NOTE])
            raise
        if standing.record.is_finished:
            keep_report(self._house, policy, standing.record)
            self._tidy(standing.record)
        return standing.record

    def _tidy(self, known: Retraining) -> None:
        try:
            folder_of(self._house, known.id, known.files).unshare()
        except ArchiveAway as error:
            _log.warning("files of the retraining %s stay at the archive's address: %s", known.id, error)

    def _go_on(self, policy: Policy, standing: Standing) -> None:
        known, ledger = standing.record, self._house.ledger
        champion, releases = ledger.champion(known.model), ledger.releases(known.model)
        if is_overtaken(champion, releases, known):
            raise Overtaken
        if champion != known.champion:
            # A crash came between the move of the pointer and the last word about it.
            self._finish_released(standing, next(each.digest for each in releases if each.retraining == known.id))
            return
        standing.heed()
        if known.state == "requested":
            self._prepare(policy, standing)
        elif known.state == "training" and is_answered(self._launchers, standing, notes=True):
            standing.folder.keep_answer()
            standing.save(state="judging")
        elif known.state == "judging":
            self._judge(policy, standing)
        elif known.state == "teaching" and is_answered(self._launchers, standing):
            self._take_taught(policy, standing)
        elif known.state == "trying":
            self._try(policy, standing)

    def _prepare(self, policy: Policy, standing: Standing) -> None:
        """Curate, write what the trainer is given and what it is judged by, and place its order."""
        house, known, trainer = self._house, standing.record, policy.retrain.trainer
        self._launchers(trainer)
        curated = gather(house, policy, known)
        standing.heed()
        job = Job(
            model=known.model,
            version=next_version(house, known.model),
            task=policy.task.kind,
            created=house.clock().isoformat(),
            candidates=tuple(curated.candidates),
            columns=policy.column_kinds(),
        )
        asked = rows_to_ask(house, policy, known, curated)
        masks = masks_of(self._baseline(known), curated.validation)
        name, digest = prepare_folder(house, known, job, curated, asked, masks)
        standing.save(
            state="training",
            files=name,
            rows_digest=folder_of(house, known.id, name).rows_digest,
            order=place(known.id, digest, trainer, standing),
            version=job.version,
            manifest=dict(curated.manifest),
            checkpoints=(),
        )
        remove_others(house, standing.record)

    def _judge(self, policy: Policy, standing: Standing) -> None:
        folder = standing.folder
        folder.check_rows(standing.record.rows_digest)
        answer = read_answer(folder.training, folder.job.task, folder.asked.unseen, folder.read("validation"))
        if not standing.record.verdict:
            self._keep_verdict(policy, standing, answer)
        said, trainer = standing.record.verdict, trainer_of(standing.placed)
        standing.heed()
        if not said["passed"]:
            standing.finish("refused", why_refused(said))
        elif answer.checkpoint is not None and trainer.kind in REPEATABLE:
            # The rows that judged it are the newest, and held back they help nobody any more.
            digest = folder.teach(answer.candidate, answer.checkpoint)
            placed = place(f"{standing.record.id}-again", digest, trainer, standing)
            standing.save(state="teaching", order=placed, labelled_rows=folder.taught_rows)
        else:
            self._release(policy, standing, folder.training / "model" if answer.model else None)

    def _keep_verdict(self, policy: Policy, standing: Standing, answer: Answer) -> None:
        known, folder = standing.record, standing.folder
        verdict = judge_challenger(
            self._house,
            self._registry,
            policy,
            known,
            self._baseline(known),
            folder.asked,
            answer.predictions,
            model=answer.model,
            size_bytes=answer.size_bytes,
        )
        standing.save(
            verdict=msgspec.to_builtins(verdict),
            labelled_rows=answer.training_rows or folder.given_rows,
            uri=answer.uri,
            digest=answer.digest,
            claims=answer.claims,
            counted=(f"verdicts:{'pass' if verdict.passed else 'fail'}",),
        )
        keep_report(self._house, policy, standing.record)

    def _take_taught(self, policy: Policy, standing: Standing) -> None:
        """The model that has learnt from all rows, where the cases that must pass still do."""
        folder = standing.folder
        model, _ = read_taught(folder.teaching, folder.job.task)
        failed = cases_failed(self._house, policy, model)
        if failed:
            standing.finish("refused", f"with all rows taught, {failed} cases that must pass do not")
        else:
            self._release(policy, standing, folder.teaching / "model")

    def _release(self, policy: Policy, standing: Standing, model: Path | None) -> None:
        """Make the challenger the champion, or put it on trial where the policy says so; `model` is None where it stays
        outside.
        """
        standing.heed()
        standing.folder.check_rows(standing.record.rows_digest)
        known, rows = standing.record, rows_to_describe(standing.folder, standing.record)
        if policy.gate.canary is None:
            released = release(self._house, self._registry, policy, known, model, rows)
            self._finish_released(standing, released.digest)
        else:
            tried = begin_trial(self._house, self._registry, policy, known, model, rows)
            standing.save(state=tried.state, trial=tried.trial, digest=tried.digest)

    def _try(self, policy: Policy, standing: Standing) -> None:
        look = look_at_trial(self._house, self._registry, policy, standing.record)
        if look is None:
            return
        standing.save(trial=look.trial)
        if look.ending is None:
            return
        if look.ending.state == "released":
            moved = promote(self._house, policy, standing.record)
            self._finish_released(standing, moved.digest, look.ending.note)
        else:
            standing.finish(look.ending.state, look.ending.note)

    def _finish_released(self, standing: Standing, digest: str, note: str = "") -> None:
        known = standing.record
        said = f"version {known.version} replaced {known.champion}"
        standing.finish("released", f"{said}; {note}" if note else said, digest=digest)

    def _baseline(self, known: Retraining) -> Baseline:
        found = self._house.ledger.baseline(known.model, known.champion)
        if found is None:
            raise Overtaken
        return found
