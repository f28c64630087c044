"""Failure categories: are planted ones found and named, what is found where errors fall at random, and what it costs.

20,000 rows of 20 features (ten numbers, eight categories of 3 to 40 values, a boolean, a text), 6 classes, one row in
ten wrong. Planted are extra errors of one kind, so many that they are 1, 2, 5 or 10 % of all errors; found means that a
category beyond chance has exactly the planted name (of a range: the column and the side). Then the same without
anything planted, and a stream of texts whose phases are known, from the folder beside the project where it is there.

Run: python benchmarks/failures.py [worlds with something planted, 10] [worlds without, 200] [folder of streams]
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter, process_time

import numpy as np
import pyarrow as pa
from machine import described
from pyarrow import parquet

from monitors.baseline.baselines import Baseline, build
from monitors.reading.failures.categories import Failures, find_failures
from service.training.trainers import refit

ROWS, BASELINE, ERROR, SPAN = 20_000, 10_000, 0.1, 14 * 86_400
CLASSES = ["fit", "returns", "shipping", "refund", "size", "payment"]
WORDS = [f"{a}{b}" for a in "stmrkl" for b in ("one", "ale", "ift", "ock", "und", "ira", "ope", "ent", "ave", "ish")]
SIZES = (0.01, 0.02, 0.05, 0.10)

World = dict[str, np.ndarray]


@dataclass(frozen=True)
class Plant:
    """A kind of trouble: what it is called, where it happens, and what it does to the rows there besides errors."""

    name: str
    place: Callable[[World], np.ndarray]
    spoil: Callable[[World, np.ndarray], None] = lambda _world, _rows: None
    label: str | None = None


def world(rng: np.random.Generator, rows: int) -> World:
    sizes = (3, 4, 6, 9, 13, 19, 28, 40)
    columns: World = {f"number_{i}": rng.normal(size=rows).astype(np.float64) for i in range(10)}
    for size in sizes:
        shares = rng.dirichlet(np.full(size, 3.0))
        columns[f"category_{size}"] = np.array([f"v{i}" for i in range(size)])[rng.choice(size, rows, p=shares)]
    columns["flag"] = rng.choice(["yes", "no"], rows)
    columns["text"] = np.array([" ".join(each) for each in rng.choice(WORDS, (rows, 6))], dtype=object)
    columns["said"] = rng.choice(CLASSES, rows, p=[0.3, 0.25, 0.2, 0.1, 0.1, 0.05])
    columns["label"] = columns["said"].astype(object).copy()
    return columns


def go_wrong(rng: np.random.Generator, columns: World, where: np.ndarray, label: str | None = None) -> None:
    others = np.array([[c for c in CLASSES if c != each] for each in columns["said"][where]])
    columns["label"][where] = label or others[np.arange(len(where)), rng.integers(0, len(CLASSES) - 1, len(where))]


def table_of(columns: World, start: int) -> pa.Table:
    rows = len(columns["said"])
    times = start + np.sort(np.linspace(0, SPAN, rows, endpoint=False)).astype(np.int64)
    features = {f"feature_{n}": pa.array(v) for n, v in columns.items() if n not in {"said", "label"}}
    return pa.table(
        {
            "prediction_id": [f"p{i}" for i in range(rows)],
            "timestamp": pa.array(times * 1_000_000, pa.timestamp("us", "UTC")),
            "prediction": pa.array(columns["said"].tolist()),
            "label": pa.array(columns["label"].tolist()),
        }
        | features
    )


def at_random(rng: np.random.Generator, columns: World, share: float = ERROR) -> None:
    go_wrong(rng, columns, np.flatnonzero(rng.random(len(columns["said"])) < share))


def _new_words(columns: World, rows: np.ndarray) -> None:
    columns["text"][rows] = [f"{text} zalando" for text in columns["text"][rows]]


def _blank(columns: World, rows: np.ndarray) -> None:
    columns["number_3"][rows] = np.nan


def _kiosk(columns: World, rows: np.ndarray) -> None:
    columns["category_9"] = columns["category_9"].astype(object)
    columns["category_9"][rows] = "kiosk"


def _everywhere(columns: World) -> np.ndarray:
    return np.ones(len(columns["said"]), dtype=bool)


def plants() -> list[Plant]:
    return [
        Plant("in category_19=v3", lambda w: w["category_19"] == "v3"),
        Plant("in number_2 below -1.3", lambda w: w["number_2"] < -1.3),
        Plant("in category_9=v1 and flag=yes", lambda w: (w["category_9"] == "v1") & (w["flag"] == "yes")),
        Plant("returns taken for shipping", lambda w: w["said"] == "shipping", label="returns"),
        Plant(
            "size taken for fit, in category_9=v2",
            lambda w: (w["said"] == "fit") & (w["category_9"] == "v2"),
            label="size",
        ),
        Plant("new words in text", _everywhere, _new_words),
        Plant("number_3 missing", _everywhere, _blank),
        Plant("in category_9=kiosk", _everywhere, _kiosk),
        Plant("warranty, a label that was never learnt", _everywhere, label="warranty"),
    ]


def is_it(found: str, planted: str) -> bool:
    """The same words, whichever condition comes first; a fault or a new word needs no `in`, edges may be the next."""

    def parts(name: str) -> set[str]:
        return set(name.replace(", in ", " and ").removeprefix("in ").split(" and "))

    if "below" in planted:
        return " below -" in found and planted.split(" below", maxsplit=1)[0] in f"in {found.removeprefix('in ')}"
    return parts(found) == parts(planted)


def planted(rng: np.random.Generator, columns: World, plant: Plant, size: float) -> np.ndarray:
    extra = round(size / (1 - size) * ERROR * len(columns["said"]))
    place = np.flatnonzero(plant.place(columns))
    rows = rng.choice(place, min(extra, len(place)), replace=False)
    plant.spoil(columns, rows)
    go_wrong(rng, columns, rows, plant.label)
    return rows


def timed(table: pa.Table, baseline: Baseline, costs: list[tuple[float, float]]) -> Failures:
    began, worked = perf_counter(), process_time()
    found = find_failures(table, baseline)
    costs.append((perf_counter() - began, process_time() - worked))
    return found


def beyond_chance(found: Failures) -> list[str]:
    return [each.rule.name for each in found.categories if each.basis in {"evidence", "fact"}]


def baseline_of(seed: int) -> Baseline:
    rng = np.random.default_rng(seed)
    past = world(rng, BASELINE)
    at_random(rng, past)
    return build(table_of(past, 0), model="m", version="1", cuts=[], task="classification")


def try_planted(worlds: int, costs: list[tuple[float, float]]) -> None:
    hits: dict[tuple[str, float], int] = {}
    strangers: list[str] = []
    for seed in range(worlds):
        baseline = baseline_of(seed)
        for plant in plants():
            for size in SIZES:
                rng = np.random.default_rng([seed, int(size * 1000)])
                now = world(rng, ROWS)
                at_random(rng, now)
                planted(rng, now, plant, size)
                names = beyond_chance(timed(table_of(now, SPAN), baseline, costs))
                hits[plant.name, size] = hits.get((plant.name, size), 0) + any(is_it(n, plant.name) for n in names)
                strangers += [f"{n} (planted: {plant.name}, {size:.0%})" for n in names if not is_it(n, plant.name)]
    print(
        f"planted, {worlds} worlds (seeds 0..{worlds - 1}): share found under its own name, by its share of all errors"
    )
    print(f"{'':44}" + "".join(f"{size:>7.0%}" for size in SIZES))
    for plant in plants():
        print(f"{plant.name:44}" + "".join(f"{hits[plant.name, size] / worlds:>7.2f}" for size in SIZES))
    print(f"other categories found in these {worlds * len(plants()) * len(SIZES)} searches: {len(strangers)}")
    for each in strangers:
        print(f"    {each}")


def try_nothing(worlds: int, costs: list[tuple[float, float]]) -> None:
    false = []
    for seed in range(worlds):
        if seed % 20 == 0:
            baseline = baseline_of(10_000 + seed)
        rng = np.random.default_rng([7, seed])
        now = world(rng, ROWS)
        at_random(rng, now)
        false.append(beyond_chance(timed(table_of(now, SPAN), baseline, costs)))
    found = [name for names in false for name in names]
    print(f"\nerrors at random: {sum(map(bool, false))} of {worlds} searches found anything (at most 1 % is promised)")
    for name in found:
        print(f"    {name}")


PHASES = {
    "stable": (6_000, 8_000),
    "new intents": (9_500, 12_000),
    "swapped": (12_000, 14_500),
    "broken": (14_500, 15_500),
}


def try_texts(folder: Path) -> None:
    """A champion of the first 4,000 texts, its baseline from the next 2,000, and what is found in later phases."""
    file = folder / "clinc150_stream.parquet"
    if not file.is_file():
        print("\n(the stream of texts is not there)")
        return
    raw = parquet.read_table(file)
    times = pa.array(np.arange(raw.num_rows) * 180_000_000, pa.timestamp("us", "UTC"))
    rows = pa.table(
        {
            "prediction_id": [f"t{i}" for i in range(raw.num_rows)],
            "timestamp": times,
            "label": raw.column("label").cast(pa.string()),
            "feature_text": raw.column("text").cast(pa.string()),
            "tag_domain": raw.column("domain").cast(pa.string()),
        }
    )
    champion = refit(rows.slice(0, 4_000), task="classification", columns={"text": "text", "domain": "tag"}, step=6)

    def served(begin: int, end: int) -> pa.Table:
        part = rows.slice(begin, end - begin)
        return part.append_column("prediction", champion.predict(part).column("prediction"))

    baseline = build(
        served(4_000, 6_000), model="clinc", version="1", cuts=[["domain"]], task="classification",
        columns={"text": "text", "domain": "tag"},
    )  # fmt: skip
    print("\ntexts of 150 intents (CLINC150): the five largest categories beyond chance, by phase")
    for phase, span in PHASES.items():
        found = find_failures(served(*span), baseline)
        print(f"  {phase}: {found.errors} errors in {found.rows} rows")
        told = [each for each in found.categories if each.basis in {"evidence", "fact"}]
        for each in sorted(told, key=lambda each: -each.errors)[:5]:
            words = f" ({', '.join(each.words[:6])})" if each.words else ""
            print(f"    {each.errors:5} {each.share:6.1%}  {each.rule.name}{words}")


def main() -> None:
    worlds, without = (int(each) for each in (*sys.argv[1:3], *("10", "200")[len(sys.argv[1:3]) :]))
    folder = Path(sys.argv[3]) if len(sys.argv) > 3 else Path(__file__).parents[2] / "shared" / "data"
    print(described())
    print(f"{ROWS:,} rows x 20 features, {ERROR:.0%} wrong, baseline of {BASELINE:,} rows\n")
    costs: list[tuple[float, float]] = []
    try_planted(worlds, costs)
    try_nothing(without, costs)
    wall, work = np.median(np.array(costs), axis=0)
    print(f"one search, median of {len(costs)}: {wall:.2f} s, of which {work:.2f} s of one processor; "
          f"largest {max(costs)[0]:.2f} s")  # fmt: skip
    try_texts(folder)


if __name__ == "__main__":
    main()
