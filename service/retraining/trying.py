"""Trying: a challenger that passed the gate, on live traffic before it is released: as a canary, or in the shadow."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

import msgspec
import pyarrow as pa

from policies.apart import Standing
from policies.file.kinds import format_span
from policies.file.policy import Canary, Policy
from service.errors import ServiceError
from service.house import House
from service.ledger.records import Retraining, Trial
from service.retraining.live import Oddities, find_oddities
from service.retraining.releasing import introduce
from service.retraining.seeing import CANARY, SHADOW, Seen, see
from service.training.registry import Registry

WAITS = 2
"""Without traffic, or while the feed is broken, a trial goes on to so many times its length, and then fails."""

MOST_SEGMENTS = 200
"""So many segments are kept with a trial: its record is read every few seconds."""
_NAMED = 10


class NoTrial(ServiceError):
    """The policy asks for no trial."""


@dataclass(frozen=True)
class Ending:
    """How a trial ended: `released`, `refused` or `failed`, and why."""

    state: str
    note: str


@dataclass(frozen=True)
class TrialLook:
    """What a look at a trial found; no `ending` while it goes on."""

    trial: Trial
    ending: Ending | None = None


def begin_trial(
    house: House, registry: Registry, policy: Policy, retraining: Retraining, model: Path | None, rows: pa.Table
) -> Retraining:
    """The retraining with its challenger on trial: its files and its baseline are stored first, so that its rows count
    as its own from the first on. What the policy says of the trial holds to its end, however it is edited. Again
    changes nothing but the times.

    Raises:
        NoTrial: the policy asks for none.
        NothingToRelease, BadModelFile, VersionExists, ArchiveAway: as `introduce`.
    """
    canary, now = policy.gate.canary, house.clock()
    if canary is None:
        raise NoTrial(f"the policy of {policy.model} sets no gate.canary: there is no trial to begin")
    known = introduce(house, registry, policy, retraining, model, rows)
    trial = Trial(canary.mode, _share(canary), now, now + canary.duration, text=_asked_of(canary, known))
    return replace(known, state="trying", trial=trial)


def look_at_trial(house: House, registry: Registry, policy: Policy, retraining: Retraining) -> TrialLook | None:
    """What is known of a trial now, and how it ended where it has; None where it is too early for another look.

    It is refused where a segment is worse by more than `gate.max_segment_drop` beyond chance, where the challenger's
    input is broken and the champion's is not, and where its predictions are not spread as in its baseline. When its
    time is over and nothing speaks against it, it may be released, and the note says what is not settled.

    Raises:
        ArchiveAway: rows cannot be read now.
    """
    trial, now = retraining.trial, house.clock()
    baseline = house.ledger.baseline(retraining.model, retraining.version)
    if trial is None or baseline is None:
        return TrialLook(
            trial or Trial(CANARY, 0.0, now, now),
            Ending("failed", f"the baseline of version {retraining.version} is gone: its rows cannot be judged"),
        )
    if not _is_due(trial, policy, now):
        return None
    seen = see(house, registry, policy, retraining, trial, baseline)
    odd = find_oddities(policy, baseline, seen.profiles, now)
    trial = replace(trial, rows=seen.rows, labels=seen.labels, looked_at=now)
    if seen.standings or not trial.segments:
        trial = replace(trial, segments=_segments(seen))
    if seen.standings:
        trial = replace(trial, looks=trial.looks + 1, labels_judged=seen.labels)
    trial, ending = _answer(house, retraining, trial, seen, odd)
    return TrialLook(trial, ending)


def _is_due(trial: Trial, policy: Policy, now: datetime) -> bool:
    """Once an evaluation, and as soon as its time is over."""
    before = trial.looked_at
    return before is None or now >= before + policy.evaluate or before < trial.until <= now


def _answer(
    house: House, retraining: Retraining, trial: Trial, seen: Seen, odd: Oddities
) -> tuple[Trial, Ending | None]:
    now, feed = house.clock(), house.ledger.evaluation(retraining.model).faults
    against = [_worse(each) for each in seen.standings if each.answer == "worse"]
    if not feed:  # a feed that is broken for the champion too is no fault of the challenger
        against += [*odd.broken, *odd.shifted]
    if against:
        return trial, Ending("refused", f"on trial as a {trial.mode}: {'; '.join(against)}")
    came = f"{seen.rows} rows and {seen.labels} labels"
    if now < trial.until:
        return (replace(trial, text=f"{came} so far") if seen.rows else trial), None
    hindrance = f"the feed is broken: {'; '.join(feed)}" if feed else "" if seen.rows else _no_traffic(trial)
    if not hindrance:
        return trial, Ending("released", f"on trial as a {trial.mode} {_length(trial)}: {came}{_unsettled(trial)}")
    last = trial.began + WAITS * (trial.until - trial.began)
    if now >= last:
        return trial, Ending("failed", hindrance)
    return replace(trial, text=f"{hindrance}; this is waited for until {last:%Y-%m-%d %H:%M} UTC"), None


def _share(canary: Canary) -> float:
    return 0.0 if canary.mode == SHADOW else canary.share


def _asked_of(canary: Canary, retraining: Retraining) -> str:
    if canary.mode == CANARY:
        return f"production is to give version {retraining.version} {canary.share:.1%} of its traffic"
    if retraining.uri:
        return (
            f"version {retraining.version} is not held here: production is to ask it in the shadow, and to post its "
            "answers under this version with prediction ids of their own"
        )
    return f"version {retraining.version} is asked about what {retraining.champion} serves; no user meets its answers"


def _no_traffic(trial: Trial) -> str:
    if trial.mode == SHADOW:
        return "no traffic reached the shadow; the champion served no row, or nobody posted shadow predictions"
    return (
        "no traffic reached the canary; production has to ask GET /v1/models/{model}/assignment, or to route by itself "
        "and to report the challenger's model_version"
    )


def _length(trial: Trial) -> str:
    return f"for {format_span(trial.until - trial.began)}"


def _worse(standing: Standing) -> str:
    return (
        f"{standing.name} is worse: {standing.challenger:.4g} on {standing.n} labels, the champion "
        f"{standing.champion:.4g} on {standing.champion_n}"
    )


def _unsettled(trial: Trial) -> str:
    if not trial.labels:
        return "; judged without labels, by its input and the spread of its predictions alone"
    open_ones = [s["name"] for s in trial.segments if s["answer"] == "not_enough_labels"]
    more = f" and {len(open_ones) - _NAMED} more" if len(open_ones) > _NAMED else ""
    return f"; not settled: {', '.join(open_ones[:_NAMED])}{more}" if open_ones else ""


def _segments(seen: Seen) -> tuple[Mapping[str, object], ...]:
    """The segments that had rows, with an answer where labels were judged: `all`, worse ones, then the largest."""
    known = {each.name: msgspec.to_builtins(each) for each in seen.standings}
    rest = {"answer": "not_enough_labels", "n": 0, "champion_n": 0, "champion": None, "challenger": None}
    shown = [
        {"name": name, **rest, **known.get(name, {}), "rows": rows, "labels": labels}
        for name, (rows, labels) in seen.by_segment.items()
        if rows
    ]
    ranked = sorted(shown, key=lambda each: (each["name"] != "all", each["answer"] != "worse", -each["rows"]))
    return tuple(ranked[:MOST_SEGMENTS])
