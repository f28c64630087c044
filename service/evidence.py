"""Evidence of a decision: the window's rows and the baseline's, made into the report that a person reads."""

import logging
import subprocess
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, timedelta
from pathlib import Path

import pyarrow as pa
from pyarrow import parquet

from service import evidence_report, together
from service.house import House
from service.records import DecisionRecord
from service.training.references import reference_file

_log = logging.getLogger(__name__)
_WINDOW = timedelta(days=7)


def folder_of(data_dir: Path, decision_id: str) -> Path:
    """Where a decision's report is."""
    return data_dir / "evidence" / decision_id


class Reports:
    """Makes reports one after the other, each in a child process, beside everything else."""

    def __init__(self) -> None:
        self._queue = ThreadPoolExecutor(max_workers=1, thread_name_prefix="evidence")
        self._asked: list[Future[None]] = []
        self._child: subprocess.Popen[bytes] | None = None
        self._is_closed = False

    def ask(self, house: House, decision: DecisionRecord) -> None:
        """Begin the report of a decision. No report is worth stopping a retraining for: what fails is logged."""
        try:
            folder = _prepare(house, decision)
        except Exception:  # noqa: BLE001  whatever it is, the decision is taken
            _log.exception("no evidence report for %s", decision.id)
            return
        if folder is not None:
            self._asked.append(self._queue.submit(self._make, folder))

    def wait(self) -> None:
        """Wait for all reports that were asked for."""
        while self._asked:
            self._asked.pop(0).result()

    def close(self) -> None:
        """End the report that is being made, and make no more."""
        self._is_closed = True
        self._queue.shutdown(wait=False, cancel_futures=True)
        if self._child is not None and self._child.poll() is None:
            self._child.terminate()
        self._queue.shutdown(wait=True)

    def _make(self, folder: Path) -> None:
        if self._is_closed:
            return
        self._child = evidence_report.start(folder)
        if self._child.wait() and not self._is_closed:
            _log.warning("the evidence report in %s failed: see report.log there", folder)


def _prepare(house: House, decision: DecisionRecord) -> Path | None:
    reference = reference_file(house.settings.data_dir, decision.model, decision.version)
    if not reference.is_file():
        _log.warning("no reference rows of %s %s: no evidence report", decision.model, decision.version)
        return None
    since = decision.change_started or decision.at - _WINDOW
    until = decision.at + timedelta(days=1)
    before = parquet.read_table(reference)
    current = house.archive.predictions(decision.model, since.astimezone(UTC), until, version=decision.version)
    policy = house.policies.policy(decision.model)
    kinds, statistic = (policy.column_kinds(), policy.drift.statistic) if policy else ({}, "psi")
    folder = folder_of(house.settings.data_dir, decision.id)
    try:
        evidence_report.prepare(folder, before, current, kinds, statistic=statistic)
    except evidence_report.NothingToShow as error:
        _log.warning("no evidence report for %s: %s", decision.id, error)
        return None
    _prepare_together(house, decision, before, current)
    return folder


def _prepare_together(house: House, decision: DecisionRecord, before: pa.Table, now: pa.Table) -> None:
    baseline, policy = house.ledger.baseline(decision.model, decision.version), house.policies.policy(decision.model)
    if baseline is None:
        return
    names = [column.name for column in baseline.layout.columns]
    ignored = [name for name in names if policy and policy.drift_rule(name).ignore]
    folder = folder_of(house.settings.data_dir, decision.id)
    try:
        together.prepare(folder, baseline, before, now, decision.triggers, ignored)
    except Exception:  # noqa: BLE001  whatever it is, the report is worth having without
        _log.exception("which columns together made %s will not be known", decision.id)
