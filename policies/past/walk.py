"""A walk: one policy on its way through the past of a model, evaluation by evaluation, by the same `decide`."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from monitors.baseline.baselines import Baseline
from monitors.compare import Comparison
from monitors.counting.slices import LONGEST
from monitors.reading.quality import faulty_slices
from monitors.readings import Readings, TwinReading
from monitors.series import Series
from policies.assessment import assess
from policies.confirm import confirm
from policies.decide import decide
from policies.decision import HOLD_CODES, TRIGGER_CODES, Attempt, Decision, History
from policies.file.policy import Policy
from policies.past.arrivals import Arrivals
from policies.past.course import Course, Release, Stretch, WouldBe
from policies.past.past import Assumed, Known, Past, Reign
from policies.past.rebase import rebased
from policies.question import question_of

FRUITLESS = ("refused", "failed")

Shared = dict[tuple[object, ...], Readings]
"""What policies read at one moment, by what they asked."""


@dataclass(frozen=True, eq=False)
class Base:
    """What slices are compared with now; `is_real` where that is the baseline of a version that was champion."""

    series: Series
    version: str
    is_real: bool = True

    @property
    def baseline(self) -> Baseline:
        return self.series.comparison.baseline


Bases = dict[tuple[object, ...], Base]
"""The references of would-be models, by what they were made of."""


class Walk:
    """One policy on its way through the past: what it knows, and what it would have done so far."""

    def __init__(self, policy: Policy, past: Past, assumed: Assumed) -> None:
        # A person who has to agree is taken to agree at once.
        self._policy = replace(policy, retrain=replace(policy.retrain, approval="automatic"))
        self._past, self._training = past, assumed.training
        self._delay = policy.window.label_delay if assumed.label_delay is None else assumed.label_delay
        before = [known for known in past.retrainings if known.opened_at < past.since]
        self._attempts = [Attempt(known.opened_at, known.outcome) for known in before]
        self._finished_at = max((known.finished_at for known in before if known.finished_at), default=None)
        self._faulty = frozenset(start for start in past.faulty if start < past.since.timestamp())
        self._history = History()
        self._would_be: list[WouldBe] = []
        self._asked_of: list[tuple[Base, frozenset[int]]] = []
        self._releases: list[Release] = []
        self._stood = ""
        self._stretches: list[Stretch] = []
        self._labels_at_attempt: int | None = None
        self._evaluations = 0
        self._in_flight: WouldBe | None = None

    def enter(self, reign: Reign, series: Series, bases: Bases) -> None:
        """Another champion: nothing is known of it but that the feed's faults go on."""
        if self._stood:
            self._releases.append(Release(reign.since, reign.baseline.version, self._stood))
        self._stood = "hold"
        history = self._history
        if self._faulty and not history.fault_open and history.fault_quiet_since is None:
            history = History(fault_quiet_since=_moment(max(self._faulty) + reign.baseline.slice_seconds))
        self._history = History(fault_open=history.fault_open, fault_quiet_since=history.fault_quiet_since)
        if self._in_flight is not None:
            self._overtake(reign.since)
        self._reign, self._bases = reign, bases
        self._arrivals = Arrivals.of(self._policy, self._delay, reign.baseline.slice_seconds)
        self._base = Base(series, reign.baseline.version)
        self._labels_at_attempt = None
        self._seen = (0, 0)

    def times(self) -> list[int]:
        """When something is new in this reign (unix seconds)."""
        return self._arrivals.times(self._reign)

    def step(self, at: int, shared: Shared) -> None:
        """One evaluation, as the cycle would have made it."""
        now = _moment(at)
        self._land(now)
        closed, labelled_until = self._arrivals.known_at(at)
        readings = self._read(closed, labelled_until, now, shared)
        is_news = self._arrivals.is_news(self._reign, self._seen, (at, closed))
        self._seen = (at, closed)
        decision = decide(self._policy, readings, self._known(is_news=is_news), now)
        self._history = self._history.after(decision)
        self._evaluations += 1
        if decision.fault_open:
            self._mark_faulty(readings, closed, now)
        self._note(decision)
        if decision.action == "retrain":
            self._open(decision, labelled_until)

    def course(self) -> Course:
        """What it would have done."""
        budget, starts = self._policy.retrain.budget, [attempt.started_at for attempt in self._attempts]
        spent = None
        if budget:
            ends = [would_be.at for would_be in self._would_be]
            spent = max((sum(end - budget.per < start <= end for start in starts) for end in ends), default=0)
        retrainings = (self._settled(*each) for each in zip(self._would_be, self._asked_of, strict=True))
        stretches = sorted(self._stretches, key=lambda stretch: stretch.since)
        return Course(self._evaluations, tuple(retrainings), tuple(stretches), tuple(self._releases), spent)

    def _settled(self, would_be: WouldBe, asked_of: tuple[Base, frozenset[int]]) -> WouldBe:
        """With what the labels said of it until the end of the span."""
        base, faulty = asked_of
        if would_be.change_started is None:
            return would_be
        policy = replace(self._policy, window=replace(self._policy.window, label_delay=self._delay))
        labelled = base.series.newest_labelled(int((self._past.until - self._delay).timestamp()), LONGEST)
        span = would_be.change_started, would_be.at, self._past.until
        found = confirm(policy, base.baseline, labelled, would_be.segments, *span, faulty)
        return replace(would_be, confirmation=found.outcome, settled_at=found.settled_at)

    def _read(self, closed: int, labelled_until: int, now: datetime, shared: Shared) -> Readings:
        twin = self._twin(now)
        question = question_of(self._policy, self._base.baseline)
        asked = tuple(sorted(question.statistics.items())), question.default_statistic
        key = (id(self._base.series), closed, labelled_until, self._faulty, twin, *asked, question.metric)
        found = shared.get((*key, question.estimate))
        if found is None:
            found = self._base.series.read(question, closed, labelled_until, self._faulty, twin)
            shared[(*key, question.estimate)] = found
        return found

    def _twin(self, now: datetime) -> TwinReading | None:
        """The last test that is known; of the real champion only."""
        known = [twin for at, twin in self._reign.twins if at <= now] if self._base.is_real else []
        return known[-1] if known else None

    def _known(self, *, is_news: bool) -> History:
        history = self._history
        flying = self._in_flight
        return replace(
            history,
            runs=history.runs if is_news else {name: times - 1 for name, times in history.runs.items()},
            in_flight=f"of {flying.at.isoformat()}" if flying else None,
            retrainings=tuple(reversed(self._attempts)),
            last_finished_at=self._finished_at,
            labels_since_attempt=self._labels_since(),
        )

    def _labels_since(self) -> int | None:
        if self._labels_at_attempt is None or self._in_flight is not None:
            return None
        _, labelled_until = self._arrivals.known_at(self._seen[0])
        return self._labels(labelled_until) - self._labels_at_attempt

    def _labels(self, until: int) -> int:
        return int(self._base.series.total_labelled(until)[0, 0])

    def _mark_faulty(self, readings: Readings, closed: int, now: datetime) -> None:
        cells = assess(self._policy, readings, now).quality.cells
        profiles = self._base.series.newest(closed, LONGEST)
        self._faulty |= faulty_slices(self._base.baseline, profiles, readings.quality, cells)

    def _note(self, decision: Decision) -> None:
        met = [reason.code for reason in decision.reasons if reason.met]
        asks = any(code in TRIGGER_CODES for code in met)
        against = sorted({code for code in met if code in HOLD_CODES})
        if decision.fault_open:
            faulty = [name for name, state in decision.states.items() if state == "fault"]
            self._stretch("fault", decision.at, (), faulty)
        if self._stood != "asked":
            self._stood = "asked" if decision.action == "retrain" else "held" if asks else decision.action
        if decision.action == "watch" and asks:
            self._stretch("held", decision.at, against or ["insufficient_labels"], decision.triggers)
        elif decision.action == "watch":
            moved = [name for name, state in decision.states.items() if state in ("watch", "drifting")]
            self._stretch("watch", decision.at, (), moved)

    def _stretch(self, kind: str, now: datetime, reasons: Sequence[str], segments: Sequence[str]) -> None:
        last = next((each for each in reversed(self._stretches) if each.kind == kind), None)
        if last is None or now - last.until > self._pause():
            last = Stretch(kind, now, now)
            self._stretches.append(last)
        last.add(now, reasons, segments)

    def _pause(self) -> timedelta:
        """Longer than this without it ends a stretch: two evaluations at the least."""
        return 2 * max(self._policy.evaluate, timedelta(seconds=self._base.baseline.slice_seconds))

    def _open(self, decision: Decision, labelled_until: int) -> None:
        real = self._real(decision.at)
        ends = real.finished_at if real and real.finished_at else decision.at + self._training
        met = {reason.code for reason in decision.reasons if reason.met}
        opened = WouldBe(
            at=decision.at,
            version=self._base.version,
            reasons=tuple(code for code in TRIGGER_CODES if code in met),
            segments=decision.triggers,
            change_started=decision.change_started,
            finished_at=max(ends, decision.at),
            outcome=real.outcome if real else "released",
            is_known=real is not None,
        )
        self._would_be.append(opened)
        self._asked_of.append((self._base, self._faulty))
        self._attempts.append(Attempt(opened.at, None))
        self._in_flight = opened
        self._labels_at_attempt = self._labels(labelled_until)
        self._land(decision.at)

    def _real(self, at: datetime) -> Known | None:
        """The real retraining at this moment, of the real champion."""
        of_champion = [k for k in self._past.retrainings if k.champion == self._base.version and self._base.is_real]
        near = [known for known in of_champion if abs(known.opened_at - at) <= self._pause()]
        return min(near, key=lambda known: abs(known.opened_at - at), default=None)

    def _land(self, now: datetime) -> None:
        """What is in flight comes to its end."""
        landed = self._in_flight
        if landed is None or now < landed.finished_at:
            return
        self._in_flight, self._finished_at = None, landed.finished_at
        self._attempts[-1] = Attempt(landed.at, landed.outcome)
        if landed.outcome not in FRUITLESS:
            self._labels_at_attempt = None
            if not landed.is_known:
                self._renew(landed)

    def _overtake(self, now: datetime) -> None:
        """Another version really became champion while this one was in flight."""
        overtaken = replace(self._would_be[-1], outcome="overtaken", finished_at=now)
        self._would_be[-1], self._in_flight, self._finished_at = overtaken, None, now
        self._attempts[-1] = Attempt(overtaken.at, overtaken.outcome)

    def _renew(self, landed: WouldBe) -> None:
        """Compare with the present from now on, as after a release."""
        key = (self._base.version, landed.change_started, landed.at, landed.finished_at, self._faulty)
        if key not in self._bases:
            version = f"{self._base.version}+"
            closed, _ = self._arrivals.known_at(int(landed.at.timestamp()))
            baseline = rebased(self._base.series, version, landed.change_started, closed, self._faulty)
            series = self._base.series.rebased(Comparison.to(baseline), int(landed.finished_at.timestamp()))
            self._bases[key] = Base(series, version, is_real=False)
        self._base = self._bases[key]
        self._history = replace(self._history, runs={})


def _moment(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
