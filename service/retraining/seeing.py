"""Seeing: what came of a trial so far, by the rows of a canary or by what a challenger in the shadow answers."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import pyarrow as pa

from monitors.baseline.baselines import Baseline
from monitors.counting.profiles import fold
from monitors.readings import FloatArray
from policies.apart import Standing, judge_apart
from policies.file.policy import Policy
from policies.lately import judge_lately
from policies.limits import policy_for
from service.house import House
from service.ledger.records import Retraining, Trial
from service.retraining.sides import MOST_ROWS, labelled_rows, other_rows, same_rows, segment_columns
from service.training.comparing import with_predictions
from service.training.registry import Registry
from service.training.training_errors import TrainingError

CANARY, SHADOW = "canary", "shadow"
LABELS_A_LOOK = 50
ASKED_ROWS = 2_000
"""So many of the newest live rows a challenger in the shadow is asked about, to see how its predictions are spread."""


@dataclass(frozen=True)
class Seen:
    """What came of a trial so far. `by_segment` are rows and labels of each segment, `profiles` those of its rows;
    `standings` only where enough new labels had come to judge them.
    """

    rows: int
    by_segment: Mapping[str, tuple[int, int]]
    profiles: Mapping[int, FloatArray]
    standings: tuple[Standing, ...] = ()

    @property
    def labels(self) -> int:
        return self.by_segment.get("all", (0, 0))[1]


def see(
    house: House, registry: Registry, policy: Policy, retraining: Retraining, trial: Trial, baseline: Baseline
) -> Seen:
    """What came until now. In the shadow the challenger is asked where it is held here; whatever else is on trial posts
    rows of its own. Raises ArchiveAway.
    """
    if trial.mode == SHADOW and not retraining.uri:
        try:
            return _see_shadow(house, registry, policy, retraining, trial, baseline)
        except TrainingError:
            pass  # its files are gone; what is posted under its version still counts
    return _see_canary(house, policy, retraining, trial, baseline)


def _see_canary(house: House, policy: Policy, retraining: Retraining, trial: Trial, baseline: Baseline) -> Seen:
    profiles = house.cells.load(baseline)
    rows = sum((counts[:, 0] for counts in profiles.values()), baseline.counts[:, 0] * 0)
    labels = house.cells.total_labelled(baseline)[:, 0]
    names = baseline.layout.segments
    counted = {name: (round(r), round(n)) for name, r, n in zip(names, rows.tolist(), labels.tolist(), strict=True)}
    seen = Seen(counted["all"][0], counted, profiles)
    if not _has_news(house, trial, seen.labels):
        return seen
    until, columns = house.clock() + timedelta(days=1), segment_columns(baseline)
    served = labelled_rows(house, policy, retraining.champion, trial.began, until, columns)
    # Of a champion with much traffic only the newest rows are read: those of the challenger are to be of the same time.
    since = served.column("timestamp")[0].as_py() if served.num_rows >= MOST_ROWS else trial.began
    tried = labelled_rows(house, policy, retraining.version, since, until, columns)
    sides = other_rows(policy, baseline, served, tried)
    gates = {name: policy_for(policy, name).gate for name in sides}
    standings = judge_apart(policy.gate, sides, trial.looks + 1, own=gates, kind=policy.task.kind)
    return replace(seen, standings=standings)


def _see_shadow(
    house: House, registry: Registry, policy: Policy, retraining: Retraining, trial: Trial, baseline: Baseline
) -> Seen:
    challenger, now = registry.load(retraining.model, retraining.version), house.clock()
    live = _live_rows(house, policy, retraining.champion, trial)
    asked = with_predictions(live, challenger.predict(live), retraining.version)
    profiles = fold(baseline.layout, asked, baseline.slice_seconds) if live.num_rows else {}
    served = house.ledger.baseline(retraining.model, retraining.champion)
    labels = _labels_since(house, served, trial.began)
    seen = Seen(live.num_rows, {"all": (live.num_rows, labels)}, profiles)
    if not _has_news(house, trial, labels):
        return seen
    rows = labelled_rows(house, policy, retraining.champion, trial.began, now + timedelta(days=1))
    said = challenger.predict(rows).column("prediction")
    sides = same_rows(policy, baseline, rows, rows.column("prediction"), said)
    gates = {name: policy_for(policy, name).gate for name in sides}
    standings = judge_lately(policy.gate, sides, own=gates, kind=policy.task.kind)
    counted = {each.name: (each.n, each.n) for each in standings} | {"all": (live.num_rows, rows.num_rows)}
    return replace(seen, by_segment=counted, standings=standings)


def _has_news(house: House, trial: Trial, labels: int) -> bool:
    least = 1 if house.clock() >= trial.until else LABELS_A_LOOK
    return labels >= trial.labels_judged + least


def _live_rows(house: House, policy: Policy, champion: str, trial: Trial) -> pa.Table:
    """The newest rows that the champion served since the trial began."""
    baseline, now = house.ledger.baseline(policy.model, champion), house.clock()
    since, wanted = trial.began, ASKED_ROWS
    counts = house.cells.load(baseline, int(since.timestamp())) if baseline else {}
    for start in sorted(counts, reverse=True):
        wanted -= int(counts[start][0, 0])
        if wanted <= 0:
            since = max(since, datetime.fromtimestamp(start, UTC))
            break
    rows = house.archive.predictions(policy.model, since, now + timedelta(days=1), version=champion)
    return rows.slice(max(0, rows.num_rows - ASKED_ROWS))


def _labels_since(house: House, baseline: Baseline | None, began: datetime) -> int:
    if baseline is None:
        return 0
    found = house.cells.load_labelled(baseline, int(began.timestamp()))
    return round(sum(float(counts[0, 0]) for counts in found.values()))
