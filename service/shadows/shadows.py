"""Shadow policies: what a second policy would have made of the same counts. They only speak.

A shadow has runs and would-be retrainings of its own, for cooldown, budget and one at a time; the faults, orders and
signals are the model's. What only people say is taken as said: an approval as given, a request as not made.
"""

import hashlib
import logging
from dataclasses import replace
from datetime import datetime

import msgspec

from monitors.readings import Readings
from policies.decide import decide
from policies.decision import CONDITION_CODES, TRIGGER_CODES, Attempt, Decision, History
from policies.explanation import explain
from policies.file.parse import digest
from policies.file.policy import Policy
from policies.question import question_of
from service.deciding.keeping import HEARTBEAT
from service.deciding.sight import Sight, Sights
from service.errors import ServiceError
from service.house import House
from service.shadows.ledger import Ask, Shadow, ShadowDecision, ShadowLedger, Side

_log = logging.getLogger(__name__)
_ASKS_KEPT = 100


class ShadowUnfit(ServiceError):
    """A shadow that cannot be evaluated on the counts of its model."""


class Shadows:
    """Evaluates the shadows of a model, after its policy in force has had its say."""

    def __init__(self, house: House, sights: Sights) -> None:
        self._house = house
        self._sights = sights
        self._ledger = ShadowLedger(house.store)

    def step(self, sight: Sight, readings: Readings, history: History, decision: Decision) -> None:
        """Every shadow on what the policy in force was decided on. Raises nothing: the retraining must go on."""
        try:
            self._step(sight, readings, history, decision)
        except Exception:  # noqa: BLE001  whatever is wrong with a shadow must not stop what was decided
            _log.exception("the shadows of %s were not evaluated", decision.model)

    def _step(self, sight: Sight, readings: Readings, history: History, decision: Decision) -> None:
        model, most = decision.model, self._house.settings.max_shadows
        found = self._house.policies.shadows(model)
        if not found:
            return
        known = self._ledger.shadows(model)
        missing = explain(sight.policy, readings, history, decision.at).missing
        in_force = Side(decision.action, decision.triggers, missing)
        for place, name in enumerate(sorted(found)):
            before = known.get(name) or Shadow(name)
            try:
                check_place(place, most)
                own = self.readings(found[name].policy, sight, readings)
                shadow, said = self._evaluate(found[name].policy, sight, own, before, in_force, decision.at)
            except Exception as error:  # noqa: BLE001  as above; the next shadow may be well
                if str(error) != before.problem:
                    _log.warning("shadow %s of %s is not evaluated: %s", name, model, error)
                shadow, said = replace(before, problem=str(error) or repr(error)), None
            self._ledger.record(model, shadow, said, counted=not shadow.problem)

    def readings(self, policy: Policy, sight: Sight, readings: Readings) -> Readings:
        """What the shadow asks for; taken again only where it asks something else. Raises ShadowUnfit."""
        check_task(policy, sight.policy)
        baseline = sight.counted.baseline
        is_same = question_of(policy, baseline) == question_of(sight.policy, baseline)
        return readings if is_same else self._sights.read(policy, sight)

    def _evaluate(
        self, policy: Policy, sight: Sight, readings: Readings, before: Shadow, in_force: Side, now: datetime
    ) -> tuple[Shadow, ShadowDecision | None]:
        shadow = carried(before, readings.version, now)
        history = history_of_shadow(self._sights, sight, shadow)
        decision = decide(heard(policy), readings, history, now)
        said = ShadowDecision(
            at=now,
            version=decision.version,
            policy=digest(policy),
            action=decision.action,
            triggers=decision.triggers,
            missing=explain(heard(policy), readings, history, now).missing,
            in_force=in_force,
            reasons=[msgspec.to_builtins(r) for r in decision.reasons if r.met],
        )
        summary = _summary(said)
        is_kept = "retrain" in {said.action, in_force.action} or summary != before.summary or _is_due(before, now)
        after = replace(
            shadow,
            policy=said.policy,
            at=now,
            action=said.action,
            missing=said.missing,
            runs=dict(decision.runs),
            asks=_asks(shadow, decision),
            summary=summary,
            kept_at=now if is_kept else before.kept_at,
            problem="",
        )
        return after, said if is_kept else None


def heard(policy: Policy) -> Policy:
    """The shadow's policy as it is decided by: nobody is asked to agree to what will not happen."""
    return replace(policy, retrain=replace(policy.retrain, approval="automatic"))


def check_task(policy: Policy, in_force: Policy) -> None:
    """Raises ShadowUnfit where the shadow is for another kind of task: its metrics are not counted."""
    if policy.task.kind != in_force.task.kind:
        raise ShadowUnfit(
            f"its task is {policy.task.kind}, that of the policy in force {in_force.task.kind}: make them the same"
        )


def check_place(place: int, most: int) -> None:
    """Raises ShadowUnfit for more shadows than are evaluated."""
    if place >= most:
        raise ShadowUnfit(
            f"only {most} shadows of a model are (TIDEGATE_MAX_SHADOWS), the first by name: take one out or allow more"
        )


def carried(before: Shadow, version: str, now: datetime) -> Shadow:
    """What a shadow knows when it is evaluated; another champion ends the change that it asked about."""
    if before.version == version:
        return before
    ended = tuple(ask if ask.ended_at else replace(ask, ended_at=now) for ask in before.asks)
    return replace(before, version=version, runs={}, asks=ended)


def history_of_shadow(sights: Sights, sight: Sight, shadow: Shadow) -> History:
    """The model's history with the runs and the would-be retrainings of the shadow, which take no time."""
    known = sights.history(replace(sight, last=replace(sight.last, runs=shadow.runs), retrainings=[]))
    return replace(
        known,
        in_flight=next((ask.id for ask in shadow.asks if ask.ended_at is None), None),
        retrainings=tuple(Attempt(ask.opened_at, "released" if ask.ended_at else None) for ask in shadow.asks),
        last_finished_at=max((ask.opened_at for ask in shadow.asks), default=None),
        proposal=None,
        approval=None,
        refusal=None,
        manual=None,
    )


def _asks(shadow: Shadow, decision: Decision) -> tuple[Ask, ...]:
    """The would-be retrainings after a decision: one more, or the open one ended where nothing asks any more."""
    if decision.action == "retrain":
        reasons = sorted({r.code for r in decision.reasons if r.met and r.code in TRIGGER_CODES})
        name = f"{shadow.name}@{decision.at:%Y-%m-%dT%H:%M}"
        ask = Ask(name, decision.version, decision.at, tuple(reasons), decision.triggers)
        return (*shadow.asks, ask)[-_ASKS_KEPT:]
    if decision.triggers:
        return shadow.asks
    return tuple(ask if ask.ended_at else replace(ask, ended_at=decision.at) for ask in shadow.asks)


def _is_due(before: Shadow, now: datetime) -> bool:
    return before.kept_at is None or now - before.kept_at >= HEARTBEAT


def _summary(said: ShadowDecision) -> str:
    """What has to change for a decision to be news, on either side; the numbers change each time."""
    codes = sorted({f"{r['code']}:{r['segment']}" for r in said.reasons if r["code"] not in CONDITION_CODES})
    words = [said.policy, said.version, said.action, said.triggers, codes, said.in_force.action, said.in_force.triggers]
    return hashlib.sha256(msgspec.json.encode(words)).hexdigest()[:16]
