"""Replay: a file of labelled rows through the whole loop, on a clock that follows the file.

The first rows train the first model and are its baseline. From then on every row is predicted by the champion of its
moment, posted, counted, labelled late, and whatever the policy decides is done: the same code as in production.
"""

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from policies.file.policy import Policy
from service.deciding.loop import Loop
from service.errors import ServiceError
from service.house import House, joiner_of, worker_of
from service.intake.bodies.wire import Batch
from service.ledger.records import DecisionRecord, Request, Retraining
from service.retraining.routing import serve_routed
from service.training.comparing import outcomes
from service.training.first_model import train_first
from service.training.registry import Registry

_log = logging.getLogger(__name__)
_EARLIEST, _WEEK = datetime(1970, 1, 1, tzinfo=UTC), timedelta(days=7)
ROWS_A_STEP = 20
"""Thin traffic is not evaluated more often than this many rows: between them nothing is new."""


class BadReplay(ServiceError):
    """The file and the options do not fit."""


@dataclass(frozen=True)
class Options:
    """`start` rows train the first model; labels of a `label_share` of the rows come `label_delay` rows late.

    `every` retrains by habit, each so many rows; 0: by policy; None: never.
    """

    start: int = 2_000
    label_share: float = 1.0
    label_delay: int = 100
    every: int | None = 0
    seed: int = 0


@dataclass
class Account:
    """What a replay did; `as_json` is the shape of `tidegate replay --json`."""

    rows: int
    scored: int = 0
    total: float = 0.0
    retrainings: list[dict[str, Any]] = field(default_factory=list)
    releases: list[dict[str, Any]] = field(default_factory=list)
    decisions: list[dict[str, Any]] = field(default_factory=list)
    faults: list[dict[str, Any]] = field(default_factory=list)

    @property
    def score(self) -> float:
        """Accuracy, or the mean absolute error of a regression."""
        return self.total / max(self.scored, 1)

    def as_json(self) -> dict[str, Any]:
        return {
            "rows": self.rows,
            "scored": self.scored,
            "accuracy": self.score,
            "retrainings": self.retrainings,
            "releases": self.releases,
            "decisions": self.decisions,
            "faults": self.faults,
        }


def _within_reach(rows: pa.Table) -> pa.Table:
    """The rows, later by whole weeks where they begin before 1970: the service takes none from then, and each keeps its
    hour and weekday.
    """
    times = rows.column("timestamp")
    first = pc.min(times).as_py()
    if first >= _EARLIEST:
        return rows
    weeks = -((first - _EARLIEST) // _WEEK)
    _log.warning("the file begins in %s: its rows are replayed %s weeks later, from 1970 on", first.year, weeks)
    moved = pc.add(times, pa.scalar(weeks * _WEEK, pa.duration("us")))
    return rows.set_column(rows.column_names.index("timestamp"), "timestamp", moved)


class FileClock:
    """A clock that says what it was last told."""

    def __init__(self) -> None:
        self.now = datetime(1970, 1, 1, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now


Progress = Callable[[int, Account], None]


class Replay:
    """One file through one house."""

    def __init__(
        self,
        house: House,
        clock: FileClock,
        policy: Policy,
        rows: pa.Table,
        options: Options,
        *,
        makes_reports: bool = False,
    ) -> None:
        if not 100 <= options.start < rows.num_rows:
            raise BadReplay(
                f"--start {options.start}: allowed are 100 to {rows.num_rows - 1}, one less than the file's rows"
            )
        if "label" not in rows.column_names:
            raise BadReplay("the file has no label column; name it with --label")
        rows = rows.filter(pc.is_valid(rows.column("label")))
        self._house, self._clock, self._policy, self._options = house, clock, policy, options
        self._rows = _within_reach(rows.sort_by("timestamp"))
        self._micros = pc.cast(self._rows.column("timestamp"), pa.int64()).to_numpy()
        share = np.random.default_rng(options.seed).random(rows.num_rows)
        self._labelled = share < options.label_share
        self._registry = Registry(house.settings.data_dir, house.files)
        self._loop = Loop(house, self._registry, can_retrain=options.every is not None, makes_reports=makes_reports)
        self.account = Account(rows.num_rows)
        self._open_faults: dict[str, dict[str, Any]] = {}

    def run(self, progress: Progress | None = None) -> Account:
        """The whole file, start to end."""
        start = self._options.start
        self._at(start - 1)
        train_first(self._house, self._registry, self._policy, self._rows.slice(0, start), self._clock())
        worker, joiner = worker_of(self._house), joiner_of(self._house)
        worker.acquire()
        sent = start
        for begin, end, now in self._steps():
            self._serve(begin, end)
            self._clock.now = now
            sent = self._send_labels(sent, end)
            worker.step()
            joiner.step(now)
            self._cycle(end)
            if progress:
                progress(end, self.account)
        joiner.release()
        worker.release()
        self._loop.reports.wait()
        return self.account

    def _steps(self) -> Iterator[tuple[int, int, datetime]]:
        """First row, row after the last, and the moment of each evaluation."""
        every = int(self._policy.evaluate.total_seconds() * 1e6)
        begin = self._options.start
        while begin < len(self._micros):
            tick = (self._micros[begin] // every + 1) * every
            end = int(np.searchsorted(self._micros, tick, side="left"))
            if end - begin < ROWS_A_STEP:
                end = min(begin + ROWS_A_STEP, len(self._micros))
                tick = (self._micros[end - 1] // every + 1) * every
            yield begin, end, datetime.fromtimestamp(tick / 1e6, UTC)
            begin = end

    def _serve(self, begin: int, end: int) -> None:
        """What the production system does: predict with the version that a row is assigned, and post."""
        rows, name = self._rows.slice(begin, end - begin), self._policy.model
        answers = serve_routed(self._house, self._registry, name, rows)
        self._at(end - 1)
        scores = outcomes(self._policy.task.kind, answers.column("prediction"), rows)
        self.account.scored += len(scores)
        self.account.total += float(scores.sum())
        columns = {"prediction_id": rows.column("prediction_id"), "timestamp": rows.column("timestamp")}
        columns |= {name: answers.column(name) for name in answers.column_names}
        columns |= {c: rows.column(c) for c in rows.column_names if c.startswith(("feature_", "tag_"))}
        self._house.ingest.accept_predictions(
            name, Batch(pa.table(columns)), f"rows-{begin}", str(begin), self._clock()
        )

    def _send_labels(self, sent: int, end: int) -> int:
        until = max(sent, end - self._options.label_delay)
        chosen = np.flatnonzero(self._labelled[sent:until]) + sent
        if len(chosen):
            rows = self._rows.take(pa.array(chosen))
            table = pa.table(
                {
                    "prediction_id": rows.column("prediction_id"),
                    "label": rows.column("label"),
                    "timestamp": pa.array([self._clock()] * len(chosen), pa.timestamp("us", "UTC")),
                    "outcome": pa.nulls(len(chosen), pa.string()),
                }
            )
            name = self._policy.model
            self._house.ingest.accept_labels(name, Batch(table), f"labels-{sent}", str(sent), self._clock())
        return until

    def _cycle(self, end: int) -> None:
        every = self._options.every
        name = self._policy.model
        if every and (end - self._options.start) // every > len(self.account.retrainings):
            self._house.ledger.put_request(name, Request("retrain", "replay", f"every {every} rows", self._clock()))
        turn = self._loop.step(name)
        if turn.decision:
            self._note_decision(end, turn.decision)
        if turn.retraining:
            self._note_retraining(end, turn.retraining)
        if turn.rollback:
            self.account.releases.append({"at_row": end, "version": turn.rollback.version, "kind": "rollback"})
        self._note_faults(end)

    def _note_decision(self, end: int, decision: DecisionRecord) -> None:
        met = sorted({r["code"] for r in decision.reasons if r["met"]})
        for segment in decision.triggers or ("all",):
            said = {"at_row": end, "segment": segment, "action": decision.action, "reasons": met}
            self.account.decisions.append(said)

    def _note_retraining(self, end: int, retraining: Retraining) -> None:
        self.account.retrainings.append(
            {
                "at_row": end,
                "reasons": list(retraining.reasons),
                "segments": list(retraining.segments),
                "change_started": retraining.change_started and retraining.change_started.isoformat(),
                "labelled_rows": retraining.labelled_rows,
                "outcome": retraining.state,
                "note": retraining.note,
            }
        )
        if retraining.state == "released":
            self.account.releases.append({"at_row": end, "version": retraining.version, "kind": "release"})

    def _note_faults(self, end: int) -> None:
        now = set(self._house.ledger.evaluation(self._policy.model).faults)
        for name in now - self._open_faults.keys():
            segment, _, rest = name.partition(": ")
            column, _, kind = rest.rpartition(" ")
            fault = {"at_row": end, "until_row": None, "segment": segment, "column": column, "kind": kind}
            self._open_faults[name] = fault
            self.account.faults.append(fault)
        for name in self._open_faults.keys() - now:
            self._open_faults.pop(name)["until_row"] = end

    def _at(self, row: int) -> None:
        self._clock.now = datetime.fromtimestamp(self._micros[row] / 1e6, UTC) + timedelta(microseconds=1)
