"""What was known before an evaluation: retrainings, wishes of people, signals, and what the last one left."""

from datetime import timedelta

from policies.decision import Attempt, History, ManualRequest
from service.conventions.signals import Signals
from service.house import House
from service.records import Evaluation, Retraining

REFUSAL_HOLDS = timedelta(days=1)
"""A person's no to a retraining counts this long."""


def history_of(
    house: House, signals: Signals, last: Evaluation, retrainings: list[Retraining], *, is_news: bool
) -> History:
    """The history of a model; `retrainings` are its newest, newest first. Nothing is changed.

    Without news, conditions stand one evaluation back: looking again at what was seen already is no further time in a
    row.
    """
    model = last.model
    ledger = house.ledger
    manual, approval, refusal = (ledger.request(model, verb) for verb in ("retrain", "approve", "reject"))
    return History(
        runs=last.runs if is_news else {condition: times - 1 for condition, times in last.runs.items()},
        in_flight=next((r.id for r in retrainings if not r.is_finished), None),
        retrainings=tuple(Attempt(r.opened_at, r.state if r.is_finished else None) for r in retrainings),
        last_finished_at=max((r.finished_at for r in retrainings if r.finished_at), default=None),
        fault_open=last.fault_open,
        fault_quiet_since=last.fault_quiet_since,
        labels_since_attempt=_labels_since(last, retrainings),
        approved=approval is not None,
        rejected_until=refusal.at + REFUSAL_HOLDS if refusal else None,
        manual=ManualRequest(manual.who, manual.why, manual.at) if manual else None,
        signal=signals.hold(model),
    )


def _labels_since(last: Evaluation, retrainings: list[Retraining]) -> int | None:
    """New labels since the newest retraining, where it was this champion's and brought no better model."""
    newest = retrainings[0] if retrainings else None
    if newest is None or newest.champion != last.version or newest.state not in {"refused", "failed"}:
        return None
    return last.labels - newest.labels_seen
