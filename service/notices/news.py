"""What is worth a notice: what was told already and what is so now in, the notices that are due out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from service.ledger.records import Evaluation, Regression, Release, Retraining
from service.notices import wording
from service.notices.notice import Notice
from service.orders.approvals import Awaiting

STALE = timedelta(days=1)
"""What happened longer ago is told no more: by then a person has seen it, or needs more than a notice."""
REMINDER = timedelta(days=1)
"""An approval that is waited for is asked for again this often."""


@dataclass(frozen=True)
class Told:
    """What has been told of a model.

    `retrainings`: id → whether its end was; `releases`: how many moves of the champion; `regression`: the versions of
    the last one; `asked_at`, `asked_of`: when a person was last asked for a yes, and of which segments; the others say
    since when something is so that was told, None or empty where it is not so.
    """

    retrainings: Mapping[str, bool] = field(default_factory=dict)
    releases: int = 0
    regression: tuple[str, str] | None = None
    asked_at: datetime | None = None
    asked_of: tuple[str, ...] = ()
    fault_since: datetime | None = None
    blind_since: datetime | None = None
    problem: str = ""


@dataclass(frozen=True)
class Facts:
    """What is so of a model now.

    `retrainings` are the newest, newest first, `releases` all, oldest first. `waits` is what no person has answered.
    `why`: retraining → reasons of its decision, where it is news. `blind` says why nothing can be read, `problem` what
    is wrong with the policy file; empty where nothing is. A fault is over when it was quiet for `quiet`.
    """

    model: str
    now: datetime
    evaluation: Evaluation
    retrainings: Sequence[Retraining] = ()
    releases: Sequence[Release] = ()
    regression: Regression | None = None
    waits: Awaiting | None = None
    why: Mapping[str, Sequence[Mapping[str, Any]]] = field(default_factory=dict)
    blind: str = ""
    problem: str = ""
    quiet: timedelta = timedelta(0)


News = tuple[list[Notice], Told]


def notices_of(told: Told, facts: Facts) -> News:
    """The notices that are due, and what has been told with them. The same again gives none."""
    due: list[Notice] = []
    for look in (_retrainings, _rollbacks, _regression, _approval, _fault, _blindness, _refusal):
        news, told = look(told, facts)
        due += news
    return [notice for notice in due if facts.now - notice.at < STALE], told


def _retrainings(told: Told, facts: Facts) -> News:
    news = []
    for each in reversed(facts.retrainings):
        if each.id not in told.retrainings:
            news.append(wording.opened(each, facts.why.get(each.id, ())))
            told = replace(told, asked_at=None)  # what is proposed after it is another question
        if each.is_finished and not told.retrainings.get(each.id, False):
            news.append(wording.ended(each, each.finished_at or facts.now))
    return news, replace(told, retrainings={each.id: each.is_finished for each in facts.retrainings})


def _rollbacks(told: Told, facts: Facts) -> News:
    new = facts.releases[told.releases :]
    news = [wording.rolled_back(release) for release in new if release.kind == "rollback"]
    return news, replace(told, releases=len(facts.releases))


def _regression(told: Told, facts: Facts) -> News:
    found = facts.regression
    if found is None or told.regression == (found.version, found.previous):
        return [], told
    return [wording.regressed(found)], replace(told, regression=(found.version, found.previous))


def _approval(told: Told, facts: Facts) -> News:
    waits, now = facts.waits, facts.now
    if waits is None:
        return [], told
    is_asked = told.asked_at is not None and now - told.asked_at < REMINDER
    if is_asked and set(waits.segments) <= set(told.asked_of):  # also where it comes and goes
        return [], told
    return [wording.approval_awaited(waits, now)], replace(told, asked_at=now, asked_of=waits.segments)


def _fault(told: Told, facts: Facts) -> News:
    last, since, now = facts.evaluation, told.fault_since, facts.now
    if since is None and last.fault_open:
        began = last.at or now
        return [wording.fault_opened(last, began, facts.quiet)], replace(told, fault_since=began)
    ended = last.fault_quiet_since
    if since is None or last.fault_open or ended is None or now - ended < facts.quiet:
        return [], told  # a feed that breaks again at once is the same fault
    return [wording.fault_ended(facts.model, since, ended, now)], replace(told, fault_since=None)


def _blindness(told: Told, facts: Facts) -> News:
    if not facts.blind or told.blind_since is not None:
        return [], told if facts.blind else replace(told, blind_since=None)
    return [wording.blinded(facts.model, facts.blind, facts.now)], replace(told, blind_since=facts.now)


def _refusal(told: Told, facts: Facts) -> News:
    problem = facts.problem
    is_news = problem not in {"", told.problem}
    news = [wording.policy_refused(facts.model, problem, facts.now)] if is_news else []
    return news, replace(told, problem=problem)
