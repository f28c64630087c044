"""Curation: how long a million rows take, which planted wrong labels are found, and what a poisoned producer can do.

The planted labels: of the first rows of each stream one in twenty gets another label, drawn evenly. Precision is the
share of the suspicious labels that were planted, recall the share of the planted ones that are suspicious; a stream's
own wrong labels count against the precision. The poisoned producer sends two of five rows and turns every label
round; accuracy is of the built-in trainer on rows with the true labels that follow. Rules on streams: at ten places
evenly spread over each stream a model learns from the 4,000 rows before, curated by one rule; accuracy is on the 1,000
rows that follow. A half-life is half of what those 4,000 rows span.

Run: python benchmarks/curate.py [--rows 1000000]. Quiet, it takes three minutes.
"""

import argparse
import os
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median

import numpy as np
import pyarrow as pa
from machine import described
from pyarrow import parquet

from policies.file.curation import Balance, Curate, Producers
from service.intake.archive.tables import Roles, as_batch
from service.training.curate import Curated, curate
from service.training.trainers import refit

DATA = Path(os.environ.get("TIDEGATE_STREAMS", Path(__file__).parents[2] / "shared" / "data"))
STREAMS = {
    "mixed_abrupt": {},
    "sine_abrupt": {},
    "sea_abrupt": {},
    "clinc150_stream": {"domain": "tag", "phase": "ignore"},
    "noaa_weather": {},
    "elec2": {},
}
START = datetime(2026, 1, 1, tzinfo=UTC)
ALL_RULES = Curate(
    oldest=timedelta(days=50),
    half_life=timedelta(days=20),
    duplicates=timedelta(hours=1),
    conflicts="newest",
    suspicious="leave_out",
    balance=Balance(("market",), least=20_000, most=400_000),
    producers=Producers("source", 0.3),
)
PLANTED = 0.05
POISONED = 0.4
CAP = 0.1
RULES = {
    "none": lambda _: Curate(suspicious="ignore"),
    "suspicious": lambda _: Curate(suspicious="leave_out"),
    "newest": lambda _: Curate(suspicious="ignore", conflicts="newest"),
    "half-life": lambda half: Curate(suspicious="ignore", half_life=half),
    "duplicates": lambda _: Curate(suspicious="ignore", duplicates=timedelta(hours=1)),
    "at least 20": lambda _: Curate(suspicious="ignore", balance=Balance(("label",), least=20)),
}
TAUGHT, ASKED, PLACES = 4_000, 1_000, 10
_SECOND = 1_000_000
_DAY = 86_400 * _SECOND


def made(rows: int, seed: int = 0) -> pa.Table:
    """Rows of 60 days: six numbers, a category, a market of 1 %, four sources."""
    rng = np.random.default_rng(seed)
    micros = int(START.timestamp()) * _SECOND + np.sort(rng.integers(0, 60 * _DAY, rows))
    times, x = pa.array(micros, pa.timestamp("us", tz="UTC")), rng.normal(size=(rows, 6))
    return pa.table(
        {
            "prediction_id": [f"p{i:08}" for i in range(rows)],
            "timestamp": times,
            "prediction": rng.choice(["a", "b", "c"], rows),
            **{f"feature_x{i}": x[:, i] for i in range(6)},
            "feature_channel": rng.choice(["web", "app", "shop"], rows),
            "tag_source": rng.choice(["s1", "s2", "s3", "s4"], rows, p=[0.4, 0.3, 0.2, 0.1]),
            "tag_market": rng.choice(["DE", "FR", "tail"], rows, p=[0.6, 0.39, 0.01]),
            "label": np.where(x[:, 0] + x[:, 1] > 0, "a", np.where(x[:, 2] > 0, "b", "c")),
            "labelled_at": times,
        }
    )


def curated(rows: pa.Table, rules: Curate, kinds: dict[str, str] | None = None) -> Curated:
    return curate(
        rows,
        change_started=None,
        fault_slices=frozenset(),
        slice_seconds=3600,
        rules=rules,
        columns=kinds or {},
        cuts=[["market"]] if "tag_market" in rows.column_names else (),
    )


def speed(rows: int) -> Iterator[str]:
    """Seconds of processor time, all threads together, for each way to curate."""
    table = made(rows)
    for name, rules in (
        ("nothing sought", Curate(suspicious="ignore")),
        ("the defaults", Curate()),
        ("every rule at once", ALL_RULES),
    ):
        taken, found = [], None
        for _ in range(3):
            begun = time.process_time()
            found = curated(table, rules)
            taken.append(time.process_time() - begun)
        teach = found.candidates["after_change"].num_rows if found else 0
        yield f"{name:22} {median(taken):6.1f} CPU s  {rows / median(taken):10,.0f} rows a CPU second  {teach:9,} teach"


def with_wrong_labels(rows: pa.Table, at: np.ndarray, rng: np.random.Generator) -> pa.Table:
    """The rows with another label at these places, drawn evenly from the others."""
    classes, codes = np.unique(np.asarray(rows["label"].to_pylist()), return_inverse=True)
    codes = np.where(at, (codes + rng.integers(1, len(classes), len(codes))) % len(classes), codes)
    return rows.set_column(rows.column_names.index("label"), "label", pa.array(classes[codes]))


def planted(name: str, kinds: dict[str, str], data: Path) -> str:
    """Precision and recall of the suspicious labels of a stream."""
    rows = read(name, kinds, data).slice(0, TAUGHT)
    rng = np.random.default_rng(1)
    wrong = rng.random(rows.num_rows) < PLANTED
    begun = time.process_time()
    told = curated(with_wrong_labels(rows, wrong, rng), Curate(), kinds).listing["suspicious"]
    taken = time.process_time() - begun
    places = {each: place for place, each in enumerate(rows["prediction_id"].to_pylist())}
    found = np.asarray([places[each["id"]] for each in told["labels"]], dtype=int)  # type: ignore[index]
    hits = int(wrong[found].sum())
    return (
        f"{name:16} {rows.num_rows:6,} rows {int(wrong.sum()):5} planted {len(found):5} found  "
        f"precision {hits / max(len(found), 1):.2f}  recall {hits / wrong.sum():.2f}  {taken:5.1f} CPU s"
    )


def read(name: str, kinds: dict[str, str], data: Path) -> pa.Table:
    """All rows of a stream, in time order."""
    table = parquet.read_table(data / f"{name}.parquet")
    roles = Roles("timestamp", "label", "", "", kinds)
    return as_batch(Path(name), table, roles, "classification", "").sort_by("timestamp")


def by_rules(name: str, kinds: dict[str, str], data: Path) -> str:
    """Accuracy on the rows that follow, for each rule; without one first."""
    rows, right = read(name, kinds, data), np.zeros(len(RULES))
    for place in np.linspace(TAUGHT, rows.num_rows - ASKED, PLACES).astype(int).tolist():
        before, asked = rows.slice(place - TAUGHT, TAUGHT), rows.slice(place, ASKED)
        ends = before["timestamp"].cast(pa.int64())
        half = timedelta(microseconds=(ends[-1].as_py() - ends[0].as_py()) / 2)
        truth = np.asarray(asked["label"].to_pylist())
        for at, rule in enumerate(RULES.values()):
            found = curated(before, rule(half), kinds).whole["after_change"]
            said = refit(found, task="classification", columns=kinds, step=3).predict(asked)["prediction"]
            right[at] += float((np.asarray(said.to_pylist()) == truth).mean())
    return f"{name:16} " + "  ".join(f"{share:10.4f}" for share in right / PLACES)


def poisoned(seed: int = 2) -> Iterator[str]:
    """A producer with two of five rows and every label turned round."""
    rng = np.random.default_rng(seed)
    rows = made(6_000, seed)
    label = np.where(rows["feature_x0"].to_numpy() + rows["feature_x1"].to_numpy() > 0, "a", "b")
    test = made(5_000, seed + 1)
    truth = np.where(test["feature_x0"].to_numpy() + test["feature_x1"].to_numpy() > 0, "a", "b")
    bad = rng.random(rows.num_rows) < POISONED
    sources = np.where(bad, "poisoned", rng.choice([f"s{i}" for i in range(12)], rows.num_rows))
    rows = rows.set_column(rows.column_names.index("tag_source"), "tag_source", pa.array(sources))
    rows = rows.set_column(
        rows.column_names.index("label"), "label", pa.array(np.where(bad ^ (label == "a"), "a", "b"))
    )
    for name, rules in (
        ("as they come", Curate(suspicious="ignore")),
        (f"at most {CAP:.0%} a producer", Curate(suspicious="ignore", producers=Producers("source", CAP))),
        ("and no suspicious label", Curate(suspicious="leave_out", producers=Producers("source", CAP))),
    ):
        teach = curated(rows, rules).candidates["after_change"]
        model = refit(teach, task="classification", step=3)
        right = float((np.asarray(model.predict(test)["prediction"].to_pylist()) == truth).mean())
        share = teach["tag_source"].to_pylist().count("poisoned") / teach.num_rows
        yield f"{name:28} {teach.num_rows:6,} rows teach, {share:6.1%} of them poisoned; accuracy {right:.3f}"


def tail() -> Iterator[str]:
    """A market with one row in a hundred, in a window of 2,000 rows."""
    rows = made(20_000, 3)
    for name, rules in (
        ("as they come", Curate(suspicious="ignore")),
        ("at least 100 of each market", Curate(suspicious="ignore", balance=Balance(("market",), least=100))),
        ("and at most 500", Curate(suspicious="ignore", balance=Balance(("market",), least=100, most=500))),
    ):
        told = curated(rows, rules).manifest["parts"]
        yield f"{name:28} window {told['last_window']['segments']}, holdout {told['holdout']['segments']}"  # type: ignore[index]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--data", type=Path, default=DATA, help="folder of the streams")
    asked = parser.parse_args()
    print(described(), flush=True)
    print(f"\n{asked.rows:,} labelled rows of 7 features, median of 3:")
    for line in speed(asked.rows):
        print(line, flush=True)
    print(f"\n{PLANTED:.0%} of the labels planted wrong:")
    for name, kinds in STREAMS.items():
        print(planted(name, kinds, asked.data), flush=True)
    print(f"\naccuracy on the rows that follow, by the rule:\n{'':16} " + "  ".join(f"{name:>10}" for name in RULES))
    for name, kinds in STREAMS.items():
        print(by_rules(name, kinds, asked.data), flush=True)
    print(f"\na producer of {POISONED:.0%} of the rows, all of its labels turned round:")
    for line in poisoned():
        print(line, flush=True)
    print("\na market with 1 % of the rows:")
    for line in tail():
        print(line, flush=True)


if __name__ == "__main__":
    main()
