"""Twins: two cheap models of equal size, one of the rows the champion learnt from, one of fresh rows, on newer labels.

Tried every `TEST_LABELS` labels, before anything is spent on a retraining.
"""

import logging
from collections.abc import Collection, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from monitors.counting.slices import slice_starts
from monitors.readings import FloatArray
from policies.file.policy import Policy
from service.errors import ArchiveAway
from service.house import House
from service.ledger.records import Evaluation
from service.training.comparing import outcomes
from service.training.models import Model
from service.training.references import read_reference
from service.training.trainers import refit
from service.training.training_errors import TrainingError

_log = logging.getLogger(__name__)
TEST_LABELS = 500
TWIN_ROWS = 1_000
KEPT_TESTS = 16
_STEP = 2


class Twins:
    """Tries fresh twins; keeps the stale twin of each model's champion."""

    def __init__(self, house: House) -> None:
        self._house = house
        self._stale: dict[str, tuple[str, Model | None]] = {}

    def step(
        self, policy: Policy, last: Evaluation, labelled: Mapping[int, FloatArray], faulty: Collection[int]
    ) -> Evaluation:
        """The evaluation with one more test, where enough new labels have come since the last one."""
        if last.labels < max(last.twin_labels + TEST_LABELS, TWIN_ROWS):
            return last
        try:
            rows = self._newest(policy, last.version, labelled, faulty)
            stale = self._stale_twin(policy, last.version)
        except ArchiveAway as error:
            _log.warning("%s: no twins now, an evaluation does without: %s", policy.model, error)
            return last
        last = replace(last, twin_labels=last.labels)
        if stale is None or rows.num_rows < TWIN_ROWS // 2 + TEST_LABELS:
            return last
        try:
            fresh = refit(
                rows.slice(0, rows.num_rows - TEST_LABELS),
                task=policy.task.kind,
                columns=policy.column_kinds(),
                step=_STEP,
            )
        except TrainingError:
            return last
        wins, losses = _compare(policy.task.kind, rows.slice(rows.num_rows - TEST_LABELS), fresh, stale)
        return replace(last, twin=(*last.twin, (wins, losses))[-KEPT_TESTS:])

    def _newest(
        self, policy: Policy, version: str, labelled: Mapping[int, FloatArray], faulty: Collection[int]
    ) -> pa.Table:
        """The newest labelled rows of sound slices, in time order, those of the test last."""
        wanted, since, until = TWIN_ROWS + TEST_LABELS, 0, 0
        for start in sorted(labelled, reverse=True):
            if start not in faulty:
                wanted -= int(labelled[start][0, 0])
            since, until = start, max(until, start)
            if wanted <= 0:
                break
        seconds = int(policy.window.slice.total_seconds())
        span = datetime.fromtimestamp(since, UTC), datetime.fromtimestamp(until, UTC) + timedelta(seconds=seconds)
        rows = self._house.archive.labelled(policy.model, *span, version=version)
        sound = ~np.isin(slice_starts(rows.column("timestamp"), seconds), list(faulty))
        rows = rows.filter(pa.array(sound))
        return rows.slice(max(0, rows.num_rows - TWIN_ROWS - TEST_LABELS))

    def _stale_twin(self, policy: Policy, version: str) -> Model | None:
        known = self._stale.get(policy.model)
        if known is None or known[0] != version:
            known = self._stale[policy.model] = (version, self._train_stale(policy, version))
        return known[1]

    def _train_stale(self, policy: Policy, version: str) -> Model | None:
        rows = read_reference(self._house.files, policy.model, version)
        if rows is None or "label" not in rows.column_names:
            return None
        try:
            rows = rows.filter(pc.is_valid(rows.column("label"))).slice(max(0, rows.num_rows - TWIN_ROWS))
            return refit(rows, task=policy.task.kind, columns=policy.column_kinds(), step=_STEP)
        except TrainingError:
            return None


def _compare(task: str, test: pa.Table, fresh: Model, stale: Model) -> tuple[int, int]:
    ours, theirs = (outcomes(task, twin.predict(test).column("prediction"), test) for twin in (fresh, stale))
    better, worse = int((ours > theirs).sum()), int((ours < theirs).sum())
    return (worse, better) if task == "regression" else (better, worse)
