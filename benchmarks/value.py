"""Value: accuracy for each retraining, on streams with known behaviour, beside the rules that are usual.

All rows are predicted before their labels come (prequential accuracy), and all models come from the built-in trainer.
Tidegate goes through the real `tidegate replay` with one policy for all streams, which names no threshold. The rules
replace the model without a gate, as they usually do. `stable` and `broken` count retrainings while nothing had changed
yet, and while the feed was broken.

Run: python benchmarks/value.py [--streams sea_abrupt elec2] [--only tidegate]. All of it takes about half an hour of a
quiet core, of which an eighth is Tidegate's; the detectors are river's: pip install river.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
from machine import described
from pyarrow import parquet
from value_rules import Detector, EvidentlyPsi, Never, Periodic, Rule, Task, run

from policies.file.parse import parse
from service.intake.archive.tables import Roles, as_batch

DATA = Path(os.environ.get("TIDEGATE_STREAMS", Path(__file__).parents[2] / "shared" / "data"))
OFFSETS = (0.1, 0.3, 0.5, 0.7, 0.9)
"""Where in the first period a periodic rule starts: the mean of these is shown."""
OFTEN = 500
CHOICES = ("never", "periodic", "ddm", "adwin", "psi", "tidegate")
POLICY = "model: value\ntask: {kind: classification}\nevaluate: 1h\n"


@dataclass(frozen=True)
class Stream:
    """A stream: what its policy says of its columns, how its labels come, and what is known of its rows."""

    name: str
    policy: str = ""
    label: str = "label"
    start: int = 2_000
    label_share: float = 1.0
    delay: int = 100
    stable: tuple[range, ...] | None = None
    broken: tuple[range, ...] | None = None


STREAMS = (
    Stream("mixed_abrupt", stable=(range(10_000),)),
    Stream("sine_abrupt", stable=(range(10_000),)),
    Stream("sea_abrupt", stable=(range(10_000),)),
    Stream(
        "clinc150_stream",
        policy="segments: [[domain]]\ncolumns: {domain: tag, phase: ignore}\n",
        start=4_000,
        label_share=0.5,
        delay=200,
        stable=(range(6_000), range(8_000, 9_500)),
        broken=(range(14_500, 15_500),),
    ),
    Stream("noaa_weather"),
    Stream("elec2"),
    Stream(
        "carloan_faulty",
        policy="columns: {id: ignore, y_pred: ignore, y_pred_proba: ignore}\n",
        label="repaid",
        stable=(range(12_000),),
        broken=(range(12_000, 24_000),),
    ),
)

Line = tuple[str, float, float, float | None, float | None]


def read(stream: Stream, data: Path) -> pa.Table:
    """The stream's rows; of the car loans the newest sound ones before the first broken ones."""
    if stream.name != "carloan_faulty":
        return parquet.read_table(data / f"{stream.name}.parquet")
    sound = parquet.read_table(data / "carloan_reference.parquet")
    broken = parquet.read_table(data / "carloan_faulty_analysis.parquet").slice(0, 12_000)
    return pa.concat_tables([sound.slice(sound.num_rows - 12_000), broken], promote_options="permissive")


def tidegate(stream: Stream, table: pa.Table) -> tuple[float, list[int], int]:
    """Accuracy, the rows after which a retraining was opened, and how many were released."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        parquet.write_table(table, folder / "rows.parquet")
        (folder / "policy.yaml").write_text(POLICY + stream.policy)
        options = ["--start", stream.start, "--label", stream.label, "--label-share", stream.label_share]
        asked = ["replay", folder / "rows.parquet", "--policy", folder / "policy.yaml", *options]
        command = [sys.executable, "-m", "service.cli", *asked, "--label-delay", stream.delay, "--json"]
        ended = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=True)
    said = json.loads(ended.stdout)
    retrainings = said["retrainings"]
    released = sum(done["outcome"] == "released" for done in retrainings)
    return said["accuracy"], [done["at_row"] for done in retrainings], released


def task_of(stream: Stream, table: pa.Table) -> Task:
    """The same rows, with the same labels late, as the replay reads them."""
    kinds = parse(POLICY + stream.policy).column_kinds()
    rows = as_batch(Path(stream.name), table, Roles("timestamp", stream.label, "", "", kinds), "classification", "")
    rows = rows.sort_by("timestamp")
    labelled = np.random.default_rng(0).random(rows.num_rows) < stream.label_share
    labelled[: stream.start] = True
    return Task(rows, kinds, stream.start, labelled, stream.delay)


def rules(kinds: list[str], served: int, ours: int) -> Iterator[tuple[str, list[Rule]]]:
    """Each rule by its name; a periodic one at `ours` retrainings, and at a frequent period, with each offset."""
    from river import drift  # noqa: PLC0415  for the detectors alone: pip install river

    if "never" in kinds:
        yield "never", [Never()]
    for count in sorted({ours, served // OFTEN} - {0}) if "periodic" in kinds else ():
        period = served / count
        yield f"every {period:,.0f} rows", [Periodic(period, share * period) for share in OFFSETS]
    detectors: dict[str, Callable[[], object]] = {"ddm": drift.binary.DDM, "adwin": partial(drift.ADWIN)}
    for name, make in detectors.items():
        if name in kinds:
            yield name.upper(), [Detector(make)]
    if "psi" in kinds:
        yield "Evidently PSI > .1", [EvidentlyPsi()]


def within(at: list[int], phases: tuple[range, ...] | None) -> float | None:
    """How many of the rows lie in the phases; None where the stream is known to have none."""
    return None if phases is None else float(sum(row in phase for row in at for phase in phases))


def lines(stream: Stream, data: Path, kinds: list[str]) -> Iterator[Line]:
    """A line of the table for each way to retrain."""
    table, ours = read(stream, data), 0
    if "tidegate" in kinds:
        accuracy, at, released = tidegate(stream, table)
        ours = len(at)
        name = f"Tidegate ({released} released)"
        yield name, accuracy, ours, within(at, stream.stable), within(at, stream.broken)
    if kinds == ["tidegate"]:
        return
    task = task_of(stream, table)
    for name, each in rules(kinds, task.rows.num_rows - stream.start, ours):
        runs = [run(task, rule) for rule in each]
        counted = [(len(at), within(at, stream.stable), within(at, stream.broken)) for _, at in runs]
        means = (None if None in column else float(np.mean(column)) for column in zip(*counted, strict=True))
        yield name, float(np.mean([accuracy for accuracy, _ in runs])), *means  # type: ignore[misc]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--streams", nargs="+", choices=[s.name for s in STREAMS], default=[s.name for s in STREAMS])
    parser.add_argument("--only", nargs="+", choices=CHOICES, default=list(CHOICES))
    parser.add_argument("--data", type=Path, default=DATA, help="folder of the streams")
    asked = parser.parse_args()
    print(described(), flush=True)
    print(f"{'stream':16} {'retrained by':24} {'accuracy':>8} {'retrainings':>11} {'stable':>6} {'broken':>6}")
    for stream in (s for s in STREAMS if s.name in asked.streams):
        for name, accuracy, count, *phases in lines(stream, asked.data, asked.only):
            shown = " ".join(f"{'-' if number is None else f'{number:g}':>6}" for number in phases)
            print(f"{stream.name:16} {name:24} {accuracy:8.4f} {count:11g} {shown}", flush=True)


if __name__ == "__main__":
    main()
