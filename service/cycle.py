"""The cycle: close slices → read (compare with the baseline) → decide → record → open a retraining.

One step for one model. It reads the clock it is given and nothing else, so that a replay decides as production does.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from time import perf_counter

import msgspec

from monitors.baseline.baselines import Baseline
from monitors.compare import Comparison, Question
from monitors.counting.slices import LONGEST
from monitors.reading.performance import MOST_SLICES
from monitors.reading.quality import faulty_slices
from monitors.reading.twin import read_twin
from monitors.readings import FAULT_KINDS, FloatArray, Readings
from policies.assessment import Assessment, assess
from policies.decide import decide
from policies.decision import CONDITION_CODES, Attempt, Decision, History, ManualRequest
from policies.parse import digest
from policies.policy import Policy
from service.conventions.signals import Signals
from service.house import House
from service.intake.folding.noted import newcomers
from service.readings_view import segments_view
from service.records import DecisionRecord, Evaluation, Retraining
from service.training.twins import TEST_LABELS, Twins

LATE_SLICES = 200
"""Rows that arrive later than into the newest so many slices do not cause an evaluation of their own."""
HEARTBEAT = timedelta(days=1)
"""A decision that changes nothing is kept at least this often."""


class Cycle:
    """Evaluates models, one step at a time; remembers comparisons of the baselines it has seen."""

    def __init__(self, house: House) -> None:
        self._house = house
        self._twins = Twins(house)
        self._signals = Signals(house.store, house.settings.signal_life, house.clock)
        self._comparisons: dict[str, Comparison] = {}

    def step(self, model: str) -> DecisionRecord | None:
        """Evaluate a model now. The decision where it is worth keeping; None where nothing changed."""
        house, started, now = self._house, perf_counter(), self._house.clock()
        policy, version = house.policies.policy(model), house.ledger.champion(model)
        baseline = house.ledger.baseline(model, version) if version else None
        if policy is None or baseline is None:
            return None
        closed = _closed_until(policy, baseline, now)
        profiles = house.cells.load(baseline, newest=LONGEST)
        profiles = {start: p for start, p in profiles.items() if start + baseline.slice_seconds <= closed}
        labelled = house.cells.load_labelled(baseline, newest=MOST_SLICES)
        since_release = house.cells.total_labelled(baseline)
        retrainings = house.ledger.retrainings(model)
        before = house.ledger.evaluation(model)
        labels = int(since_release[0, 0])
        seen = self._seen(policy, baseline, profiles, labels, retrainings)
        is_news = (before.seen, before.version) != (seen, version)
        if not is_news and before.closed == closed:
            return None
        last = replace(_carried(before, version), labels=labels)
        faulty = house.ledger.faulty_slices(model)
        last = self._twins.step(policy, last, labelled, faulty)
        at = datetime.fromtimestamp(closed, tz=UTC)
        comparison = self._comparison(baseline)
        twin = read_twin(last.twin, TEST_LABELS)
        names = newcomers(house.noted(model), version)
        question = _question(policy, baseline)
        readings = comparison.read(profiles, labelled, question, at, faulty, twin, since_release, names)
        assessment = assess(policy, readings, now)
        house.ledger.mark_faulty(
            model, faulty_slices(baseline, profiles, readings.quality, assessment.quality.cells) - faulty
        )
        decision = decide(policy, readings, self._history(model, last, retrainings, is_news=is_news), now)
        last = replace(last, seen=seen, closed=closed, seconds=perf_counter() - started)
        return self._record(policy, readings, assessment, decision, last, now)

    def _comparison(self, baseline: Baseline) -> Comparison:
        known = self._comparisons.get(baseline.model)
        if known is None or known.baseline.fingerprint != baseline.fingerprint:
            known = self._comparisons[baseline.model] = Comparison.to(baseline)
        return known

    def _seen(
        self,
        policy: Policy,
        baseline: Baseline,
        profiles: Mapping[int, FloatArray],
        labels: int,
        retrainings: list[Retraining],
    ) -> str:
        """What a decision depends on but for the time: while it does not change, no run grows."""
        rows = sum(float(profiles[start][0, 0]) for start in sorted(profiles)[-LATE_SLICES:])
        wishes = [self._house.ledger.request(policy.model, verb) for verb in ("retrain", "approve", "reject")]
        states = [(r.id, r.state) for r in retrainings[:1]]
        held = self._signals.hold(policy.model)
        said = [digest(policy), baseline.fingerprint, max(profiles, default=0), rows, labels, wishes, states, held]
        return hashlib.sha256(msgspec.json.encode(said)).hexdigest()

    def _history(self, model: str, last: Evaluation, retrainings: list[Retraining], *, is_news: bool) -> History:
        ledger = self._house.ledger
        manual, approval, refusal = (ledger.request(model, verb) for verb in ("retrain", "approve", "reject"))
        return History(
            # Looking again at what was seen already is no further time in a row.
            runs=last.runs if is_news else {condition: times - 1 for condition, times in last.runs.items()},
            in_flight=next((r.id for r in retrainings if not r.is_finished), None),
            retrainings=tuple(Attempt(r.opened_at, r.state if r.is_finished else None) for r in retrainings),
            last_finished_at=max((r.finished_at for r in retrainings if r.finished_at), default=None),
            fault_open=last.fault_open,
            fault_quiet_since=last.fault_quiet_since,
            labels_since_attempt=_labels_since(last, retrainings),
            approved=approval is not None,
            rejected_until=refusal.at + HEARTBEAT if refusal else None,
            manual=ManualRequest(manual.who, manual.why, manual.at) if manual else None,
            signal=self._signals.hold(model),
        )

    def _record(
        self,
        policy: Policy,
        readings: Readings,
        assessment: Assessment,
        decision: Decision,
        last: Evaluation,
        now: datetime,
    ) -> DecisionRecord | None:
        reasons = [msgspec.to_builtins(r) for r in decision.reasons]
        record = DecisionRecord(
            id=f"d-{decision.model}-{now:%Y%m%dT%H%M%S}",
            model=decision.model,
            version=decision.version,
            at=now,
            action=decision.action,
            reasons=reasons,
            states=dict(decision.states),
            triggers=decision.triggers,
            change_started=decision.change_started,
            policy=decision.policy,
            baseline=decision.baseline,
        )
        summary = _summary(decision)
        is_new = decision.action == "retrain" or summary != last.summary
        is_due = last.kept_at is None or now - last.kept_at >= HEARTBEAT
        segments = segments_view(policy, readings, dict(decision.states))
        if is_new or is_due:
            record = replace(record, readings=segments)
            last = replace(last, kept_at=now, decision=record.id)
        evaluation = replace(
            last,
            baseline=readings.baseline,
            at=now,
            runs=dict(decision.runs),
            fault_open=decision.fault_open,
            fault_quiet_since=decision.fault_quiet_since,
            faults=tuple(sorted(_fault_names(readings, assessment))),
            action=decision.action,
            summary=summary,
            reasons=reasons,
            evidence_threshold_ln=assessment.threshold_ln,
            findings=readings.findings,
            segments=segments,
        )
        held = {r.code for r in decision.reasons if r.met} if decision.action != "retrain" else set()
        counted = [f"decisions:{decision.action}", *(f"hold_reasons:{code}" for code in sorted(held))]
        self._house.ledger.record(evaluation, record if is_new or is_due else None, counted)
        return record if is_new or is_due else None


def _closed_until(policy: Policy, baseline: Baseline, now: datetime) -> int:
    """End of the newest closed slice, in unix seconds: closed when `lateness` has passed since its end."""
    open_since = int((now - policy.window.lateness).timestamp())
    return open_since // baseline.slice_seconds * baseline.slice_seconds


def _carried(before: Evaluation, version: str) -> Evaluation:
    """What the last evaluation left. Of another version: nothing but its faults, for they are the feed's."""
    if before.version == version:
        return before
    return Evaluation(
        before.model,
        version,
        fault_open=before.fault_open,
        fault_quiet_since=before.fault_quiet_since,
    )


def _question(policy: Policy, baseline: Baseline) -> Question:
    statistics = {c.name: policy.drift_rule(c.name).statistic or "" for c in baseline.layout.columns}
    return Question(statistics, policy.drift.statistic, policy.performance.metric, policy.performance.estimate)


def _summary(decision: Decision) -> str:
    """What has to change for a decision to be news: the action, the states, and what asks or holds.

    How near the nearest condition is changes at every evaluation, and is no news.
    """
    met = sorted({f"{r.code}:{r.segment}" for r in decision.reasons if r.met and r.code not in CONDITION_CODES})
    said = [decision.action, sorted(decision.triggers), sorted(decision.states.items()), met]
    return hashlib.sha256(msgspec.json.encode(said)).hexdigest()[:16]


def _fault_names(readings: Readings, assessment: Assessment) -> set[str]:
    cells = zip(*assessment.quality.cells.nonzero(), strict=True)
    return {f"{readings.segments[s]}: {readings.quality.columns[c]} {FAULT_KINDS[k]}" for s, c, k in cells}


def _labels_since(last: Evaluation, retrainings: list[Retraining]) -> int | None:
    """New labels since the newest retraining, where it was this champion's and brought no better model."""
    newest = retrainings[0] if retrainings else None
    if newest is None or newest.champion != last.version or newest.state not in {"refused", "failed"}:
        return None
    return last.labels - newest.labels_seen
