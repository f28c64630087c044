"""The label join: predictions welcomed and labels matched a core-second, and the memory that recent predictions take.

Everything but HTTP is real: the embedded store, the log, the archive. A batch is 1,000 rows of 20 features; the core
seconds are those of the joining process, the store's own are shown beside. The ways take turns, and medians are told.

Run: python benchmarks/join.py
"""

import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import process_time

import numpy as np
import pyarrow as pa
import redis
from machine import described

from monitors.baseline import baselines
from monitors.baseline.baselines import Baseline
from service.intake import columns
from service.intake.archive.archive import Archive
from service.intake.archive.archiving import Roll
from service.intake.folding.worker import Worker
from service.intake.joining.joiner import Joiner
from service.intake.log.log import Log
from service.settings import Durability
from service.storage.embedded import Embedded
from service.storage.store import Store

BATCHES, ROWS, FEATURES, RUNS, SEED = 100, 1_000, 20, 5, 0
LATE = 100
NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
LOG = "tg:{p0}:log"
CLASSES = ("fit", "returns", "shipping")


class Stage:
    """One store with all predictions in the log; the join can begin anew any number of times."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.server = Embedded(folder / "data", Durability("everysec")).start()
        self.store = Store(self.server.url)
        self.client = redis.Redis.from_url(self.server.url)
        self.log = Log(self.store, 1, most_rows=100_000_000)
        rng = np.random.default_rng(SEED)
        self.tables = [predictions(rng, number) for number in range(BATCHES)]
        labelled = pa.concat_tables(self.tables[:5])
        labelled = labelled.append_column("label", labelled.column("prediction"))
        self.baseline = baselines.build(labelled, model="m", version="1", cuts=[["c0"]], task="classification")
        for table in self.tables:
            self.append("p", table)

    def append(self, kind: str, table: pa.Table) -> None:
        """As ingest appends, but for the idempotency key."""
        entry = {"k": kind, "m": "m", "n": table.num_rows, "t": int(NOW.timestamp() * 1e6), "b": columns.pack(table)}
        self.store.do("XADD", LOG, "*", *(part for pair in entry.items() for part in pair))

    def baseline_of(self, model: str, version: str) -> Baseline | None:
        return self.baseline if (model, version) == ("m", "1") else None

    def worker(self, *, archives: bool = False) -> Worker:
        roll = Roll(rows=5_000) if archives else Roll(rows=1 << 40, age=timedelta(days=9_999))
        return Worker(self.log, self.baseline_of, self.folder / "archive", lambda: NOW, roll=roll, alone=True)

    @contextlib.contextmanager
    def joiner(self, *, is_kept: bool = False, is_beside: bool = False, **options: object) -> Iterator[Joiner]:
        if not is_kept:
            self.forget("tg:{labels}:*")
        # A log of its own has nothing at hand that the fold has read.
        log = self.log if is_beside else Log(self.store, 1)
        archive = Archive(log, self.folder / "archive")
        yield Joiner(log, archive, self.baseline_of, alone=True, **options)
        archive.close()

    def forget(self, pattern: str) -> None:
        for key in list(self.client.scan_iter(pattern)):
            self.store.do("DEL", key)

    def label(self, ids: list[str]) -> None:
        for start in range(0, len(ids), ROWS):
            some = ids[start : start + ROWS]
            table = pa.table(
                {
                    "prediction_id": pa.array(some, pa.string()),
                    "label": pa.array([CLASSES[len(name) % 3] for name in some], pa.string()),
                    "timestamp": pa.array([NOW] * len(some), pa.timestamp("us", "UTC")),
                    "outcome": pa.nulls(len(some), pa.string()),
                }
            )
            self.append("l", table)

    def last(self) -> bytes:
        found: bytes = self.store.do("XREVRANGE", LOG, "+", "-", "COUNT", 1)[0][0]
        return found

    def drop(self, after: bytes) -> None:
        for identity, _ in self.client.xrange(LOG, f"({after.decode()}", "+"):
            self.store.do("XDEL", LOG, identity)

    def cpu_of_store(self) -> float:
        found = dict(line.split(":") for line in self.store.do("INFO", "cpu").decode().split("\r\n") if ":" in line)
        return float(found["used_cpu_user"]) + float(found["used_cpu_sys"])


def predictions(rng: np.random.Generator, number: int) -> pa.Table:
    """A batch; ids are hexadecimal digits in no order, as UUIDs are."""
    ids = [f"{number * ROWS + row:08x}-{value:016x}" for row, value in enumerate(rng.integers(0, 2**62, ROWS))]
    times = [NOW - timedelta(hours=6) + timedelta(seconds=number * 60)] * ROWS
    scores = rng.dirichlet(np.ones(3), ROWS)
    found: dict[str, pa.Array] = {
        "prediction_id": pa.array(ids, pa.string()),
        "timestamp": pa.array(times, pa.timestamp("us", "UTC")),
        "model_version": pa.array(["1"] * ROWS, pa.string()),
        "prediction": pa.array([CLASSES[place] for place in scores.argmax(axis=1)], pa.string()),
        "confidence": pa.array(scores.max(axis=1)),
    }
    found |= {f"score_{name}": pa.array(scores[:, place]) for place, name in enumerate(CLASSES)}
    for place in range(FEATURES):
        is_text = place < FEATURES // 5
        values = rng.choice(["web", "app", "mail"], ROWS) if is_text else rng.normal(size=ROWS)
        found[f"feature_c{place}"] = pa.array(values)
    return pa.table(found)


def timed(stage: Stage, work: Callable[[], object], count: int) -> tuple[float, float]:
    """Things a core-second of this process, and of this process and the store."""
    store, own = stage.cpu_of_store(), process_time()
    work()
    own = process_time() - own
    return count / own, count / (own + stage.cpu_of_store() - store)


def welcome(stage: Stage) -> tuple[float, float]:
    with stage.joiner() as joiner:
        return timed(stage, lambda: joiner.step(NOW), BATCHES * ROWS)


def welcome_beside_the_fold(stage: Stage) -> tuple[float, float]:
    stage.forget("tg:{p0}:[^lt]*")
    stage.store.do("HSET", "tg:{p0}:state", "appended", BATCHES * ROWS)
    worker = stage.worker()
    with stage.joiner(is_beside=True, batch_rows=10_000) as joiner:
        worker.acquire()
        worker.step()
        return timed(stage, lambda: joiner.step(NOW), BATCHES * ROWS)


def welcome_while_labels_wait(stage: Stage) -> tuple[float, float]:
    last = stage.last()
    with stage.joiner() as joiner:
        joiner.step(NOW)
        stage.label([f"nobody-{number}" for number in range(10_000)])
        joiner.step(NOW)
        for table in stage.tables:
            stage.append("p", table)
        found = timed(stage, lambda: joiner.step(NOW), BATCHES * ROWS)
    stage.drop(last)
    return found


def from_recent(share: int) -> Callable[[Stage], tuple[float, float]]:
    def match(stage: Stage) -> tuple[float, float]:
        last = stage.last()
        rng = np.random.default_rng(SEED)
        ids = [name for table in stage.tables for name in table.column("prediction_id").to_pylist()[::share]]
        rng.shuffle(ids)
        with stage.joiner() as joiner:
            joiner.step(NOW)
            stage.label(ids)
            found = timed(stage, lambda: joiner.step(NOW), len(ids))
        stage.drop(last)
        check(stage, len(ids))
        return found

    return match


def from_archive(stage: Stage) -> tuple[float, float]:
    ids = stage.tables[3].column("prediction_id").to_pylist() * 1
    ids += stage.tables[7].column("prediction_id").to_pylist()
    with stage.joiner(is_kept=True) as joiner:
        stage.label(ids)
        found = timed(stage, lambda: joiner.step(NOW), len(ids))
    stage.store.do("XTRIM", LOG, "MAXLEN", 0)
    return found


def one_by_one(every: timedelta) -> Callable[[Stage], tuple[float, float]]:
    """Late labels, one a request, ten a second: the join steps after each."""

    def trickle(stage: Stage) -> tuple[float, float]:
        options = {"look_up_every": every} if every else {}
        ids = stage.tables[5].column("prediction_id").to_pylist()[:LATE]
        with stage.joiner(is_kept=True, **options) as joiner:
            now = NOW
            joiner.step(now)
            spent = 0.0
            for name in ids:
                stage.label([name])
                now += timedelta(seconds=0.1)
                began = process_time()
                joiner.step(now)
                spent += process_time() - began
            began = process_time()
            joiner.step(now + timedelta(minutes=2))
            spent += process_time() - began
        stage.store.do("XTRIM", LOG, "MAXLEN", 0)
        return LATE / spent, LATE / spent

    return trickle


def matched(stage: Stage) -> int:
    counts = stage.store.do("HGETALL", "tg:{labels}:counts")
    return sum(int(count) for name, count in zip(counts[::2], counts[1::2], strict=True) if b"labels:" in name)


def check(stage: Stage, labels: int) -> None:
    if matched(stage) != labels:
        raise AssertionError(f"{matched(stage)} labels of {labels} met their prediction")


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def memory(stage: Stage) -> None:
    with stage.joiner() as joiner:
        before = resident()
        joiner.step(NOW)
        held = (resident() - before) / (BATCHES * ROWS)
        print(f"memory of recent rows: {held * 1e6 / 1e6:.0f} MB a million, packed as they stand in the log")


def main() -> None:
    print(described())
    print(f"batches of {ROWS:,} rows x {FEATURES} features, {BATCHES * ROWS:,} rows; medians of {RUNS}, seed {SEED}\n")
    with TemporaryDirectory() as folder:
        stage = Stage(Path(folder))
        try:
            memory(stage)
            ways: dict[str, Callable[[Stage], tuple[float, float]]] = {
                "predictions welcomed, join in a process of its own": welcome,
                "predictions welcomed, in the process that folds": welcome_beside_the_fold,
                "predictions welcomed while 10,000 labels wait": welcome_while_labels_wait,
                "labels of every recent row": from_recent(1),
                "labels of every tenth recent row": from_recent(10),
            }
            run(stage, ways)
            archive(stage)
            late: dict[str, Callable[[Stage], tuple[float, float]]] = {
                "labels of archived rows, 1,000 a body": from_archive,
                "the same one by one, each looked up at once": one_by_one(timedelta(0)),
            }
            if "look_up_every" in (Joiner.__init__.__kwdefaults__ or {}):
                late["the same one by one, looked up by the minute"] = one_by_one(timedelta(minutes=1))
            run(stage, late)
        finally:
            stage.server.stop()


def run(stage: Stage, ways: dict[str, Callable[[Stage], tuple[float, float]]]) -> None:
    rounds = [{name: way(stage) for name, way in ways.items()} for _ in range(RUNS)]
    for name in ways:
        own, both = (median(each[name][place] for each in rounds) for place in (0, 1))
        print(f"{name:<52}{own:>12,.0f} a core-second ({1e6 / own:.2f} us); with the store {both:,.0f}")
    sys.stdout.flush()


def archive(stage: Stage) -> None:
    """Move everything into files, so that only the archive knows it."""
    stage.forget("tg:{p0}:[^lt]*")
    stage.store.do("HSET", "tg:{p0}:state", "appended", BATCHES * ROWS)
    worker = stage.worker(archives=True)
    worker.acquire()
    worker.step()
    with stage.joiner() as joiner:
        joiner.step(NOW)
        joiner.step(NOW)
    for _ in range(BATCHES * ROWS // 5_000):
        worker.step()


if __name__ == "__main__":
    main()
