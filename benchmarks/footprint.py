"""What rows, slices and files take: memory of the service and of the store, disk of the store and of the archive.

Rows go the service's own way without HTTP: append, fold, join, archive, compact, on an embedded store in a new folder.

Run: python benchmarks/footprint.py [ROWS]
"""

import gc
import sys
import tempfile
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from statistics import median

import numpy as np
import pyarrow as pa
from machine import described

from monitors.baseline.baselines import Baseline, build
from monitors.readings import FloatArray
from service.house import House, joiner_of, open_house, worker_of
from service.intake.archive.compaction import GRACE, Compaction
from service.intake.bodies.wire import Batch
from service.intake.folding.cells import Cells
from service.intake.folding.open_profiles import OpenProfiles
from service.settings import Durability, Settings
from service.storage import keys
from service.storage.ownership import Ownership

ROWS, BATCH, SEGMENTS, CLASSES, SEED = 1_000_000, 1_000, 50, 5, 0
NUMBERS, CATEGORIES = 16, 4
SLICES, LOOKS = 1_000, 5
START = datetime(2026, 1, 1, tzinfo=UTC)
MIB = 2**20


@dataclass
class Clock:
    now: datetime = START

    def __call__(self) -> datetime:
        return self.now


@dataclass
class Sender:
    """Posts rows whose timestamps go through one day."""

    house: House
    clock: Clock
    rows: int
    rng: np.random.Generator = field(default_factory=lambda: np.random.default_rng(SEED))
    sent: int = 0

    def send(self) -> None:
        self.clock.now = START + timedelta(days=1) * ((self.sent + BATCH) / self.rows) * 0.999
        table = rows_of(self.rng, self.sent, BATCH, self.clock.now)
        self.house.ingest.accept_predictions("bench", Batch(table), str(self.sent), "hash", self.clock.now)
        self.sent += BATCH


def main() -> None:
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else ROWS
    print(described())
    print(f"{rows:,} rows in bodies of {BATCH:,}: {NUMBERS} numbers of four decimals, {CATEGORIES} categories of ten, "
          f"{CLASSES} classes, {SEGMENTS} segments; seed {SEED}\n")  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        chosen = Settings(
            data_dir=Path(folder),
            policies=Path(folder),
            durability=Durability("everysec"),
            backlog_rows=10 * rows,
        )
        clock = Clock()
        with open_house(chosen, clock) as house:
            table = rows_of(np.random.default_rng(SEED + 1), 0, 20_000, START)
            baseline = build(table, model="bench", version="1", cuts=[["segment"]], task="classification")
            house.ledger.put_baseline(baseline)
            count_rows(house, clock, rows)
            tidy_archive(house, clock)
        with open_house(chosen, clock) as house:
            hold_profiles(house, baseline)


def count_rows(house: House, clock: Clock, rows: int) -> None:
    """A tenth of the rows waits in the log, which shows what waiting takes; then the worker keeps up with the rest."""
    sender, worker, joiner = Sender(house, clock, rows), worker_of(house), joiner_of(house)
    waiting, memory = rows // 10, store_memory(house)
    while sender.sent < waiting:
        sender.send()
    taken = (store_memory(house) - memory) / waiting
    print(f"A row that waits in the log takes {taken:.0f} bytes of memory: {taken * 1e6 / MIB:.0f} MiB a million")
    print(f"While the worker keeps up, an archive file for every {house.settings.archive_rows:,} rows of a partition:")
    print("          rows   service RSS   store memory   store disk")
    while sender.sent < rows:
        sender.send()
        if sender.sent % (50 * BATCH) == 0 or sender.sent == rows:
            for _ in range(3):
                worker.acquire()
                worker.step()
                joiner.step(clock.now)
        if sender.sent % (rows // 5) == 0:
            print(f"  {sender.sent:>12,} {resident():>9.0f} MiB {store_memory(house) / MIB:>10.1f} MiB "
                  f"{size_of(house.settings.data_dir / 'store') / MIB:>8.0f} MiB")  # fmt: skip
    clock.now += timedelta(hours=2)
    for _ in range(3):
        worker.step()
        joiner.step(clock.now)
    joiner.release()
    worker.release()
    print(f"All rows archived: {store_memory(house) / MIB:.1f} MiB of the store's memory, in "
          f"{len(house.store.do_everywhere('KEYS', '*')[0]):,} keys")  # fmt: skip
    house.store.do_everywhere("BGREWRITEAOF")
    while b"aof_rewrite_in_progress:1" in house.store.do_everywhere("INFO", "persistence")[0]:
        time.sleep(0.1)
    print(f"Its files after a rewrite: {size_of(house.settings.data_dir / 'store') / MIB:.1f} MiB on disk\n")


def tidy_archive(house: House, clock: Clock) -> None:
    folder, settings = house.archive_files.folder(), house.settings
    print("The archive")
    print(
        "                       files   MiB a million rows   MiB in all    an hour, all columns    the day, two of them"
    )
    before = resident()
    tidy = Compaction(
        house.store, settings.partitions, house.archive_files, most_rows=settings.compact_rows, keep=settings.keep_rows
    )
    show_archive("as written", house, folder)
    looked = resident()
    begun, cpu = time.perf_counter(), time.process_time()
    clock.now = START + timedelta(days=2)
    while tidy.step(clock.now):
        pass
    taken, used = time.perf_counter() - begun, time.process_time() - cpu
    tidied = resident()
    tidy.step(clock.now + GRACE)
    show_archive("put together", house, folder)
    print(f"  Putting together took {taken:.1f} s, {used:.1f} s of one core; service RSS {before:.0f} MiB at first, "
          f"{looked:.0f} MiB after the looks, {tidied:.0f} MiB after putting together\n")  # fmt: skip


def show_archive(name: str, house: House, folder: Path) -> None:
    files = list(folder.rglob("*.parquet"))
    size = sum(file.stat().st_size for file in files)
    hour, day = START + timedelta(hours=12), START + timedelta(days=1)
    rows = house.archive.predictions("bench", START, day, columns=["prediction"]).num_rows
    taken = [
        median(seconds_of(look) for _ in range(LOOKS))
        for look in (
            lambda: house.archive.predictions("bench", hour, hour + timedelta(hours=1)),
            lambda: house.archive.predictions("bench", START, day, columns=["prediction", "feature_x0"]),
        )
    ]
    print(f"  {name:<16} {len(files):>9,} {size / rows * 1e6 / MIB:>20.0f} {size / MIB:>12.1f} "
          f"{taken[0]:>21.2f} s {taken[1]:>20.2f} s")  # fmt: skip


def hold_profiles(house: House, baseline: Baseline) -> None:
    """Profiles of one partition: what `SLICES` slices take in the store, and what an evaluator holds of them."""
    print(f"Profiles: {SLICES:,} slices of one partition, {len(baseline.layout.segments)} segments")
    rng = np.random.default_rng(SEED)
    for name, slot, width in (
        ("predictions", "p0", baseline.layout.width),
        ("labels", keys.LABELS, baseline.layout.labelled_width),
    ):
        owner = Ownership(house.store, slot, "bench", alone=True)
        owner.claim()
        profiles, shape = OpenProfiles(house.store, slot), (len(baseline.layout.segments), width)
        memory, held = store_memory(house), len(house.store.do_everywhere("KEYS", "*")[0])
        for start in range(0, SLICES * 3600, 3600):
            profiles.add(baseline, {start: thin(rng, shape)})
            owner.commit(profiles.writes(int(owner.state.get("commits", "0")) + 1))
        made = len(house.store.do_everywhere("KEYS", "*")[0]) - held
        profiles.forget()
        print(f"  {name:<12} {width:>6} cells a segment: {made:,} keys, "
              f"{(store_memory(house) - memory) / MIB:.0f} MiB of the store's memory")  # fmt: skip
        read = Cells(house.store, house.settings.partitions, most_bytes=0)
        load = read.load if slot == "p0" else read.load_labelled
        gc.collect()
        looks = [seconds_of(partial(load, baseline)) for _ in range(1 + LOOKS)]
        (known,) = read._known.values()  # noqa: SLF001  what it holds is the question
        packed = sum(map(len, known.slices.values())) / MIB
        plain = SLICES * shape[0] * shape[1] * 8 / MIB
        print(f"  {'':<12} an evaluator keeps {packed:.1f} of {plain:.0f} MiB, packed; "
              f"first look {looks[0]:.2f} s, again {median(looks[1:]):.2f} s")  # fmt: skip


def rows_of(rng: np.random.Generator, first: int, rows: int, at: datetime) -> pa.Table:
    micros = int(at.timestamp() * 1e6) + np.arange(rows)
    numbers = {f"feature_x{i}": rng.normal(size=rows).round(4) for i in range(NUMBERS)}
    categories = {
        f"feature_c{i}": np.char.add("value ", rng.integers(0, 10, rows).astype(str)) for i in range(CATEGORIES)
    }
    return pa.table(
        {
            "prediction_id": [f"prediction-{first + i:012}" for i in range(rows)],
            "timestamp": pa.array(micros, pa.timestamp("us", "UTC")),
            "model_version": ["1"] * rows,
            "prediction": np.char.add("class ", rng.integers(0, CLASSES, rows).astype(str)),
            "confidence": rng.uniform(0.2, 1.0, rows).round(4),
            **numbers,
            **categories,
            "tag_segment": np.char.add("s", rng.integers(0, SEGMENTS, rows).astype(str)),
        }
    )


def thin(rng: np.random.Generator, shape: tuple[int, int]) -> FloatArray:
    """A slice of small counts: a fifth of the cells holds a whole number, a tenth a sum that is none."""
    counts = rng.poisson(3, shape) * (rng.random(shape) < 0.2)
    return counts + np.where(rng.random(shape) < 0.1, rng.random(shape), 0.0)


def seconds_of(work: object) -> float:
    begun = time.perf_counter()
    work()  # type: ignore[operator]
    return time.perf_counter() - begun


def store_memory(house: House) -> int:
    said = house.store.do_everywhere("INFO", "memory")[0].decode()
    return int(said.partition("used_memory:")[2].splitlines()[0])


def resident() -> float:
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / MIB


def size_of(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


if __name__ == "__main__":
    main()
