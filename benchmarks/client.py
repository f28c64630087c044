"""What logging costs a service that predicts: one call, and its requests while Tidegate works, hangs, and is away.

The service is a real process of its own, as is Tidegate. A request is some work of about a millisecond and one `log`
with 20 features; each run is at the same pace, so that the machine is not busy with the benchmark itself. What is shown
of a request is the time of its `log`, and of all of it beside the same request without one, alternating in one run.

Run: python benchmarks/client.py
"""

import json
import logging
import logging.handlers
import os
import queue
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import numpy as np
from machine import described

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "client"))

import tidegate_client  # noqa: E402  from this checkout

CALLS, LOOPS, REQUESTS, PACE_SECONDS, SEED = 2_000, 15, 6_000, 0.002, 0
FEATURES = {f"x{place}": place * 0.37 for place in range(19)} | {"channel": "web"}
SCORES = {"fit": 0.7, "returns": 0.2, "shipping": 0.1}
POLICY = "model: shop\ntask: {kind: classification, target: intent}\nsegments: [[intent]]\n"


def main() -> None:
    print(described())
    print(f"A row has 20 features and 3 scores. Seed {SEED}\n")
    logging.getLogger("tidegate_client").setLevel(logging.ERROR)  # that nobody answers is meant here
    with tempfile.TemporaryDirectory() as folder:
        _calls(Path(folder))
        print(
            f"\n{REQUESTS:,} requests, one every {PACE_SECONDS * 1e3:g} ms, every other one with a row\n"
            f"  {'':<31} {'log':^31}   {'request, p99':^19}\n"
            f"  {'Tidegate':<31} {'median':>9} {'p99':>9} {'most':>9}   {'without':>9} {'with':>9}   rows"
        )
        with _serving(Path(folder)) as url:
            _requests("works", url, Path(folder))
        with _hanging() as url:
            _requests("hangs", url, Path(folder))
        _requests("is away", "http://127.0.0.1:9", Path(folder))
        _requests("is away, no spool", "http://127.0.0.1:9", None)


def _calls(folder: Path) -> None:
    """The call alone: nothing is packed meanwhile, as a batch is due after a minute."""
    client = tidegate_client.connect(
        "http://127.0.0.1:9", "shop", spool=folder / "calls", batch_seconds=60, batch_rows=10**6, queue_rows=10**6,
        exit_seconds=0,
    )  # fmt: skip
    client.start()
    usual = logging.getLogger("usual")
    usual.addHandler(logging.handlers.QueueHandler(queue.SimpleQueue()))
    usual.setLevel(logging.INFO)
    usual.propagate = False
    works: dict[str, Callable[[], object]] = {
        "copies of its two mappings": lambda: (dict(FEATURES), dict(SCORES)),
        "logging.info to a QueueHandler": lambda: usual.info("predicted %s", "fit"),
        "log": lambda: client.log("b7", "fit", features=FEATURES, scores=SCORES),
        "label": lambda: client.label("b7", "fit"),
    }
    seconds: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(LOOPS):
        for name, work in works.items():
            begun = time.perf_counter()
            for _ in range(CALLS):
                work()
            seconds[name].append((time.perf_counter() - begun) / CALLS)
        client.flush(0)  # the queue is as short for the next loop
    print(f"One call, medians of {LOOPS} loops of {CALLS:,}")
    for name, taken in seconds.items():
        print(f"  {name:<31} {np.median(taken) * 1e6:7.2f} µs")
    client.close()


def _requests(name: str, url: str, folder: Path | None) -> None:
    """One line of the table: a service in a process of its own."""
    spool = "" if folder is None else str(folder / name.replace(" ", "-"))
    command = [sys.executable, __file__, "service", url, spool]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    told = json.loads(done.stdout)
    logs, without, with_row = (np.array(told[key]) * 1e6 for key in ("log", "without", "with"))
    shown = [
        np.median(logs),
        np.percentile(logs, 99),
        logs.max(),
        np.percentile(without, 99),
        np.percentile(with_row, 99),
    ]
    first, second = (" ".join(f"{value:6.0f} µs" for value in part) for part in (shown[:3], shown[3:]))
    print(f"  {name:<31} {first}   {second}   {told['counts']}")


def _service(url: str, spool: str) -> None:
    """The process that predicts; prints its times."""
    client = tidegate_client.connect(url, "shop", spool=spool or False, exit_seconds=0)
    client.start()
    times: dict[str, list[float]] = {"log": [], "without": [], "with": []}
    table = np.random.default_rng(SEED).normal(size=(120, 120))
    for number in range(REQUESTS):
        begun = time.perf_counter()
        _predict(table)
        if number % 2:
            before = time.perf_counter()
            client.log(f"b{number}", "fit", features=FEATURES, scores=SCORES)
            times["log"].append(time.perf_counter() - before)
        times["with" if number % 2 else "without"].append(time.perf_counter() - begun)
        time.sleep(max(0.0, PACE_SECONDS - (time.perf_counter() - begun)))
    client.flush(0.5)
    counts = client.counts()
    told = f"{counts.accepted:,} accepted, {counts.waiting:,} wait, {counts.dropped:,} dropped"
    print(json.dumps({**times, "counts": told}))


def _predict(table: np.ndarray) -> float:  # type: ignore[type-arg]
    """About a millisecond of work that holds the interpreter, as most services' own code does."""
    total = 0.0
    for row in table[:40]:
        total += sum(row.tolist())
    return total


@contextmanager
def _serving(folder: Path) -> Iterator[str]:
    policies = folder / "policies.d"
    policies.mkdir()
    (policies / "shop.yaml").write_text(POLICY)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "service.cli", "serve", "--port", str(port), "--data-dir", str(folder / "data")]
    with (folder / "log").open("wb") as log:
        child = subprocess.Popen(
            [*command, "--policies", str(policies)], cwd=ROOT, stdout=log, stderr=log, env={**os.environ}
        )
    url = f"http://127.0.0.1:{port}"
    try:
        while child.poll() is None:
            try:
                if httpx.get(f"{url}/readyz").status_code == 200:
                    break
            except httpx.TransportError:
                time.sleep(0.1)
        yield url
    finally:
        child.send_signal(signal.SIGTERM)
        child.wait()


@contextmanager
def _hanging() -> Iterator[str]:
    """A server that takes every connection and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        held: list[socket.socket] = []

        def take() -> None:
            while True:
                try:
                    held.append(listener.accept()[0])
                except OSError:
                    return

        threading.Thread(target=take, daemon=True).start()
        yield "http://{}:{}".format(*listener.getsockname())
        listener.shutdown(socket.SHUT_RDWR)


if __name__ == "__main__":
    if sys.argv[1:2] == ["service"]:
        _service(sys.argv[2], sys.argv[3])
    else:
        main()
