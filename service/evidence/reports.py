"""Evidence of a decision: the window's rows and the baseline's, made into the report that a person reads."""

import logging
import subprocess
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, timedelta
from pathlib import Path

import pyarrow as pa

from service.errors import ArchiveAway
from service.evidence import evidence_report, together
from service.house import House
from service.ledger.records import DecisionRecord
from service.storage.files import Files
from service.training.references import read_reference

_log = logging.getLogger(__name__)
_WINDOW = timedelta(days=7)
_REPORT = "report.html"
_SHOWN = ("together.json", _REPORT)


def folder_of(data_dir: Path, decision_id: str) -> Path:
    """Where a decision's report is made, and read from."""
    return data_dir / "evidence" / decision_id


def report_of(house: House, decision_id: str) -> Path:
    """The file of a decision's report, fetched from where another machine may have put it; it need not be there."""
    report = folder_of(house.settings.data_dir, decision_id) / _REPORT
    if not house.files.is_local and not report.is_file():
        try:
            _fetch(house, _path(decision_id))
        except ArchiveAway as error:
            _log.warning("no report of %s from another machine: %s", decision_id, error)
    return report


def _fetch(house: House, path: str) -> None:
    if house.files.holds(f"{path}/{_REPORT}"):
        here = Files(house.settings.data_dir)
        for name in house.files.names(path):
            with house.files.open(f"{path}/{name}") as file:
                here.put(f"{path}/{name}", file.read())


def _path(decision_id: str) -> str:
    return f"evidence/{decision_id}"


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
            self._asked.append(self._queue.submit(self._make, house, folder))

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

    def _make(self, house: House, folder: Path) -> None:
        if self._is_closed:
            return
        self._child = evidence_report.start(folder)
        failed = self._child.wait()
        if self._is_closed:
            return
        if failed:
            _log.warning("the evidence report in %s failed: see report.log there", folder)
            return
        try:
            _publish(house, folder)
        except ArchiveAway as error:
            _log.warning("the evidence report in %s is seen on this machine only: %s", folder, error)


def _publish(house: House, folder: Path) -> None:
    """Put what is shown where other machines find it, the report last: with it all is there."""
    if house.files.is_local:
        return
    for name in _SHOWN:
        if (folder / name).is_file():
            house.files.put(f"{_path(folder.name)}/{name}", (folder / name).read_bytes())


def _prepare(house: House, decision: DecisionRecord) -> Path | None:
    before = read_reference(house.files, decision.model, decision.version)
    if before is None:
        _log.warning("no reference rows of %s %s: no evidence report", decision.model, decision.version)
        return None
    since = decision.change_started or decision.at - _WINDOW
    until = decision.at + timedelta(days=1)
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
