"""What the ledger weighs: a year of quiet, a year with changes; how long its chain takes to verify; and how many labels
it takes to settle a trigger.

Readings of 50 segments x 20 columns are decided on and kept by the service's own code, in the embedded store. Two days
are evaluated every 15 minutes; the rest of each year every 6 hours, for between heartbeats and changes nothing is
appended, however often is looked.
Run: python benchmarks/ledger.py
"""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter, process_time

import msgspec
import numpy as np
import pyarrow as pa
from machine import described

from monitors.reading.rises import rose_less_ln, rose_ln
from monitors.readings import FAULT_KINDS, DriftReadings, FloatArray, PerformanceReadings, QualityReadings, Readings
from policies.assessment import assess
from policies.confirm import BAR_LN
from policies.decide import decide
from policies.decision import History
from policies.file.parse import parse
from policies.file.policy import Policy
from service.deciding.keeping import keep
from service.house import House, open_house
from service.ledger.chain import PAGE, Chain
from service.ledger.records import DecisionRecord, Evaluation
from service.ledger.verify import follow
from service.readings_view import segments_view
from service.settings import Settings

BEGIN, YEAR = datetime(2026, 1, 1, tzinfo=UTC), timedelta(days=365)
SEGMENTS = ("all", *(f"intent=returns,market={n:02}" for n in range(49)))
COLUMNS = ("prediction", *(f"feature_{n:02}" for n in range(19)))
POLICY = parse("{model: shop, task: {kind: classification}, persist: 1}")
CHANGES = (50, 500)
VERIFIED = 10_000
RUNS = 5


def read(rng: np.random.Generator, at: datetime, drifting: tuple[int, ...] = ()) -> Readings:
    """Readings with noise and no change but in the segments that drift, each in three of its columns."""
    s, c, k = len(SEGMENTS), len(COLUMNS), len(FAULT_KINDS)
    size, evidence = rng.normal(0.003, 0.005, (s, c)), rng.normal(-1.5, 0.8, (s, c))
    for segment in drifting:
        size[segment, :3], evidence[segment, :3] = 0.3, 40.0
    since = np.full((s, c), np.datetime64(at.replace(tzinfo=None), "s") - np.timedelta64(8, "h"))
    drop: FloatArray = rng.normal(0, 0.004, s)
    labels = np.full(s, 400)
    drift = DriftReadings(
        COLUMNS, ("psi",) * c, size, size + 0.01, np.full((s, c), 900.0), np.zeros((s, c)), evidence, since,
        evidence.max(axis=1) - 1,
    )  # fmt: skip
    still = np.zeros((s, c, k))
    quality = QualityReadings(COLUMNS, still, still, still - 1, np.repeat(since[..., None], k, 2), np.ones(s))
    performance = PerformanceReadings(
        "accuracy", labels, 0.91 - drop, np.full(s, 0.91), drop, rng.normal(-2, 0.5, s), since[:, 0], labels,
        drop / 2, drop / 2, 0.91 + rng.normal(0, 0.002, s), rng.normal(0, 0.002, s), None,
    )  # fmt: skip
    rows = np.array([40_000] + [800] * (s - 1))
    parents = np.array([-1] + [0] * (s - 1))
    return Readings(
        "shop", "7", "f00d", at, SEGMENTS, parents, rows, rows * 10, at, drift, quality, performance, None
    )  # fmt: skip


def first(house: House, readings: Readings, at: datetime) -> DecisionRecord:
    """The first decision of an empty ledger, which is always kept."""
    house.store.do("FLUSHALL")
    record = evaluate(house, POLICY, readings, at)
    if record is None:
        raise SystemExit("the first decision was not kept")
    return record


def evaluate(house: House, policy: Policy, readings: Readings, at: datetime) -> DecisionRecord | None:
    last = house.ledger.evaluation(policy.model)
    last = Evaluation("shop", "7") if not last.version else last
    history = History(runs=last.runs, in_flight="r-1")
    assessment = assess(policy, readings, at)
    return keep(house, policy, readings, assessment, decide(policy, readings, history, at), last, at)


def live(house: House, changes: int) -> Iterator[DecisionRecord]:
    """A year with so many changes: segments begin to drift, others stop. Gives what was kept."""
    rng = np.random.default_rng(0)
    often = [BEGIN + timedelta(minutes=15 * n) for n in range(2 * 96)]
    times = [*often, *(BEGIN + timedelta(days=2, hours=6 * n) for n in range(4 * 363))]
    changing = set(rng.choice(len(times) - len(often), changes, replace=False) + len(often)) if changes else set()
    drifting: tuple[int, ...] = ()
    for place, at in enumerate(times):
        if place in changing:
            drifting = tuple(
                sorted(rng.choice(np.arange(1, len(SEGMENTS)), rng.integers(1, 6), replace=False).tolist())
            )
        kept = evaluate(house, POLICY, read(rng, at, drifting), at)
        if kept is not None:
            yield kept


def weigh(house: House, changes: int) -> None:
    house.store.do("FLUSHALL")
    kept = list(live(house, changes))
    chain = house.ledger.chain("shop")
    entries = chain.head().number
    told = sum(len(entry) for after in range(0, entries, PAGE) for entry in chain.page(after))
    names = ("chain", "head", "places", "order", "policies")
    stored = sum(house.store.do("MEMORY", "USAGE", f"tg:{{m:shop}}:{name}", "SAMPLES", 0) or 0 for name in names)
    news = sum(bool(each.readings) for each in kept)
    print(
        f"a year with {changes} changes: {entries} entries ({news} with readings), {told / 1e6:,.2f} MB of entries, "
        f"{stored / 1e6:,.2f} MB in the store",
        flush=True,
    )


def weigh_one(house: House) -> None:
    """One decision with all readings, as news and as a heartbeat."""
    rng = np.random.default_rng(1)
    for name, drifting, at in (("quiet", (), BEGIN), ("five segments drift", (3, 9, 20, 33, 41), BEGIN + YEAR)):
        readings = read(rng, at, drifting)
        record = first(house, readings, at)
        whole = replace(record, readings=segments_view(POLICY, readings, dict(record.states)))
        packed = pa.Codec("zstd", 3).compress(msgspec.json.encode(whole), asbytes=True)
        print(
            f"one decision, {name}: {len(msgspec.json.encode(record)):,} bytes as news, "
            f"{len(msgspec.json.encode(replace(record, readings=()))):,} as a heartbeat, "
            f"{len(msgspec.json.encode(whole)):,} with all readings "
            f"({len(packed):,} packed)"
        )


def verify(house: House) -> None:
    """The chain of a heartbeat again and again."""
    rng = np.random.default_rng(2)
    heartbeat = replace(first(house, read(rng, BEGIN), BEGIN), readings=())
    chain = Chain(house.store, "shop")
    begun = perf_counter()
    for number in range(1, VERIFIED):
        chain.append("decision", f"d-{number}", heartbeat)
    appended = (perf_counter() - begun) / VERIFIED
    fetched, followed = [], []
    for _ in range(RUNS):
        begun = perf_counter()
        entries = [entry for after in range(0, VERIFIED, PAGE) for entry in chain.page(after)]
        fetched.append(perf_counter() - begun)
        cpu = process_time()
        follow(entries, chain.head())
        followed.append(process_time() - cpu)
    print(
        f"{VERIFIED:,} entries of {len(entries[-1]):,} bytes: appended in {appended * 1e3:.2f} ms each (everysec), "
        f"read from the store in {median(fetched) * 1e3:,.0f} ms, recomputed in {median(followed) * 1e3:,.0f} ms "
        f"of CPU (medians of {RUNS})"
    )


def settle() -> None:
    """Labels until a loss of so much is excluded, or shown, of a model that errs in a tenth of the rows."""
    rows = np.arange(10.0, 100_000, 10)
    usual = np.array(10_000.0), np.array(1_000.0), np.array(1_000.0)
    for wobble in (0.0, 0.0005):
        for drop in (0.1, 0.05, 0.03):
            still, lost = ((rows, share * rows, share * rows) for share in (0.1, 0.1 + drop))
            moved = np.full_like(rows, wobble)
            unfounded = rose_less_ln(still, usual, moved, "error", np.full_like(rows, drop)) >= BAR_LN
            confirmed = rose_ln(lost, usual, moved, "error") >= BAR_LN
            print(
                f"a drop of {drop} of accuracy .9, wobble {wobble}: {rows[unfounded.argmax()]:,.0f} labels exclude it, "
                f"{rows[confirmed.argmax()]:,.0f} show it"
            )


def main() -> None:
    print(described(), flush=True)
    print(f"{len(SEGMENTS)} segments x {len(COLUMNS)} columns; embedded store; seeds 0, 1, 2", flush=True)
    with TemporaryDirectory() as folder:
        settings = Settings.read({}, data_dir=folder, policies=str(Path(folder) / "policies.d"), durability="everysec")
        with open_house(settings, lambda: BEGIN) as house:
            weigh_one(house)
            for changes in (0, *CHANGES):
                weigh(house, changes)
            verify(house)
    settle()


if __name__ == "__main__":
    main()
