"""A service of real processes on a store of its own, what it uses of the processor and of memory, and its rows.

The features of a row are drawn once for each body; its ids are new with every request (see `sender`).
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import numpy as np
import pyarrow as pa
from sender import MARK, NOTE, Job

from policies.file.parse import parse
from service.intake import counts
from service.intake.log.log import Log
from service.ledger.ledger import Ledger
from service.ledger.records import Release
from service.settings import Durability
from service.storage import keys
from service.storage.embedded import Embedded
from service.storage.store import Store
from service.training.references import baseline_of, keep_baseline

MODEL = "bench"
PATH = f"/v1/models/{MODEL}/predictions"
NUMBERS, CATEGORIES, SEGMENTS = 16, 4, 10
_POLICY = f"model: {MODEL}\ntask: {{kind: classification, target: class}}\nsegments: [[segment]]\n"
_HERE = Path(__file__).parent
_TICKS = os.sysconf("SC_CLK_TCK")
_STARTS_WITHIN_SECONDS = 60
_DRAINS_WITHIN_SECONDS = 120


@dataclass(frozen=True)
class Service:
    """One store process, one `serve --role api`, one `serve --role worker`."""

    pids: Mapping[str, int]
    port: int
    store: Store
    log: Log

    def cpu_seconds(self) -> dict[str, float]:
        """What each process has used of the processor since it began, in user and system mode."""
        return {name: cpu_seconds(pid) for name, pid in self.pids.items()}

    def forget_peaks(self) -> None:
        """Begin `peak_bytes` anew."""
        for pid in self.pids.values():
            Path(f"/proc/{pid}/clear_refs").write_text("5")

    def peak_bytes(self) -> dict[str, int]:
        """The most that each process has held of memory."""
        return {name: _peak(pid) for name, pid in self.pids.items()}

    def stored_bytes(self) -> int:
        """What the store says that its data takes."""
        told = self.store.do("INFO", "memory")
        return int(next(line.split(b":")[1] for line in told.splitlines() if line.startswith(b"used_memory_dataset:")))

    def counted(self) -> int:
        """Rows that were folded."""
        return counts.read(self.store, self.log, datetime.now(UTC)).predictions[MODEL]

    def wait_until_counted(self) -> float:
        """Seconds until every row of the log was folded and the label join had passed it."""
        begun = time.perf_counter()
        while not self._is_settled():
            if time.perf_counter() - begun > _DRAINS_WITHIN_SECONDS:
                raise TimeoutError("the worker did not drain the log")
            time.sleep(0.05)
        return time.perf_counter() - begun

    def _is_settled(self) -> bool:
        slots = [keys.slot(partition) for partition in range(self.log.partitions)]
        found = self.store.do_all(
            [("HMGET", keys.state(slot), "appended", "folded", "position") for slot in slots]
            + [("HGET", keys.state(keys.LABELS), f"position:{n}") for n in range(len(slots))]
        )
        states, joined = found[: len(slots)], found[len(slots) :]
        return all(
            appended == folded and position == passed
            for (appended, folded, position), passed in zip(states, joined, strict=True)
        )


@contextmanager
def serving(durability: str = "everysec", *, bare: bool = False, **settings: str) -> Iterator[Service]:
    """A service on a folder that is gone afterwards. `settings` as in TIDEGATE_<NAME>; `bare`: see `bare.py`."""
    with ExitStack() as closing:
        folder = Path(closing.enter_context(tempfile.TemporaryDirectory(prefix="tidegate-bench-")))
        (folder / "policies.d").mkdir()
        (folder / "policies.d" / "bench.yaml").write_text(_POLICY)
        server = closing.enter_context(Embedded(folder, Durability(durability)))
        assert server.pid is not None  # noqa: S101  it has just started
        store = Store(server.url)
        closing.callback(store.close)
        _give_baseline(store, folder)
        environment = {f"TIDEGATE_{name.upper()}": value for name, value in settings.items()}
        environment |= {"TIDEGATE_STORE": server.url, "TIDEGATE_DATA_DIR": str(folder), "TIDEGATE_PORT": "0"}
        environment |= {"TIDEGATE_POLICIES": str(folder / "policies.d"), "TIDEGATE_DURABILITY": durability}
        tidegate = ["-m", "service.cli", "serve", "--role"]
        programs = {"api": [str(_HERE / "bare.py")] if bare else [*tidegate, "api"], "worker": [*tidegate, "worker"]}
        started = {
            role: closing.enter_context(_process(program, folder / f"{role}.log", environment))
            for role, program in programs.items()
        }
        pids = {role: process.pid for role, process in started.items()} | {"store": server.pid}
        ports = {role: _port(process, folder / f"{role}.log") for role, process in started.items()}
        yield Service(pids, ports["api"], store, Log(store, int(settings.get("partitions", "4"))))


def send(templates: list[bytes], port: int, **job: float) -> np.ndarray:
    """The notes of a sender that has ended."""
    with tempfile.TemporaryDirectory(prefix="tidegate-send-") as folder:
        notes, said = Path(folder) / "notes.npy", Path(folder) / "job"
        said.write_bytes(msgspec.msgpack.encode(Job(port, templates, str(notes), **job)))
        subprocess.run([sys.executable, str(_HERE / "sender.py"), str(said)], check=True)
        found = np.load(notes)
    assert found.dtype == NOTE  # noqa: S101  our own file
    return found


def milliseconds(notes: np.ndarray, quantile: float) -> float:
    """A quantile of the delays."""
    return float(np.quantile(notes["seconds"], quantile)) * 1000


def cpu_seconds(pid: int) -> float:
    """User and system time of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def table_of(rng: np.random.Generator, rows: int, now: datetime | None = None) -> pa.Table:
    """Predictions over the last hour: 16 numbers, 4 categories, a segment."""
    until = int((now or datetime.now(UTC)).timestamp())
    seconds = np.sort(rng.integers(until - 3600, until, rows))
    return pa.table(
        {
            "prediction_id": [f"{MARK.decode()}{row:06}" for row in range(rows)],
            "timestamp": pa.array(seconds * 1_000_000, pa.timestamp("us", "UTC")),
            "model_version": ["1"] * rows,
            "prediction": rng.choice(["fit", "returns", "shipping"], rows).tolist(),
            "confidence": rng.uniform(0.3, 1, rows).round(4),
            **{f"feature_x{i}": rng.normal(size=rows).round(6) for i in range(NUMBERS)},
            **{f"feature_c{i}": rng.choice(["web", "app", "shop"], rows).tolist() for i in range(CATEGORIES)},
            "tag_segment": [f"s{i}" for i in rng.integers(0, SEGMENTS, rows)],
        }
    )


def rows_of(table: pa.Table) -> list[bytes]:
    """Each row as JSON, as a sender writes it."""
    rows = []
    for row in table.to_pylist():
        grouped = {"features": "feature_", "tags": "tag_"}
        parts = {
            group: {name.removeprefix(start): value for name, value in row.items() if name.startswith(start)}
            for group, start in grouped.items()
        }
        plain = {name: value for name, value in row.items() if not name.startswith(tuple(grouped.values()))}
        plain["timestamp"] = plain["timestamp"].strftime("%Y-%m-%dT%H:%M:%SZ")
        rows.append(json.dumps(plain | parts, separators=(",", ":")).encode())
    return rows


def _give_baseline(store: Store, folder: Path) -> None:
    ledger, now = Ledger(store), datetime.now(UTC)
    rows = table_of(np.random.default_rng(99), 5_000, now - timedelta(hours=5))
    baseline = baseline_of(parse(_POLICY, "bench.yaml"), "1", rows)
    keep_baseline(ledger, folder, baseline, rows)
    ledger.move_champion(Release(MODEL, "1", "", now, "first", "the start"))


@contextmanager
def _process(program: list[str], file: Path, environment: Mapping[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    with file.open("wb") as log:
        child = subprocess.Popen(
            [sys.executable, *program],
            stdout=log,
            stderr=log,
            env={**os.environ, **environment, "PYTHONPATH": str(_HERE.parent)},
        )
    try:
        yield child
    finally:
        child.terminate()
        try:
            child.wait(10)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


def _port(child: subprocess.Popen[bytes], log: Path) -> int:
    until = time.monotonic() + _STARTS_WITHIN_SECONDS
    while time.monotonic() < until and child.poll() is None:
        for line in log.read_text().splitlines():
            if "Uvicorn running on " in line:
                return int(line.split("Uvicorn running on ")[1].split()[0].rpartition(":")[2])
        time.sleep(0.05)
    raise ChildProcessError(log.read_text())


def _peak(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))
