"""The model report of a retraining, kept beside its files: written when it was judged and when it ended."""

import logging

from policies.file.policy import Policy
from service.house import House
from service.ledger.records import Retraining
from service.report.build import report_of
from service.report.render import to_html, to_markdown

HTML, MARKDOWN = "html", "md"
_RENDER = {HTML: to_html, MARKDOWN: to_markdown}
_log = logging.getLogger(__name__)


def keep_report(house: House, policy: Policy, retraining: Retraining) -> None:
    """Write the report as it is now, in both forms; the same record gives the same bytes. No report is worth stopping
    a retraining for: what fails is logged, and whoever asks for the report gets it made from the record.
    """
    try:
        report = report_of(policy, retraining)
        for form, render in _RENDER.items():
            house.files.put(_path(retraining.id, form), render(report).encode())
    except Exception:  # noqa: BLE001  whatever it is, the verdict stands
        _log.exception("no model report of %s was kept", retraining.id)


def read_report(house: House, retraining: Retraining, form: str) -> bytes | None:
    """The report as html or md: the kept one, else made now under the policy in force; None where there is no policy.

    Raises ArchiveAway.
    """
    try:
        with house.files.open(_path(retraining.id, form)) as file:
            return file.read()
    except FileNotFoundError:
        policy = house.policies.policy(retraining.model)
        return _RENDER[form](report_of(policy, retraining)).encode() if policy else None


def _path(retraining_id: str, form: str) -> str:
    return f"retrainings/{retraining_id}/report.{form}"
