"""Evidence of a decision: the window's rows and the baseline's, handed to the report that a person reads."""

import logging
import subprocess
from datetime import UTC, timedelta
from pathlib import Path

from pyarrow import parquet

from service import evidence_report
from service.house import House
from service.records import DecisionRecord
from service.references import reference_file

_log = logging.getLogger(__name__)
_started: list["subprocess.Popen[bytes]"] = []
_WINDOW = timedelta(days=7)


def folder_of(data_dir: Path, decision_id: str) -> Path:
    """Where a decision's report is."""
    return data_dir / "evidence" / decision_id


def start(house: House, decision: DecisionRecord) -> None:
    """Begin the report of a decision in a child process. No report is worth stopping a retraining for."""
    reference = reference_file(house.settings.data_dir, decision.model, decision.version)
    if not reference.is_file():
        _log.warning("no reference rows of %s %s: no evidence report", decision.model, decision.version)
        return
    since = decision.change_started or decision.at - _WINDOW
    current = house.archive.predictions(
        decision.model, since.astimezone(UTC), decision.at + timedelta(days=1), version=decision.version
    )
    policy = house.policies.policy(decision.model)
    folder = folder_of(house.settings.data_dir, decision.id)
    try:
        evidence_report.prepare(
            folder,
            parquet.read_table(reference),
            current,
            policy.column_kinds() if policy else {},
            statistic=policy.drift.statistic if policy else evidence_report.DEFAULT_STATISTIC,
        )
    except evidence_report.NothingToShow as error:
        _log.warning("no evidence report for %s: %s", decision.id, error)
        return
    _started.append(evidence_report.start(folder))


def wait() -> None:
    """Wait for the reports that were begun by this process."""
    while _started:
        _started.pop().wait()
