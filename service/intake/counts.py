"""The counters of the data intake, added up over all partitions, as any replica sees them."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime

from service.intake.joining import hours as label_hours
from service.intake.joining.hours import Fares
from service.intake.log.log import Log
from service.storage import keys
from service.storage.store import Store


@dataclass
class Intake:
    """What came in: all by model; `labels` and `rejected` by (model, end) and (model, reason).

    `last_prediction` is the newest event time in unix seconds. `backlog` counts rows that no worker has folded yet,
    `lag_seconds` is the age of the oldest of them, by model. `waiting` counts labels whose prediction has not come,
    `aside` batches that were set aside. `fares` says by model how the labels of the last day fare.
    """

    predictions: Counter[str] = field(default_factory=Counter)
    unmeasured: Counter[str] = field(default_factory=Counter)
    labels: Counter[tuple[str, str]] = field(default_factory=Counter)
    rejected: Counter[tuple[str, str]] = field(default_factory=Counter)
    kserve: Counter[str] = field(default_factory=Counter)
    last_prediction: dict[str, float] = field(default_factory=dict)
    lag_seconds: dict[str, float] = field(default_factory=dict)
    fares: dict[str, Fares] = field(default_factory=dict)
    aside: int = 0
    backlog: int = 0
    waiting: int = 0


def read(store: Store, log: Log, now: datetime) -> Intake:
    """The counters now; one round trip, and one more for each partition with a backlog."""
    slots = [keys.slot(partition) for partition in range(log.partitions)]
    answers = store.do_all(
        [("HGETALL", key) for slot in slots for key in (keys.counts(slot), keys.refused(slot))]
        + [("HMGET", keys.state(slot), "appended", "folded", "position") for slot in slots]
        + [("HLEN", keys.aside(slot)) for slot in slots]
        + [("HGETALL", keys.counts(keys.LABELS)), ("HLEN", keys.waiting()), ("HGETALL", keys.label_hours())]
    )
    *counted, labelled, waiting, hours = answers
    states, aside = counted[2 * len(slots) : 3 * len(slots)], counted[3 * len(slots) :]
    intake = Intake(waiting=int(waiting), aside=sum(map(int, aside)), fares=label_hours.read(_pairs(hours), now))
    for answer in [*counted[: 2 * len(slots)], labelled]:
        for name, value in _pairs(answer):
            _take(intake, name, value)
    for partition, (appended, folded, position) in enumerate(states):
        behind = int(appended or 0) - int(folded or 0)
        if behind > 0:
            intake.backlog += behind
            _age(intake, log, partition, (position or b"0-0").decode(), now)
    return intake


def _take(intake: Intake, name: str, value: bytes) -> None:
    kind, _, rest = name.partition(":")
    model, _, label = rest.partition(":")
    if kind == "predictions":
        intake.predictions[model] += int(value)
    elif kind == "unmeasured":
        intake.unmeasured[model] += int(value)
    elif kind == "labels":
        intake.labels[model, label] += int(value)
    elif kind == "rejected":
        intake.rejected[model, label] += int(value)
    elif kind == "kserve":
        intake.kserve[rest] += int(value)
    elif kind == "last":
        intake.last_prediction[model] = max(float(value), intake.last_prediction.get(model, 0.0))


def _age(intake: Intake, log: Log, partition: int, position: str, now: datetime) -> None:
    for entry in log.read(partition, position, rows=1, most_bytes=1).entries:
        age = max(0.0, now.timestamp() - entry.arrived / 1e6)
        intake.lag_seconds[entry.model] = max(age, intake.lag_seconds.get(entry.model, 0.0))


def _pairs(answer: list[bytes]) -> Iterator[tuple[str, bytes]]:
    for name, value in zip(answer[::2], answer[1::2], strict=True):
        yield name.decode(), value
