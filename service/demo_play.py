"""Demo play: a story served, labelled late and watched over, on a clock that follows it. The loop is production's own."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from policies.policy import Policy
from service.fold import Worker
from service.house import House
from service.labels import Joiner
from service.loop import Loop, Turn
from service.records import Evaluation
from service.registry import Registry
from service.replay import FileClock
from service.retrain import Launch
from service.wire import Batch

_HISTORY_VERSIONS = ("prediction", "confidence")


@dataclass(frozen=True)
class Tick:
    """One evaluation: when, the rows served and the labels that came since the last one, and what the loop made of it."""

    at: datetime
    rows: int
    labels: int
    turn: Turn
    evaluation: Evaluation


class Play:
    """One model's production side and its loop. Use as a context manager: the worker holds its partition meanwhile."""

    def __init__(self, house: House, clock: FileClock, policy: Policy, launch: Launch) -> None:
        self._house, self._clock, self._policy = house, clock, policy
        self.registry = Registry(house.settings.data_dir)
        self._loop = Loop(house, self.registry, launch)
        self._unlabelled: list[pa.Table] = []
        self._batch = 0

    def perform(self, rows: pa.Table, worker: Worker, joiner: Joiner) -> Iterator[Tick]:
        """Serve the rows, evaluation by evaluation; labels follow after the policy's `label_delay`."""
        micros = pc.cast(rows.column("timestamp"), pa.int64()).to_numpy()
        every, begin = int(self._policy.evaluate.total_seconds() * 1e6), 0
        while begin < rows.num_rows:
            tick = (micros[begin] // every + 1) * every
            end = int(np.searchsorted(micros, tick, side="left"))
            self._clock.now = datetime.fromtimestamp(tick / 1e6, UTC)
            self._serve(rows.slice(begin, end - begin))
            labels = self._send_labels()
            worker.step()
            joiner.step(self._clock())
            turn = self._loop.step(self._policy.model)
            yield Tick(self._clock(), end - begin, labels, turn, self._house.ledger.evaluation(self._policy.model))
            begin = end

    def _serve(self, rows: pa.Table) -> None:
        name, version = self._policy.model, self._house.ledger.champion(self._policy.model)
        answers = self.registry.load(name, version).predict(rows)
        columns = {"prediction_id": rows.column("prediction_id"), "timestamp": rows.column("timestamp")}
        columns["model_version"] = pa.array([version] * rows.num_rows, pa.string())
        columns |= {column: answers.column(column) for column in ("prediction", "confidence")}
        columns |= {c: rows.column(c) for c in rows.column_names if c.startswith(("feature_", "tag_"))}
        self._batch += 1
        self._house.ingest.accept_predictions(
            name, Batch(pa.table(columns)), f"rows-{self._batch}", str(self._batch), self._clock()
        )
        self._unlabelled.append(rows.select(["prediction_id", "timestamp", "label"]))

    def _send_labels(self) -> int:
        waiting = pa.concat_tables(self._unlabelled)
        due = pc.less_equal(waiting.column("timestamp"), pa.scalar(self._clock() - self._policy.window.label_delay))
        self._unlabelled = [waiting.filter(pc.invert(due))]
        known = waiting.filter(due)
        if known.num_rows:
            arrival = pa.array([self._clock()] * known.num_rows, pa.timestamp("us", "UTC"))
            table = known.set_column(1, "timestamp", arrival).append_column(
                "outcome", pa.nulls(known.num_rows, pa.string())
            )
            self._house.ingest.accept_labels(
                self._policy.model, Batch(table), f"labels-{self._batch}", str(self._batch), self._clock()
            )
        return known.num_rows
