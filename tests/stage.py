"""A house with a champion and a challenger that passed the gate, for tests of what happens around a release."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from test_replay import rows

from policies.file.parse import parse
from policies.file.policy import Policy
from service.house import House, joiner_of, open_house, worker_of
from service.intake.archive.tables import Roles, as_batch
from service.intake.bodies.wire import Batch
from service.intake.log.ingest import hash_body
from service.ledger.ledger import Ledger
from service.ledger.records import Release, Retraining
from service.replay import FileClock
from service.settings import Settings
from service.storage.embedded import Embedded
from service.storage.store import Store
from service.training.comparing import with_predictions
from service.training.model_files import write_model
from service.training.models import Model
from service.training.references import baseline_of, keep_baseline
from service.training.registry import Registry
from service.training.trainers import refit

MODEL = "flip"
TEXT = """
model: flip
task: {kind: classification}
segments: [[group]]
columns: {group: tag}
evaluate: 1h
window: {slice: 1h, lateness: 0s, label_delay: 0s}
"""
CANARY = TEXT + "gate: {canary: {share: 30%, for: 12h}}\n"
SHADOW = TEXT + "gate: {canary: {share: 30%, for: 12h, mode: shadow}}\n"
BEFORE = datetime(2025, 12, 31, tzinfo=UTC)
TAUGHT = 800


@cache
def world(count: int = 4_000, flips_at: int | None = None) -> pa.Table:
    """Rows as they are posted, with their labels: a minute a row."""
    made = rows(count, flips_at=flips_at)
    return as_batch(Path("made"), made, Roles(kinds=parse(TEXT).column_kinds()), "classification", "")


@cache
def model(*, is_good: bool = True) -> Model:
    """What learnt from the first rows; or from their labels turned round."""
    taught = world().slice(0, TAUGHT)
    turned = pc.if_else(pc.equal(taught.column("label"), "yes"), "no", "yes")
    index = taught.column_names.index("label")
    lesson = taught if is_good else taught.set_column(index, "label", turned)
    return refit(lesson, task="classification", columns=parse(TEXT).column_kinds(), step=2)


@dataclass
class Stage:
    """`served` counts the rows that were posted."""

    house: House
    clock: FileClock
    registry: Registry
    folder: Path
    policy: Policy
    rows: pa.Table
    served: int = TAUGHT

    def challenger(self, *, is_good: bool = True, uri: str = "", reasons: Sequence[str] = ("manual",)) -> Retraining:
        """A retraining that was judged, its model's folder beside the stage's; recorded."""
        made = Retraining(
            "r-1", MODEL, "d-1", "1", "judging", self.clock(), tuple(reasons), ("all",), version="2", uri=uri
        )
        made = replace(made, digest="as told" if uri else "")
        if not uri:
            built = model(is_good=is_good)
            write_model(self.model, built, name=MODEL, version="2", created=BEFORE, rows_digest="x")
        self.house.ledger.open_retraining(made)
        return made

    @property
    def model(self) -> Path:
        return self.folder / "challenger"

    def described(self, *, is_good: bool = True) -> pa.Table:
        """The rows of the challenger's baseline."""
        taught = self.rows.slice(0, TAUGHT)
        return with_predictions(taught, model(is_good=is_good).predict(taught), "2")

    def serve(
        self,
        count: int,
        versions: Sequence[str] = ("1",),
        *,
        is_good: bool = True,
        labels: bool = True,
        outcome: str | None = None,
    ) -> None:
        """Post the next rows, each from the next of the versions in turn: version 1 is good; fold and join them."""
        part = self.rows.slice(self.served, count)
        self.served += count
        self.clock.now = pc.max(part.column("timestamp")).as_py() + timedelta(minutes=1)
        turns = pa.array([versions[i % len(versions)] for i in range(part.num_rows)])
        for version in dict.fromkeys(versions):
            own = part.filter(pc.equal(turns, version))
            asked = model(is_good=is_good if version == "2" else True)
            self._post(with_predictions(own, asked.predict(own), version), labels=labels, outcome=outcome)
        worker, joiner = worker_of(self.house), joiner_of(self.house)
        worker.acquire()
        worker.step()
        joiner.step(self.clock())
        joiner.release()
        worker.release()

    def _post(self, rows: pa.Table, *, labels: bool, outcome: str | None) -> None:
        ingest, now, name = self.house.ingest, self.clock(), f"{self.served} {rows.column('model_version')[0]}".encode()
        ingest.accept_predictions(MODEL, Batch(rows.drop_columns(["label"])), None, hash_body(name), now)
        if labels:
            told = rows.select(["prediction_id", "label", "timestamp"])
            told = told.append_column("outcome", pa.array([outcome] * rows.num_rows, pa.string()))
            ingest.accept_labels(MODEL, Batch(told), None, hash_body(name + b" labels"), now)


class Crash(Exception):
    """The process ends here."""


class Dying:
    """A store whose process dies before its write number `after`."""

    def __init__(self, store: Store, after: int) -> None:
        self._store, self._left = store, after

    def do(self, *words: Any) -> Any:
        return self._write(lambda: self._store.do(*words), is_write=words[0] in {"SET", "HSET", "SADD", "HDEL", "DEL"})

    def run(self, *args: Any, **more: Any) -> Any:
        return self._write(lambda: self._store.run(*args, **more), is_write=True)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def _write(self, work: Callable[[], Any], *, is_write: bool) -> Any:
        if is_write and self._left == 0:
            raise Crash
        self._left -= is_write
        return work()


def dying(house: House, after: int) -> House:
    """The same house in a process that dies before its write number `after`."""
    store: Any = Dying(house.store, after)
    return replace(house, store=store, ledger=Ledger(store))


@contextmanager
def open_stage(server: Embedded, folder: Path, text: str = TEXT, flips_at: int | None = None) -> Iterator[Stage]:
    """A stage whose champion, version 1, is good; the clock stands after the rows that taught it."""
    clock, policies, policy = FileClock(), folder / "policies.d", parse(text)
    policies.mkdir()
    (policies / "flip.yaml").write_text(text)
    with closing(Store(server.url)) as store:
        store.do("FLUSHALL")
    settings = replace(Settings(), store=server.url, data_dir=folder, policies=policies, partitions=1)
    with open_house(settings, clock) as house:
        stage = Stage(house, clock, Registry(folder), folder, policy, world(flips_at=flips_at))
        taught = stage.rows.slice(0, TAUGHT)
        stage.registry.save(model(), name=MODEL, version="1", created=BEFORE, rows_digest="x")
        served = with_predictions(taught, model().predict(taught), "1")
        keep_baseline(house.ledger, house.files, baseline_of(policy, "1", served), served)
        clock.now = pc.max(taught.column("timestamp")).as_py() + timedelta(minutes=1)
        house.ledger.move_champion(Release(MODEL, "1", "", clock(), "first", "the start"))
        yield stage
