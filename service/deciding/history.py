"""What was known before an evaluation: retrainings, wishes of people, signals, and what the last one left."""

from datetime import datetime

from policies.decision import Attempt, History, ManualRequest
from policies.proposals import Answer
from service.conventions.signals import Signals
from service.house import House
from service.ledger.records import Evaluation, Request, Retraining
from service.orders.orders import FREEZE, SILENCE, Orders


def history_of(
    house: House, signals: Signals, last: Evaluation, retrainings: list[Retraining], *, is_news: bool
) -> History:
    """The history of a model; `retrainings` are its newest, newest first. Nothing is changed.

    Without news, conditions stand one evaluation back: looking again at what was seen already is no further time in a
    row.
    """
    model, ledger, now = last.model, house.ledger, house.clock()
    manual, approval, refusal = (ledger.request(model, verb) for verb in ("retrain", "approve", "reject"))
    orders = Orders(house.store, model).standing(now)
    return History(
        runs=last.runs if is_news else {condition: times - 1 for condition, times in last.runs.items()},
        in_flight=next((r.id for r in retrainings if not r.is_finished), None),
        retrainings=tuple(Attempt(r.opened_at, r.state if r.is_finished else None) for r in retrainings),
        last_finished_at=max((r.finished_at for r in retrainings if r.finished_at), default=None),
        fault_open=last.fault_open,
        fault_quiet_since=last.fault_quiet_since,
        labels_since_attempt=_labels_since(last, retrainings),
        proposal=last.proposal,
        approval=as_answer(approval),
        refusal=as_answer(refusal),
        manual=_manual(manual, now),
        silences=tuple(each.as_silence() for each in orders if each.kind == SILENCE),
        freezes=tuple(each.as_freeze() for each in orders if each.kind == FREEZE),
        signal=signals.hold(model),
    )


def _manual(request: Request | None, now: datetime) -> ManualRequest | None:
    if request is None or (request.until is not None and now >= request.until):
        return None
    return ManualRequest(request.who, request.why, request.at)


def as_answer(request: Request | None) -> Answer | None:
    """A stored yes or no as deciding reads it; None where there is none, or it names no proposal."""
    if request is None or request.proposal is None or request.until is None:
        return None
    return Answer(request.proposal, request.who, request.why, request.at, request.until)


def _labels_since(last: Evaluation, retrainings: list[Retraining]) -> int | None:
    """New labels since the newest retraining, where it was this champion's and brought no better model."""
    newest = retrainings[0] if retrainings else None
    if newest is None or newest.champion != last.version or newest.state not in {"refused", "failed"}:
        return None
    return last.labels - newest.labels_seen
