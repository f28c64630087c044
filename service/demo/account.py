"""Demo account: what a played story came to, and whether it kept its promises; all read from what was recorded."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from policies.decision import TRIGGER_CODES
from policies.file.policy import Policy
from service.demo.play import Tick
from service.demo.traffic import INTENTS, PHASES, Chapter
from service.house import House
from service.ledger.records import Evaluation, Retraining

SPOILT = "returns"
"""The intent that the story changes."""
_EARLIEST, _LATEST = datetime(1970, 1, 1, tzinfo=UTC), datetime(9000, 1, 1, tzinfo=UTC)

Reason = Mapping[str, Any]
"""One reason as the ledger keeps it; its fields are those of `policies.decision.Reason`."""


@dataclass(frozen=True)
class Scene:
    """A chapter as it was played; the first one, which only trains, has no ticks."""

    chapter: Chapter
    begins: datetime
    ends: datetime
    ticks: tuple[Tick, ...] = ()

    @property
    def is_broken(self) -> bool:
        return PHASES[self.chapter.phase].is_broken

    @property
    def is_changed(self) -> bool:
        return PHASES[self.chapter.phase].offers_instant_exchange


@dataclass(frozen=True)
class Answer:
    """What one trigger answered for one segment, with its conditions; a met condition speaks against it."""

    trigger: Reason
    conditions: tuple[Reason, ...]

    @property
    def asks(self) -> bool:
        return bool(self.trigger["met"])

    @property
    def is_ready(self) -> bool:
        return self.asks and not any(c["met"] for c in self.conditions)

    @property
    def nearness(self) -> float:
        """The share of the needed evidence that is there."""
        found = next((c for c in self.conditions if c["code"] == "evidence_below_threshold"), None)
        return (found["observed"] or 0.0) / found["limit"] if found and found["limit"] else 0.0


def read_answers(reasons: Iterable[Reason]) -> tuple[list[Answer], list[Reason]]:
    """The triggers' answers, the nearest to a retraining first, and the reasons to wait."""
    answers: list[Answer] = []
    holds: list[Reason] = []
    for reason in reasons:
        if reason["code"] in TRIGGER_CODES:
            answers.append(Answer(reason, ()))
        elif answers and answers[-1].trigger["code"] != "manual":
            answers[-1] = Answer(answers[-1].trigger, (*answers[-1].conditions, reason))
        else:
            holds.append(reason)
    asked = [answer for answer in answers if answer.trigger["code"] != "manual"]
    return sorted(asked, key=_distance), holds


def _distance(answer: Answer) -> tuple[bool, bool, int, float]:
    """What asks is told in the order of the codes, what does not by its evidence."""
    place = TRIGGER_CODES.index(answer.trigger["code"]) if answer.asks else 0
    return not answer.is_ready, not answer.asks, place, -answer.nearness


def held_by(evaluation: Evaluation) -> tuple[str, ...]:
    """The codes of the reasons to wait that stand."""
    return tuple(sorted({hold["code"] for hold in read_answers(evaluation.reasons)[1] if hold["met"]}))


def asks(evaluation: Evaluation) -> tuple[str, ...]:
    """The codes of the triggers that ask for a retraining, in any segment."""
    asked = {answer.trigger["code"] for answer in read_answers(evaluation.reasons)[0] if answer.asks}
    return tuple(code for code in TRIGGER_CODES if code in asked)


def would_retrain(evaluation: Evaluation) -> bool:
    """Whether the broken data alone stood between what was asked and a retraining."""
    answers, _ = read_answers(evaluation.reasons)
    return any(answer.is_ready for answer in answers) and held_by(evaluation) == ("data_fault",)


@dataclass(frozen=True)
class Accuracy:
    """Labelled rows of one version in one time, and how often it was right where it said each intent, and in `all`."""

    says: str
    version: str
    rows: Mapping[str, int]
    right: Mapping[str, float]


def accuracies(house: House, policy: Policy, scenes: Sequence[Scene]) -> list[Accuracy]:
    """The first version before the change and after it, then each later one; slices of a broken feed count for none."""
    rows = house.archive.labelled(policy.model, _EARLIEST, _LATEST)
    rows = rows.filter(pc.is_valid(rows.column("label")))
    seconds = int(policy.window.slice.total_seconds())
    starts = pc.cast(rows.column("timestamp"), pa.int64()).to_numpy() // 1_000_000 // seconds * seconds
    rows = rows.filter(pa.array(~np.isin(starts, list(house.ledger.faulty_slices(policy.model)))))
    changed = next((scene.begins for scene in scenes if scene.is_changed), _LATEST)
    releases = house.ledger.releases(policy.model)
    is_first = pc.equal(rows.column("model_version"), releases[0].version)
    is_before = pc.less(rows.column("timestamp"), pa.scalar(changed))
    parts = [("before the change", releases[0].version, pc.and_(is_first, is_before))]
    parts += [("after the change", releases[0].version, pc.and_(is_first, pc.invert(is_before)))]
    later = dict.fromkeys(release.version for release in releases if release.kind == "release")
    parts += [("after its release", v, pc.equal(rows.column("model_version"), v)) for v in later]
    return [_accuracy(says, version, rows.filter(mask)) for says, version, mask in parts]


def first_accuracy(rows: pa.Table, version: str) -> Accuracy:
    """Of a baseline's rows: each was predicted by a model that had not seen it."""
    return _accuracy("out of fold", version, rows)


def _accuracy(says: str, version: str, rows: pa.Table) -> Accuracy:
    said = np.asarray(rows.column("prediction").to_pylist(), dtype=np.str_)
    is_right = said == np.asarray(rows.column("label").to_pylist(), dtype=np.str_)
    masks = {"all": np.ones(len(said), bool)} | {intent: said == intent for intent in INTENTS}
    counts = {name: int(mask.sum()) for name, mask in masks.items()}
    return Accuracy(says, version, counts, {n: float(is_right[m].mean()) for n, m in masks.items() if counts[n]})


@dataclass(frozen=True)
class Promise:
    """Something that the story says will happen, and whether it did."""

    says: str
    is_kept: bool


def check(scenes: Sequence[Scene], measured: Sequence[Accuracy], policy: Policy) -> list[Promise]:
    """Every promise of the story, held against what was recorded."""
    quiet = [tick for scene in scenes if not scene.is_changed for tick in scene.ticks]
    broken = [tick for scene in scenes if scene.is_broken for tick in scene.ticks]
    changed = [tick for scene in scenes if scene.is_changed for tick in scene.ticks]
    held = [tick for tick in broken if "data_fault" in held_by(tick.evaluation)]
    released = [r for r in retrainings(changed) if r.state == "released"]
    before, *_, after = (m.right.get(SPOILT, 0.0) for m in measured)
    back = before - after <= policy.performance.max_drop and len(measured) > 2
    allowed = 100 * policy.performance.max_drop
    rolled_back = any(tick.turn.rollback for scene in scenes for tick in scene.ticks)
    return [
        Promise("nothing was retrained while nothing had changed", not retrainings(quiet)),
        Promise("the broken feed was reported as a fault (data_fault)", bool(held)),
        Promise("the fault held back what drift had asked for", any(asks(tick.evaluation) for tick in held)),
        Promise("nothing was retrained while the feed was broken", not retrainings(broken)),
        Promise("the drift led to a retraining that passed the gate and was released", bool(released)),
        Promise(f"accuracy in {policy.task.target}={SPOILT} came back, to within {allowed:.0f} points of before", back),
        Promise("the release stood its watch: nothing was rolled back", bool(released) and not rolled_back),
    ]


def retrainings(ticks: Iterable[Tick]) -> list[Retraining]:
    """What was retrained, in order."""
    return [tick.turn.retraining for tick in ticks if tick.turn.retraining]
