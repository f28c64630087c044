"""A whole house on the tests' store, its HTTP surface, and a shop model with a baseline, for tests of what is shown."""

import asyncio
import atexit
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import httpx
import pyarrow as pa
import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send
from streams import START, predictions

from monitors.baseline.baselines import Baseline
from service.deciding.cycle import Cycle
from service.house import House, joiner_of, open_house, worker_of
from service.intake import counts
from service.intake.bodies.wire import Batch
from service.ledger.records import Release
from service.settings import Settings
from service.storage.embedded import Embedded
from service.storage.store import Store
from service.training.references import baseline_of, keep_baseline
from service.web.api import create_app

NOON = datetime.fromtimestamp(START, UTC) + timedelta(days=2, hours=12)
POLICY = """
model: shop
owner: ops@shop.example
task: {kind: classification, target: intent}
segments: [[intent], [group]]
columns: {group: tag}
window: {slice: 1h, lateness: 0s}
retrain: {budget: {count: 2, per: 30d}}
"""
HOSTILE = "<script>alert(1)</script>"
ROW = {"prediction_id": "p-1", "prediction": "fit", "features": {"x1": 0.5, "channel": "web"}, "tags": {"group": "a"}}


@contextmanager
def open_shop(server: Embedded, folder: Path, policy: str = POLICY, **settings: Any) -> Iterator[House]:
    """An empty house whose policy folder holds this policy; its clock stands at `NOON`."""
    policies = folder / "policies.d"
    policies.mkdir(exist_ok=True)
    if policy:
        (policies / "shop.yaml").write_text(policy)
    chosen = Settings(store=server.url, data_dir=folder, policies=policies, partitions=2)
    with closing(Store(server.url)) as store:
        store.do("FLUSHALL")
    with open_house(replace(chosen, **settings), lambda: NOON) as house:
        yield house


@contextmanager
def client_of(house: House, **options: Any) -> Iterator[httpx.Client]:
    """Requests to a real server in front of the house."""
    front = _front()
    front.app = create_app(house, **options)
    with httpx.Client(base_url=front.address) as client:
        yield client


@contextmanager
def serve(app: ASGIApp) -> Iterator[tuple[str, int]]:
    """The application behind a real server of its own on loopback; gives its address."""
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, lifespan="off", timeout_graceful_shutdown=1))
    thread = threading.Thread(target=lambda: asyncio.run(server.serve(sockets=[listener])), daemon=True)
    thread.start()
    try:
        yield listener.getsockname()
    finally:
        server.should_exit = True
        thread.join()
        listener.close()


class Front:
    """A server that stays while applications change behind it: stopping one takes longer than most tests."""

    def __init__(self, stack: ExitStack) -> None:
        self.app: ASGIApp | None = None
        self.address = "http://{}:{}".format(*stack.enter_context(serve(self)))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        assert self.app is not None
        await self.app(scope, receive, send)


@cache
def _front() -> Front:
    stack = ExitStack()
    atexit.register(stack.close)
    return Front(stack)


def with_group(table: pa.Table, value: str, share: int = 5) -> pa.Table:
    """The table with every `share`-th row in another group."""
    groups = [value if i % share == 0 else g for i, g in enumerate(table.column("tag_group").to_pylist())]
    return table.set_column(table.column_names.index("tag_group"), "tag_group", pa.array(groups))


def give_baseline(house: House, version: str = "1", rows: pa.Table | None = None) -> Baseline:
    """A baseline of the shop, whose version becomes the champion where there is none."""
    policy = house.policies.policy("shop")
    assert policy is not None
    rows = predictions(3_000, seed=99, start=START - 180_000) if rows is None else rows
    baseline = baseline_of(policy, version, rows)
    keep_baseline(house.ledger, house.files, baseline, rows)
    if not house.ledger.champion("shop"):
        house.ledger.move_champion(Release("shop", version, "", NOON - timedelta(days=3), "first", "the start"))
    return baseline


def ingest(house: House, table: pa.Table) -> None:
    """Take a batch with its labels the way a body goes, then fold and join it."""
    labels = table.select(["prediction_id", "label", "timestamp"]).append_column(
        "outcome", pa.nulls(table.num_rows, pa.string())
    )
    house.ingest.accept_predictions("shop", Batch(table.drop_columns(["label"])), None, "body", NOON)
    house.ingest.accept_labels("shop", Batch(labels), None, "body", NOON)
    fold(house)


def fold(house: House) -> None:
    worker, joiner = worker_of(house), joiner_of(house)
    worker.acquire()
    worker.step()
    joiner.step(NOON)
    joiner.step(NOON)
    worker.step()
    joiner.release()
    worker.release()


def evaluate(house: House, table: pa.Table | None = None) -> None:
    """A baseline where there is none, two days of rows, one evaluation."""
    if not house.ledger.baselines("shop"):
        give_baseline(house)
    ingest(house, predictions(2_800, seed=1) if table is None else table)
    Cycle(house).step("shop")


def counted(house: House) -> int:
    """Predictions of the shop that were folded."""
    fold(house)
    return counts.read(house.store, house.log, NOON).predictions["shop"]
