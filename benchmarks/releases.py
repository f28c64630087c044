"""Releases on simulated drifts: does one make a segment worse, and is it rolled back?

`python benchmarks/releases.py [N] [--control] [--only KIND] [--processes 2] [--into FILE]`: N drifts (200) go through a
real house, each on its own embedded store and a clock that follows its rows: predict, count, label, decide, retrain,
judge, release, watch. Kinds take turns, and there are 3 to 6 segments. After each release the new and the old version
are asked about the same later rows whose labels came, for as long as the new one serves: of each segment with at least
100 of them, whether it is worse by more than 2 points. `--control` switches gate and watch off, so that the check is
seen to see. `--streams` takes the public streams and the demo's story in place of the drifts, each with its own policy.
With `--into` each drift is kept as it is done, and a run that was stopped goes on.
"""

import argparse
import math
import os
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from time import perf_counter

import machine
import msgspec
import numpy as np
import pyarrow as pa
from drifts import KINDS, ROWS, World
from numpy.typing import NDArray
from pyarrow import parquet
from scipy.stats import binom, norm

import policies
from policies.file.parse import parse
from service.demo.traffic import story
from service.house import House, open_house
from service.intake.archive.tables import Roles, as_batch
from service.ledger.records import Release
from service.replay import FileClock, Options, Replay
from service.settings import Durability, Settings
from service.training.comparing import masks_of, outcomes, with_predictions
from service.training.registry import Registry

START, DELAY = 1_500, 100
LEAST, POINTS, LEVEL = 100, 0.02, 0.05
DATA = Path(os.environ.get("TIDEGATE_STREAMS", Path(__file__).parents[2] / "shared" / "data"))
POLICY = """
model: m
task: {kind: classification}
segments: [[group]]
columns: {group: tag, producer: tag}
evaluate: 1h
window: {slice: 1h, lateness: 0s}
retrain: {requires: {labelled_rows: 300}}
"""
OFF = "gate: {min_gain: -1, max_segment_drop: 1, min_segment_labels: 1000000}\nwatch: {for: 0s}\n"
PLAIN = "model: m\ntask: {kind: classification}\nevaluate: 1h\n"
BY_DOMAIN = PLAIN + "segments: [[domain]]\ncolumns: {domain: tag, phase: ignore}\n"
STREAMS = {
    "mixed_abrupt": (PLAIN, Options()),
    "sine_abrupt": (PLAIN, Options()),
    "sea_abrupt": (PLAIN, Options()),
    "noaa_weather": (PLAIN, Options()),
    "elec2": (PLAIN, Options()),
    "clinc150_stream": (BY_DOMAIN, Options(start=4_000, label_share=0.5, label_delay=200)),
}
DEMO = "demo"


@dataclass(frozen=True)
class Worse:
    """A segment that is worse than under the version before, on the `n` rows of it that the new one served: whether it
    is worse at all beyond chance, and whether it is by more than `POINTS`.
    """

    segment: str
    n: int
    points: float
    is_beyond_chance: bool
    is_over_for_sure: bool


@dataclass(frozen=True)
class Released:
    """A release, how many rows it served, what ended that (rolled back, replaced, or nothing), and what it made worse:
    by the labels as they were sent, and by the true ones.
    """

    version: str
    rows: int
    ended: str
    worse: tuple[Worse, ...] = ()
    truly_worse: tuple[Worse, ...] = ()

    @property
    def is_sure(self) -> bool:
        """Whether a segment is worse beyond chance."""
        return any(each.is_beyond_chance for each in self.worse)


@dataclass(frozen=True)
class Told:
    """What came of one drift."""

    kind: str
    seed: int
    releases: tuple[Released, ...]
    retrainings: dict[str, int] = field(default_factory=dict)
    accuracy: float = 0.0
    seconds: float = 0.0


def simulate(seed: int, *, control: bool, kinds: tuple[str, ...]) -> Told:
    """One drift through a house of its own."""
    kind = next(each for each in KINDS if each.__name__ == kinds[seed % len(kinds)])
    world = World.at_rest(seed)
    kind(world)
    table, truth = world.table()
    options = Options(start=START, label_delay=DELAY)
    return _go_through(kind.__name__, seed, POLICY + (OFF if control else ""), table, options, truth)


def stream(name: str) -> Told:
    """A public stream, or the demo's story, through a house of its own."""
    if name == DEMO:
        text = Path(policies.__file__).with_name("examples").joinpath("awesomeshoes-demo.yaml").read_text()
        chapters = [rows for _, rows in story(datetime(2026, 11, 2, tzinfo=UTC))]
        # Twelve hours of a row every two minutes.
        return _go_through(name, 0, text, pa.concat_tables(chapters), Options(chapters[0].num_rows, label_delay=360))
    return _go_through(name, 0, STREAMS[name][0], parquet.read_table(DATA / f"{name}.parquet"), STREAMS[name][1])


def _go_through(
    name: str, seed: int, text: str, table: pa.Table, options: Options, truth: NDArray[np.bool_] | None = None
) -> Told:
    begun, policy, clock = perf_counter(), parse(text), FileClock()
    folder = Path(tempfile.mkdtemp(prefix="releases-"))
    try:
        (folder / "policies.d").mkdir()
        (folder / "policies.d" / "policy.yaml").write_text(text)
        is_batch = "prediction_id" in table.column_names
        roles = Roles(kinds=policy.column_kinds())
        batch = table if is_batch else as_batch(Path("made"), table, roles, policy.task.kind, "")
        settings = replace(
            Settings(), data_dir=folder, policies=folder / "policies.d", partitions=1, durability=Durability("everysec")
        )
        with open_house(settings, clock) as house:
            account = Replay(house, clock, policy, batch, options).run()
            told = np.arange(batch.num_rows) < batch.num_rows - options.label_delay
            found = measure(house, policy.model, batch, told, truth)
            ended = Counter(each.state for each in house.ledger.retrainings(policy.model, 1_000))
        return Told(name, seed, tuple(found), ended, account.score, perf_counter() - begun)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def measure(
    house: House, model: str, rows: pa.Table, told: NDArray[np.bool_], truth: NDArray[np.bool_] | None
) -> list[Released]:
    """Every release against the version that it replaced, on the rows that it served and whose labels came (`told`)."""
    moves = house.ledger.releases(model)
    seconds = np.array([t.timestamp() for t in rows.column("timestamp").to_pylist()])
    found = []
    for place, move in enumerate(moves):
        if move.kind != "release":
            continue
        after = moves[place + 1] if place + 1 < len(moves) else None
        span = told & (seconds >= move.at.timestamp()) & (seconds < (after.at.timestamp() if after else np.inf))
        ended = "stands" if after is None else "rolled back" if after.kind == "rollback" else "replaced"
        served = rows.filter(pa.array(span))
        worse = _worse(house, move, served)
        true = None if truth is None else pa.array(np.where(truth[span], "yes", "no"))
        truly = worse if true is None else _worse(house, move, _labelled(served, true))
        found.append(Released(move.version, served.num_rows, ended, tuple(worse), tuple(truly)))
    return found


def _labelled(rows: pa.Table, labels: pa.Array) -> pa.Table:
    return rows.set_column(rows.column_names.index("label"), "label", labels)


def _worse(house: House, move: Release, rows: pa.Table) -> list[Worse]:
    baseline, registry = house.ledger.baseline(move.model, move.version), Registry(house.settings.data_dir)
    if rows.num_rows < LEAST or baseline is None:
        return []
    answers = [registry.load(move.model, version).predict(rows) for version in (move.version, move.previous)]
    new, old = (outcomes("classification", each.column("prediction"), rows) > 0 for each in answers)
    masks = masks_of(baseline, with_predictions(rows, answers[0], move.version))
    masks = {name: mask for name, mask in masks.items() if mask.sum() >= LEAST}
    found = (_compare(name, new[mask], old[mask], LEVEL / len(masks)) for name, mask in masks.items())
    return [each for each in found if each.points > POINTS]


def _compare(name: str, new: NDArray[np.bool_], old: NDArray[np.bool_], level: float) -> Worse:
    n, lost, won = len(new), int((old & ~new).sum()), int((new & ~old).sum())
    points = (lost - won) / n
    # The exact paired test of "not worse", one-sided, for all segments of a release together.
    chance = float(binom.sf(lost - 1, lost + won, 0.5))
    spread = math.sqrt(max((lost + won) / n - points**2, 1e-12) / n)
    return Worse(name, n, points, chance < level, bool(norm.sf((points - POINTS) / spread) < level))


def _print_kinds(told: Sequence[Told]) -> None:
    print("worse: a segment of 100 later labels lost more than 2 points against the version before; sure: and is worse")
    print("beyond chance, paired exact test at 5 % for all segments of a release; back: rolled back; rows: the median")
    print("until then; left: worse and not rolled back; sure left: of those, beyond chance\n")
    print(f"{'drift':18}{'runs':>5}{'releases':>10}{'refused':>9}{'worse':>7}{'sure':>6}{'back':>6}{'rows':>6}"
          f"{'left':>6}{'sure left':>11}{'accuracy':>10}")  # fmt: skip
    for kind in [*sorted({each.kind for each in told}), "all"]:
        of = [each for each in told if kind in (each.kind, "all")]
        releases = [release for each in of for release in each.releases]
        back = [release for release in releases if release.ended == "rolled back"]
        worse = [release for release in releases if release.worse]
        left = [release for release in worse if release.ended != "rolled back"]
        after = f"{median(r.rows for r in back):.0f}" if back else "-"
        print(f"{kind:18}{len(of):5}{len(releases):10}{sum(t.retrainings.get('refused', 0) for t in of):9}"
              f"{len(worse):7}{sum(r.is_sure for r in worse):6}{len(back):6}{after:>6}{len(left):6}"
              f"{sum(r.is_sure for r in left):11}{np.mean([t.accuracy for t in of]):10.3f}")  # fmt: skip


def _print_left(told: Sequence[Told]) -> None:
    back = [r for t in told for r in t.releases if r.ended == "rolled back"]
    print(
        f"\nrolled back: {len(back)}, after {', '.join(str(r.rows) for r in sorted(back, key=lambda r: r.rows))} rows"
    )
    print(f"of them not worse over all rows they served, as one that was better until the world went back: "
          f"{sum(not r.worse for r in back)}")  # fmt: skip
    left = [(t, r) for t in told for r in t.releases if r.worse and r.ended != "rolled back"]
    sure = sum(r.is_sure for _, r in left)
    over = sum(any(w.is_over_for_sure for w in r.worse) for _, r in left)
    print(f"worse and not rolled back: {len(left)}; beyond chance {sure}; by more than 2 points beyond chance {over}")
    for each, release in left:
        shown = "; ".join(
            f"{w.segment} {-100 * w.points:+.1f} on {w.n}{' beyond chance' if w.is_beyond_chance else ''}"
            for w in release.worse
        )
        print(f"  {each.kind} {each.seed}, version {release.version}, {release.ended} after {release.rows}: {shown}")
    truly = [(t, r) for t in told for r in t.releases if r.truly_worse and r.ended != "rolled back"]
    beyond = sum(any(w.is_beyond_chance for w in r.truly_worse) for _, r in truly)
    kinds = ", ".join(f"{kind} {n}" for kind, n in Counter(t.kind for t, _ in truly).items()) or "none"
    print(
        f"by the true labels, which were not always sent: worse and not rolled back: {len(truly)}, beyond chance "
        f"{beyond} ({kinds})"
    )


def _done(file: Path | None) -> list[Told]:
    lines = file.read_bytes().splitlines() if file is not None and file.is_file() else []
    return [msgspec.json.decode(line, type=Told) for line in lines]


def _run(args: argparse.Namespace) -> Iterator[Told]:
    """Each drift or stream as it is done, those of an earlier run first."""
    done = _done(args.into)
    yield from done
    if args.streams:
        names = [name for name in (DEMO, *STREAMS) if name == DEMO or (DATA / f"{name}.parquet").is_file()]
        yield from map(stream, (name for name in names if name not in {each.kind for each in done}))
        return
    kinds = (args.only,) if args.only else tuple(each.__name__ for each in KINDS)
    seeds = sorted(set(range(args.count)) - {each.seed for each in done})
    work = partial(simulate, control=args.control, kinds=kinds)
    with ProcessPoolExecutor(args.processes, mp_context=get_context("spawn")) as pool:
        yield from pool.map(work, seeds)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("count", type=int, nargs="?", default=200)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--only", choices=[each.__name__ for each in KINDS])
    parser.add_argument("--control", action="store_true")
    parser.add_argument("--streams", action="store_true")
    parser.add_argument("--into", type=Path)
    args = parser.parse_args()
    begun, told, known = perf_counter(), [], len(_done(args.into))
    for each in _run(args):
        told.append(each)
        if args.into is not None and len(told) > known:
            with args.into.open("ab") as file:
                file.write(msgspec.json.encode(each) + b"\n")
        print(f"{len(told)} done", end="\r", file=sys.stderr)
    print(machine.described())
    what = (
        "the public streams and the demo's story"
        if args.streams
        else f"{len(told)} drifts of {ROWS} rows, seeds from 0"
    )
    print(f"{what}{'' if args.streams else f'; the first {START} rows teach version 1; labels {DELAY} rows late'}"
          f"{'; gate and watch off' if args.control else ''}\n")  # fmt: skip
    _print_kinds(told)
    _print_left(told)
    seconds = median(t.seconds for t in told)
    print(f"\n{perf_counter() - begun:.0f} s for {len(told) - known} of them, {seconds:.1f} s each")


if __name__ == "__main__":
    main()
