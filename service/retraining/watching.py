"""Watch: a release against the version it replaced, until its time is over or it proves worse."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pyarrow as pa

from monitors.baseline.baselines import Baseline
from policies.apart import Standing, judge_apart
from policies.file.policy import Policy
from policies.lately import judge_lately
from policies.limits import policy_for
from service.house import House
from service.ledger.records import Regression, Release, Watch
from service.notices.regressions import keep_regression
from service.retraining.aftermath import look_back
from service.retraining.releasing import roll_back
from service.retraining.sides import labelled_rows, other_rows, same_rows, segment_columns
from service.training.registry import Registry
from service.training.training_errors import TrainingError

_log = logging.getLogger(__name__)
LABELS_A_LOOK = 100
REACH = timedelta(days=30)
"""How far before a release the rows of the version before are looked for, where no change is known to have begun."""
PAIRED, APART = "same rows", "rows of its own"


@dataclass(frozen=True)
class Look:
    """What one look showed: of each segment, by the same rows that the version before was asked about, or by the rows
    that it served before the release.
    """

    standings: tuple[Standing, ...]
    basis: str

    @property
    def worse(self) -> list[Standing]:
        return [each for each in self.standings if each.answer == "worse"]


def watch_release(house: House, registry: Registry, policy: Policy) -> Release | None:
    """Look at the newest release where it is being watched and enough new labels have come.

    Gives the rollback, if there was one: some segment became worse than under the version before, by more than
    `gate.max_segment_drop` and beyond chance. With `watch.rollback: manual` that is recorded once, and the release
    stays watched. It is recorded before anything moves, and what is recorded is gone on with after a crash.

    Raises:
        ArchiveAway: rows cannot be read now.
    """
    watch, model = house.ledger.watch(policy.model), policy.model
    if watch is None:
        return None
    baseline = house.ledger.baseline(model, watch.version)
    if house.ledger.champion(model) != watch.version or baseline is None:
        house.ledger.save_watch(model, None)
        return None
    known = _recorded(house, model, watch)
    if known is not None and known.rollback == "automatic":
        return roll_back(house, model, watch.version, watch.previous, known.reason)
    return _look(house, registry, policy, watch, baseline)


def _look(house: House, registry: Registry, policy: Policy, watch: Watch, baseline: Baseline) -> Release | None:
    model, is_over = policy.model, house.clock() >= watch.until
    labels = int(house.cells.total_labelled(baseline)[0, 0])
    if labels >= watch.judged + (1 if is_over else LABELS_A_LOOK):
        found = _compare(house, registry, policy, watch, baseline)
        watch = replace(watch, judged=labels, looks=watch.looks + 1, verdict=_told(found))
        look_back(house, policy, watch)
        back = _regress(house, policy, watch, baseline, found.worse) if found.worse else None
        if back is not None:
            return back
        # Last: who dies before looks again at the same labels.
        house.ledger.save_watch(model, watch)
    if is_over:
        house.ledger.save_watch(model, None)
    return None


def _regress(
    house: House, policy: Policy, watch: Watch, baseline: Baseline, worse: Sequence[Standing]
) -> Release | None:
    names = tuple(each.name for each in worse)
    reason = f"worse than version {watch.previous} in {', '.join(names)} on {watch.judged} labels since its release"
    found = Regression(
        model=policy.model,
        version=watch.version,
        previous=watch.previous,
        at=house.clock(),
        reason=reason,
        released_at=watch.since,
        rows=round(sum(float(counts[0, 0]) for counts in house.cells.load(baseline).values())),
        labels=watch.judged,
        segments=names,
        rollback=policy.watch.rollback,
    )
    if house.ledger.record_regression(found):
        _log.warning("version %s of %s is %s", watch.version, policy.model, reason)
    if policy.watch.rollback != "automatic":
        # The first time counts; what is still so is told no more.
        known = _recorded(house, policy.model, watch) or found
        keep_regression(house.store, known)
        return None
    return roll_back(house, policy.model, watch.version, watch.previous, reason)


def _recorded(house: House, model: str, watch: Watch) -> Regression | None:
    """What was found of this very release."""
    name = (watch.version, watch.since)
    return next((r for r in house.ledger.regressions(model) if (r.version, r.released_at) == name), None)


def _compare(house: House, registry: Registry, policy: Policy, watch: Watch, baseline: Baseline) -> Look:
    """Row by row where the version before can be asked, and by rows of its own where it cannot."""
    since = watch.since or datetime.fromtimestamp(0, UTC)
    rows = labelled_rows(house, policy, watch.version, since, house.clock() + timedelta(days=1))
    gates = {name: policy_for(policy, name).gate for name in baseline.layout.segments}
    kind = policy.task.kind
    try:
        before = registry.load(policy.model, watch.previous).predict(rows).column("prediction")
    except TrainingError:
        sides = other_rows(policy, baseline, _served_before(house, policy, watch, baseline), rows)
        return Look(judge_apart(policy.gate, sides, watch.looks + 1, own=gates, kind=kind), APART)
    sides = same_rows(policy, baseline, rows, before, rows.column("prediction"))
    return Look(judge_lately(policy.gate, sides, own=gates, kind=kind), PAIRED)


def _served_before(house: House, policy: Policy, watch: Watch, baseline: Baseline) -> pa.Table:
    """The labelled rows that the version before served in the world as it was when it was replaced."""
    model = policy.model
    released = next((r for r in reversed(house.ledger.releases(model)) if r.version == watch.version), None)
    retraining = house.ledger.retraining(model, released.retraining) if released and released.retraining else None
    until = watch.since or house.clock()
    since = retraining.change_started if retraining and retraining.change_started else until - REACH
    return labelled_rows(house, policy, watch.previous, min(since, until), until, segment_columns(baseline))


def _told(found: Look) -> dict[str, Any]:
    return {"basis": found.basis, "segments": msgspec.to_builtins(found.standings)}
