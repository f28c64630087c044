"""Watch: a release against the version it replaced, on the same rows, until its time is over or it proves worse."""

import logging
import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import msgspec

from monitors.baseline.baselines import Baseline
from policies.file.policy import Policy
from policies.gate import ENOUGH_LN, Verdict
from service.house import House
from service.ledger.records import Regression, Release, Watch
from service.notices.regressions import keep_regression
from service.training.comparing import compare, masks_of, outcomes
from service.training.registry import Registry
from service.training.training_errors import TrainingError

_log = logging.getLogger(__name__)
LABELS_A_LOOK = 100


def watch_release(house: House, registry: Registry, policy: Policy) -> Release | None:
    """Look at the newest release where it is being watched and enough new labels have come.

    Gives the rollback, if there was one: some segment became worse than under the version before, by more than
    `gate.max_segment_drop` and with evidence. With `watch.rollback: manual` the regression is only counted.
    """
    watch, model = house.ledger.watch(policy.model), policy.model
    if watch is None:
        return None
    baseline = house.ledger.baseline(model, watch.version)
    if house.clock() >= watch.until or house.ledger.champion(model) != watch.version or baseline is None:
        house.ledger.save_watch(model, None)
        return None
    labels = int(house.cells.total_labelled(baseline)[0, 0])
    if labels < watch.judged + LABELS_A_LOOK:
        return None
    verdict = _compare(house, registry, policy, watch, baseline)
    worse = _worse(verdict) if verdict else []
    if not worse:
        said = msgspec.to_builtins(verdict) if verdict else {}
        house.ledger.save_watch(model, replace(watch, judged=labels, verdict=said))
        return None
    reason = f"worse than version {watch.previous} in {', '.join(worse)} on {labels} labels since its release"
    return _regress(house, policy, watch, reason)


def _regress(house: House, policy: Policy, watch: Watch, reason: str) -> Release | None:
    _log.warning("version %s of %s is %s", watch.version, policy.model, reason)
    is_manual = policy.watch.rollback != "automatic"
    if is_manual:
        keep_regression(house.store, Regression(policy.model, watch.version, watch.previous, house.clock(), reason))
    house.ledger.save_watch(policy.model, None)
    house.ledger.count(policy.model, "post_release_regressions")
    if is_manual:
        return None
    release = Release(policy.model, watch.previous, watch.version, house.clock(), "rollback", reason)
    house.ledger.move_champion(release)
    house.ledger.count(policy.model, "rollbacks")
    return release


def _worse(verdict: Verdict) -> list[str]:
    """Segments that are worse beyond chance. The e-value holds at any number of looks; there are many segments."""
    bar = ENOUGH_LN + math.log(len(verdict.segments))
    return [s.name for s in verdict.segments if s.answer == "worse" and s.evidence_ln >= bar]


def _compare(
    house: House,
    registry: Registry,
    policy: Policy,
    watch: Watch,
    baseline: Baseline,
) -> Verdict | None:
    labelled = house.cells.load_labelled(baseline)
    first, last = min(labelled), max(labelled)
    span = datetime.fromtimestamp(first, UTC), datetime.fromtimestamp(last, UTC) + policy.window.slice + timedelta(1)
    rows = house.archive.labelled(policy.model, *span, version=watch.version)
    try:
        before = registry.load(policy.model, watch.previous).predict(rows).column("prediction")
    except TrainingError:
        # A version that was trained elsewhere cannot be asked; it is watched by its own readings alone.
        return None
    if not rows.num_rows:
        return None
    kind = policy.task.kind
    answers = outcomes(kind, before, rows), outcomes(kind, rows.column("prediction"), rows)
    return compare(policy, *answers, masks_of(baseline, rows))
