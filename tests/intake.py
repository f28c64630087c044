"""The whole data intake on one store, for tests: ingest, fold, join, archive, cells on a clock that tests move."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from streams import START, predictions

from monitors.baseline import baselines
from monitors.baseline.baselines import Baseline
from service.intake import counts
from service.intake.archive.archive import Archive
from service.intake.archive.archiving import Roll
from service.intake.bodies.wire import Batch
from service.intake.folding.cells import Cells
from service.intake.folding.worker import Worker
from service.intake.joining.joiner import Joiner
from service.intake.log.ingest import Ingest
from service.intake.log.log import Log
from service.storage.store import Store

NOON = datetime.fromtimestamp(START, UTC) + timedelta(hours=12)
BASELINE = baselines.build(
    predictions(600, seed=99, start=START - 36_000), model="m", version="1", cuts=[["group"]], task="classification"
)


def batch(rows: int, seed: int = 0, **options: Any) -> pa.Table:
    """Predictions without their labels, a row a minute from midnight on."""
    return predictions(rows, seed=seed, **options).drop_columns(["label"])


def label_rows(ids: Sequence[str], values: Sequence[str], at: datetime = NOON) -> pa.Table:
    return pa.table(
        {
            "prediction_id": pa.array(ids, pa.string()),
            "label": pa.array(values, pa.string()),
            "timestamp": pa.array([at] * len(ids), pa.timestamp("us", "UTC")),
            "outcome": pa.nulls(len(ids), pa.string()),
        }
    )


class Intake:
    """Everything between a batch and the evaluator; `baselines` may be changed while it runs."""

    def __init__(self, store: Store, folder: Path, *, partitions: int = 2, roll: Roll | None = None) -> None:
        self.now = NOON
        self.store = store
        self.folder = folder
        self.roll = roll or Roll()
        self.baselines: dict[str, Baseline] = {"1": BASELINE}
        self.log = Log(store, partitions)
        self.ingest = Ingest(self.log, lambda _: "1")
        self.archive = Archive(self.log, folder)
        self.cells = Cells(store, partitions)
        self.worker = self.new_worker()
        self.joiner = self.new_joiner()

    def new_worker(self, **options: Any) -> Worker:
        return Worker(
            self.log, self.baseline_of, self.folder, lambda: self.now, roll=self.roll, **{"alone": True, **options}
        )

    def new_joiner(self, **options: Any) -> Joiner:
        return Joiner(self.log, self.archive, self.baseline_of, **{"alone": True, **options})

    def baseline_of(self, model: str, version: str) -> Baseline | None:
        return self.baselines.get(version) if model == "m" else None

    def post(self, table: pa.Table, key: str | None = None, body: str = "body") -> dict[str, Any]:
        return self.ingest.accept_predictions("m", Batch(table), key, body, self.now)

    def label(
        self, ids: Sequence[str], values: Sequence[str], key: str | None = None, at: datetime | None = None
    ) -> None:
        self.ingest.accept_labels("m", Batch(label_rows(ids, values, at or self.now)), key, "body", self.now)

    def run(self) -> None:
        """Fold, join, and archive what is ready."""
        self.worker.acquire()
        self.worker.step()
        self.joiner.step(self.now)
        self.joiner.step(self.now)
        self.worker.step()

    def counted(self) -> np.ndarray:
        """All slices of all partitions added up, [S, width]."""
        return sum_of(self.cells.load(BASELINE), BASELINE.layout.width)

    def counted_labels(self) -> np.ndarray:
        return sum_of(self.cells.load_labelled(BASELINE), BASELINE.layout.labelled_width)

    def numbers(self) -> counts.Intake:
        return counts.read(self.store, self.log, self.now)


def sum_of(profiles: dict[int, np.ndarray], width: int) -> np.ndarray:
    return sum(profiles.values(), np.zeros((len(BASELINE.layout.segments), width)))
