"""Backtesting: the past of a model, loaded from the store, and what policies would have done over it."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from statistics import median
from time import process_time
from typing import Any

from monitors.baseline.baselines import Baseline
from monitors.counting.slices import LONGEST, RUNGS
from monitors.reading.twin import dated
from monitors.readings import FloatArray, TwinReading
from policies.decision import CONDITION_CODES
from policies.file.policy import Policy
from policies.past.backtest import backtest
from policies.past.past import Assumed, Known, Past, Reign
from service.backtest.view import view
from service.errors import ServiceError
from service.house import House
from service.ledger.records import DecisionRecord, Release
from service.training.twins import TEST_LABELS, TWIN_ROWS

MOST_BYTES = 384 << 20
"""Of profiles at once; adding them up takes as much again."""
USUAL_TRAINING = timedelta(hours=1)
"""Where no retraining of the model has ended yet."""
_DAY = 86_400
_MOST_RECORDS = 10_000


class CannotBacktest(ServiceError):
    """The past that was asked for is not stored, or is too much to look at at once."""


def past_of(house: House, model: str, since: datetime, until: datetime) -> Past:
    """What is stored of a model's champions within the span, and of before as far as windows reach.

    Raises:
        CannotBacktest: no champion of the span has both a baseline and profiles, or they are too many.
    """
    ledger, notes = house.ledger, list[str]()
    policy = house.policies.policy(model)
    every = policy.evaluate if policy else timedelta(0)
    reigns, tests = [], _twin_tests(ledger.decisions(model, _MOST_RECORDS), every)
    faulty = frozenset(ledger.faulty_slices(model))
    for release, ends in _spans(ledger.releases(model), since, until):
        version, begins = release.version, max(since, release.at)
        baseline = ledger.baseline(model, version)
        if baseline is None:
            notes.append(f"version {version}, champion until {_said(ends)}, is left out: its baseline is not stored")
            continue
        profiles, labelled = _load(house, baseline, begins, ends, notes)
        if not profiles:
            notes.append(f"version {version}, champion until {_said(ends)}, is left out: its profiles are not stored")
            continue
        twins = tuple((at, _dated(twin, at, labelled, faulty)) for at, twin in tests.get(version, ()))
        reigns.append(Reign(baseline, begins, ends, profiles, labelled, twins))
    if not reigns:
        reasons = "; ".join(notes) or "it had no champion then"
        raise CannotBacktest(f"nothing is stored of {model} between {_said(since)} and {_said(until)}: {reasons}")
    retrainings = [
        Known(r.champion, r.opened_at, r.finished_at, r.state)
        for r in reversed(ledger.retrainings(model, _MOST_RECORDS))
    ]
    return Past(model, since, until, tuple(reigns), tuple(retrainings), faulty, tuple(notes))


def usual_training(past: Past) -> timedelta:
    """How long retrainings of the model took: the median of those that ended, an hour where none did."""
    took = [k.finished_at - k.opened_at for k in past.retrainings if k.finished_at and k.outcome != "cancelled"]
    return timedelta(seconds=median(each.total_seconds() for each in took)) if took else USUAL_TRAINING


def told(past: Past, named: Sequence[tuple[str, Policy]], assumed: Assumed) -> dict[str, Any]:
    """What one policy or two would have done over the past, as plain values; each with the name to show it under.

    Raises:
        CannotBacktest: a policy is for another model.
    """
    for name, policy in named:
        if policy.model != past.model:
            raise CannotBacktest(f"{name} is a policy for {policy.model}, the profiles are of {past.model}")
    begun = process_time()
    courses = backtest([policy for _, policy in named], past, assumed)
    return view(past, named, courses, assumed, process_time() - begun)


def _spans(releases: list[Release], since: datetime, until: datetime) -> list[tuple[Release, datetime]]:
    """Each move of the pointer with when it ended, of those that the span meets."""
    ends = [later.at for _, later in pairwise(releases)] + [until]
    met = zip(releases, ends, strict=True)
    return [(release, min(end, until)) for release, end in met if end > since and release.at < until]


def _load(
    house: House, baseline: Baseline, since: datetime, until: datetime, notes: list[str]
) -> tuple[dict[int, FloatArray], dict[int, FloatArray]]:
    """Profiles and labelled profiles of a version until the end, from as far back as windows reach before `since`."""
    length = baseline.slice_seconds
    fits = MOST_BYTES // max(1, baseline.counts.nbytes + baseline.labelled.nbytes)
    spanned = int((until - since).total_seconds()) // length + 1
    if spanned + RUNGS[-1] > fits:
        most = timedelta(seconds=max(0, fits - RUNGS[-1]) * length)
        raise CannotBacktest(
            f"{spanned} slices of {len(baseline.layout.segments)} segments and {len(baseline.layout.columns)} columns "
            f"are too many to look at at once; {most.days} days ({int(most.total_seconds() // length)} slices) are not"
        )
    first = int(since.timestamp()) - min(LONGEST, fits - spanned) * length
    days_before = int((house.clock() - house.settings.keep_slices).timestamp())
    found = house.cells.load(baseline, first), house.cells.load_labelled(baseline, first)
    profiles, labelled = ({s: p for s, p in each.items() if s < until.timestamp()} for each in found)
    coarse = _days(profiles, length, days_before)
    if coarse and max(coarse) + _DAY > since.timestamp():
        ends = datetime.fromtimestamp(max(coarse) + _DAY, UTC)
        notes.append(f"until {_said(ends)} version {baseline.version} is stored by the day: decided once a day at most")
    begun = min(profiles, default=0)
    if begun > since.timestamp() + _DAY:
        begins = datetime.fromtimestamp(begun, UTC)
        notes.append(f"of version {baseline.version} nothing is stored before {_said(begins)}: it looks from then on")
    return _at_their_ends(profiles, coarse, length), _at_their_ends(labelled, coarse, length)


def _days(profiles: Mapping[int, FloatArray], length: int, before: int) -> set[int]:
    """Starts of slices that are whole days, added up: the only ones of theirs, and older than slices are kept."""
    starts = set(profiles)
    alone = (s for s in starts if s % _DAY == 0 and starts.isdisjoint(range(s + length, s + _DAY, length)))
    return {s for s in alone if s + _DAY <= before} if length < _DAY else set()


def _at_their_ends(profiles: Mapping[int, FloatArray], days: Collection[int], length: int) -> dict[int, FloatArray]:
    """The same with each day as its own last slice: before the day was over nobody knew of it."""
    return {start + _DAY - length if start in days else start: profile for start, profile in profiles.items()}


def _twin_tests(
    decisions: Iterable[DecisionRecord], every: timedelta
) -> dict[str, tuple[tuple[datetime, TwinReading], ...]]:
    """What kept decisions say of fresh twins, by version: the only trace that is left of them.

    A lead that had lasted for some evaluations, one `every` so long, was known that much earlier.
    """
    found: dict[str, list[tuple[datetime, TwinReading]]] = {}
    for decision in decisions:
        answers = {each["code"]: each for each in _of_twin(decision.reasons)}
        twin = _twin_of(answers)
        if twin is not None:
            run = int(answers.get("not_persistent", {}).get("observed") or 1)
            found.setdefault(decision.version, []).append((decision.at - max(run - 1, 0) * every, twin))
    return {version: tuple(sorted(tests, key=lambda test: test[0])) for version, tests in found.items()}


def _of_twin(reasons: Sequence[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    """The answers of the twin's trigger: they follow each other, its own first."""
    is_twin = False
    for reason in reasons:
        is_twin = reason["code"] == "twin_better" or (is_twin and reason["code"] in CONDITION_CODES)
        if is_twin:
            yield reason


def _twin_of(answers: Mapping[str, Mapping[str, Any]]) -> TwinReading | None:
    lead, evidence, labels = (
        answers[code]["observed"] if code in answers else None
        for code in ("twin_better", "evidence_below_threshold", "insufficient_labels")
    )
    if lead is None or evidence is None or not labels:
        return None
    # How many won and how many lost is not kept, only by how many more: that is all that a trigger asks.
    return TwinReading(max(int(lead), 0), max(-int(lead), 0), float(evidence), int(labels))


def _dated(twin: TwinReading, at: datetime, labelled: Mapping[int, FloatArray], faulty: Collection[int]) -> TwinReading:
    """The test with the stretch of time that its rows were from, by the labels of predictions made until then."""
    known = {start: counts for start, counts in labelled.items() if start < at.timestamp()}
    return dated(twin, known, TEST_LABELS, TWIN_ROWS, faulty)


def _said(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M} UTC"
