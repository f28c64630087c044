"""How near the estimates without labels come to what the labels show later, ours and NannyML's on the same chunks.

Each stream is cut into ten chunks after its reference rows; the error of an estimate is the mean over chunks of
|estimate - realised|. `held` is the error of holding the reference's own figure, `raw` that of the mean confidence. The
regression is of the bike rentals in random order, its ten chunks ordered by temperature: other rows, the same concept.
Run: python benchmarks/estimates.py [FOLDER_OF_THE_STREAMS] [--nannyml PYTHON]

PYTHON is one with NannyML, which wants an environment of its own:
    python -m venv nannyml && nannyml/bin/pip install nannyml==0.13.1 statsmodels "pandas<3"
"""

import json
import os
import subprocess
from argparse import ArgumentParser
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from time import process_time

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from machine import described
from sklearn.linear_model import LinearRegression

from monitors.baseline.baselines import Baseline, build
from monitors.counting.profiles import fold
from monitors.counting.windows import add_up
from monitors.reading.performance import read_performance
from monitors.readings import FloatArray

CHUNKS, START = 10, 1_767_225_600
HERE = Path(__file__).parent


@dataclass(frozen=True)
class Stream:
    """Reference and later rows as predictions with labels; `positive` is the class of a two-class probability."""

    name: str
    task: str
    metric: str
    reference: pa.Table
    later: pa.Table
    positive: str = ""

    def chunks(self) -> list[pa.Table]:
        rows = self.later.num_rows // CHUNKS
        return [self.later.slice(i * rows, rows) for i in range(CHUNKS)]


def predictions(rows: int, columns: dict[str, object]) -> pa.Table:
    times = pa.array((START + np.arange(rows) * 60) * 1_000_000, pa.timestamp("us", "UTC"))
    return pa.table({"timestamp": times, **columns})


def car_loan(folder: Path) -> Stream:
    def read(name: str) -> pa.Table:
        rows = pq.read_table(folder / f"{name}.parquet")
        chance, told = rows["y_pred_proba"].to_numpy(), rows["y_pred"].to_numpy()
        label = rows["repaid"].to_numpy().astype(int)
        columns = {"prediction": told.astype(str).tolist(), "label": label.astype(str).tolist()}
        sure = np.where(told == 1, chance, 1 - chance)
        return predictions(len(told), {**columns, "confidence": sure, "score_1": chance, "score_0": 1 - chance})

    tables = (read(f"carloan_{part}") for part in ("reference", "analysis"))
    return Stream("car loan", "classification", "accuracy", *tables, positive="1")


def credit_card(folder: Path) -> Stream:
    def read(name: str) -> pa.Table:
        rows = pq.read_table(folder / f"{name}.parquet")
        scores = [c for c in rows.column_names if c.startswith("y_pred_proba_")]
        columns = {c.replace("y_pred_proba", "score"): rows[c] for c in scores}
        sure = np.max([rows[c].to_numpy() for c in scores], axis=0)
        texts = {"prediction": rows["y_pred"].cast(pa.string()), "label": rows["y_true"].cast(pa.string())}
        return predictions(rows.num_rows, {**texts, "confidence": sure, **columns})

    tables = (read(f"creditcard_{part}") for part in ("reference", "analysis"))
    return Stream("credit card", "classification", "accuracy", *tables)


def bike_sharing(folder: Path) -> Stream:
    rows = pq.read_table(folder / "bike_sharing.parquet")
    names = [c for c in rows.column_names if c.startswith("x")]
    rows = rows.take(np.random.default_rng(0).permutation(rows.num_rows))
    inputs = np.column_stack([rows[c].to_numpy() for c in names]).astype(np.float64)
    rentals = rows["rentals"].to_numpy().astype(np.float64)
    learnt, known = len(rentals) // 3, 2 * len(rentals) // 3
    told = LinearRegression().fit(inputs[:learnt], rentals[:learnt]).predict(inputs)
    by_temperature = known + np.argsort(inputs[known:, names.index("x8")], kind="stable")
    features = {f"feature_{c}": rows[c] for c in names}
    table = predictions(len(told), {"prediction": told, **features, "label": rentals})
    return Stream("bike sharing", "regression", "mae", table.slice(learnt, known - learnt), table.take(by_temperature))


def realised(stream: Stream, table: pa.Table) -> float:
    if stream.task == "regression":
        return float(np.abs(table["prediction"].to_numpy() - table["label"].to_numpy()).mean())
    return float(np.mean(np.array(table["prediction"].to_pylist()) == np.array(table["label"].to_pylist())))


def ours(stream: Stream) -> tuple[FloatArray, float]:
    """Estimates of the chunks, and the CPU seconds that all took."""
    began = process_time()
    baseline = build(stream.reference, model="m", version="1", cuts=[], task=stream.task)
    found = np.array([estimate(baseline, stream.metric, chunk) for chunk in stream.chunks()])
    return found, process_time() - began


def estimate(baseline: Baseline, metric: str, chunk: pa.Table) -> float:
    """Of the chunk as one slice, its labels not looked at."""
    profile = sum(fold(baseline.layout, chunk, baseline.slice_seconds).values())
    return float(read_performance(baseline, {}, add_up({0: profile}), metric).estimate[0])


def theirs(stream: Stream, python: str) -> tuple[FloatArray, float]:
    """NannyML's estimates of the same chunks, by a process of its own environment."""
    with TemporaryDirectory() as folder:
        pq.write_table(stream.reference, Path(folder) / "reference.parquet")
        pq.write_table(stream.later, Path(folder) / "later.parquet")
        rows = stream.later.num_rows // CHUNKS
        command = [python, str(HERE / "estimates_nannyml.py"), folder, stream.task, str(rows), stream.positive]
        one_thread = {**os.environ, "OMP_NUM_THREADS": "1"}
        answer = subprocess.run(command, check=True, capture_output=True, text=True, env=one_thread).stdout
    found = json.loads(answer.splitlines()[-1])
    return np.array(found["estimates"][:CHUNKS]), found["seconds"]


def main() -> None:
    parser = ArgumentParser()
    parser.add_argument("folder", nargs="?", type=Path, default=Path(__file__).parents[2] / "shared" / "data")
    parser.add_argument("--nannyml", metavar="PYTHON")
    asked = parser.parse_args()
    print(described())
    if asked.nannyml:
        command = [asked.nannyml, "-c", "from importlib.metadata import version; print(version('nannyml'))"]
        print("NannyML", subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip())
    for stream in (car_loan(asked.folder), credit_card(asked.folder), bike_sharing(asked.folder)):
        real = np.array([realised(stream, chunk) for chunk in stream.chunks()])
        columns = {"realised": real, "ours": None, "nannyml": None}
        columns["ours"], seconds = ours(stream)
        spent = {"ours": seconds}
        if asked.nannyml:
            columns["nannyml"], spent["nannyml"] = theirs(stream, asked.nannyml)
        digits = 1 if stream.task == "regression" else 4
        print(f"\n{stream.name}, {stream.metric}: {CHUNKS} chunks of {stream.chunks()[0].num_rows} rows")
        for name, values in columns.items():
            if values is not None:
                print(f"  {name:9}", " ".join(f"{value:.{digits}f}" for value in values))
        held = {"held": np.full(CHUNKS, realised(stream, stream.reference))}
        if stream.task == "classification":
            held["raw"] = np.array([chunk["confidence"].to_numpy().mean() for chunk in stream.chunks()])
        for name, values in {**columns, **held}.items():
            if name != "realised" and values is not None:
                cost = f"{spent[name]:.1f} s of CPU" if name in spent else ""
                print(f"  mean error {name:8} {np.abs(values - real).mean():.{digits}f}  {cost}")


if __name__ == "__main__":
    main()
