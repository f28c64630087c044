"""Demo play: a story is served, labelled late, and watched by the loop of production on a clock that follows it."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from policies.file.policy import Policy
from service.deciding.loop import Loop, Turn
from service.house import House
from service.intake.bodies.wire import Batch
from service.intake.folding.worker import Worker
from service.intake.joining.joiner import Joiner
from service.launching.choose import by_kind
from service.launching.port import Launcher
from service.ledger.records import Evaluation, Watch
from service.replay import FileClock
from service.retraining.routing import serve_routed
from service.training.registry import Registry

_LABELS = pa.schema({"prediction_id": pa.string(), "timestamp": pa.timestamp("us", tz="UTC"), "label": pa.string()})


@dataclass(frozen=True)
class Tick:
    """One evaluation: when, rows served and labels that came since the last one, and labels still on their way.

    `turn` is what the loop did, `evaluation` and `watch` what stood in the ledger afterwards.
    """

    at: datetime
    rows: int
    labels: int
    unlabelled: int
    turn: Turn
    evaluation: Evaluation
    watch: Watch | None


class Play:
    """The production side of one model, and the loop that watches it: all that happens between two evaluations."""

    def __init__(self, house: House, clock: FileClock, policy: Policy, launcher: Launcher) -> None:
        self.registry = Registry(house.settings.data_dir)
        self._house, self._clock, self._policy = house, clock, policy
        self.loop = Loop(house, self.registry, by_kind({policy.retrain.trainer.kind: launcher}))
        self._unlabelled = _LABELS.empty_table()
        self._batches = 0

    def perform(self, rows: pa.Table, worker: Worker, joiner: Joiner) -> Iterator[Tick]:
        """Serve rows in order of time, evaluation by evaluation; labels come the policy's `label_delay` late."""
        model, ledger = self._policy.model, self._house.ledger
        for part, now in self._parts(rows):
            self._clock.now = now
            self._serve(part)
            labels = self._send_labels()
            worker.step()
            joiner.step(now)
            turn = self.loop.step(model)
            unlabelled = self._unlabelled.num_rows
            yield Tick(now, part.num_rows, labels, unlabelled, turn, ledger.evaluation(model), ledger.watch(model))

    def _parts(self, rows: pa.Table) -> Iterator[tuple[pa.Table, datetime]]:
        """The rows up to each evaluation, and its moment."""
        micros = pc.cast(rows.column("timestamp"), pa.int64()).to_numpy()
        every, begin = int(self._policy.evaluate.total_seconds() * 1e6), 0
        while begin < len(micros):
            tick = (int(micros[begin]) // every + 1) * every
            end = int(np.searchsorted(micros, tick, side="left"))
            yield rows.slice(begin, end - begin), datetime.fromtimestamp(tick / 1e6, UTC)
            begin = end

    def _serve(self, rows: pa.Table) -> None:
        """What the production system does: predict with the version that a row is assigned, and post."""
        model = self._policy.model
        answers = serve_routed(self._house, self.registry, model, rows)
        columns = {name: rows.column(name) for name in rows.column_names if name != "label"}
        columns |= {name: answers.column(name) for name in answers.column_names}
        self._batches += 1
        key = f"rows-{self._batches}"
        self._house.ingest.accept_predictions(model, Batch(pa.table(columns)), key, key, self._clock())
        self._unlabelled = pa.concat_tables([self._unlabelled, rows.select(_LABELS.names)])

    def _send_labels(self) -> int:
        """Post the labels of rows that are old enough; says how many."""
        now = self._clock()
        is_due = pc.less_equal(self._unlabelled.column("timestamp"), pa.scalar(now - self._policy.window.label_delay))
        due, self._unlabelled = self._unlabelled.filter(is_due), self._unlabelled.filter(pc.invert(is_due))
        if due.num_rows:
            arrived = due.set_column(1, "timestamp", pa.array([now] * due.num_rows, pa.timestamp("us", tz="UTC")))
            table = arrived.append_column("outcome", pa.nulls(due.num_rows, pa.string()))
            key = f"labels-{self._batches}"
            self._house.ingest.accept_labels(self._policy.model, Batch(table), key, key, now)
        return int(due.num_rows)
