"""Roles as processes of their own on one store: work is spread, and what a dead process held moves to the others."""

import contextlib
import signal
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from stores import wait_until
from test_serve import counted, row, serving

from service.storage import keys
from service.storage.store import Store

PARTITIONS = 6
Process = subprocess.Popen[bytes]


class Crew:
    """Processes of the service on one empty store; all of them are ended with the test."""

    def __init__(self, folder: Path, url: str, stack: contextlib.ExitStack) -> None:
        self.store = stack.enter_context(contextlib.closing(Store(url)))
        self._folder, self._url, self._stack = folder, url, stack
        self._started = 0
        self.store.do("FLUSHALL")

    def begin(self, *roles: str) -> list[tuple[Process, httpx.Client]]:
        """Start a process of each role, at the same time."""
        numbers = range(self._started, self._started + len(roles))
        self._started += len(roles)
        with ThreadPoolExecutor() as pool:
            return list(pool.map(self._begin, roles, numbers))

    def _begin(self, role: str, number: int) -> tuple[Process, httpx.Client]:
        flags = ("--role", role, "--store", self._url)
        environment = {"TIDEGATE_PARTITIONS": str(PARTITIONS), "TIDEGATE_LEASE": "2s"}
        return self._stack.enter_context(serving(self._folder, *flags, log_name=f"{number}.log", **environment))

    def owner(self, slot: str) -> bytes:
        return self.store.do("HGET", keys.state(slot), "owner") or b""

    def spread(self) -> list[int]:
        """How many partitions each worker has, the fewest first; 0 for those that nobody has."""
        owners = Counter(self.owner(keys.slot(number)) for number in range(PARTITIONS))
        return [0] * owners.pop(b"", 0) + sorted(owners.values())


@pytest.fixture
def crew_on(tmp_path: Path) -> Iterator[Callable[[str], Crew]]:
    with contextlib.ExitStack() as stack:
        yield lambda url: Crew(tmp_path, url, stack)


def post(client: httpx.Client, first: int, batches: int) -> None:
    for number in range(first, first + batches):
        rows = [row(number * 10 + place) for place in range(10)]
        labels = [{"prediction_id": each["prediction_id"], "label": "fit"} for each in rows]
        for path, body in (("predictions", rows), ("labels", labels)):
            key = {"Idempotency-Key": f"{path}-{number}"}
            assert client.post(f"/v1/models/shop/{path}", json=body, headers=key).status_code == 202


def matched(client: httpx.Client) -> int:
    lines = client.get("/metrics").text.splitlines()
    found = [line for line in lines if line.startswith("tidegate_labels_total{") and 'end="matched"' in line]
    return int(float(found[0].split()[-1])) if found else 0


@pytest.mark.parametrize("kind", ["redis", "cluster"])
def test_partitions_and_the_label_join_move_when_workers_join_and_die(request, crew_on, kind):
    crew = crew_on(request.getfixturevalue(f"{kind}_url"))
    (_, client), (first, _) = crew.begin("api", "worker")
    post(client, 0, 10)
    wait_until(lambda: counted(client) == 100 and crew.spread() == [6])
    crew.begin("worker")
    wait_until(lambda: crew.spread() == [3, 3])
    post(client, 10, 10)
    wait_until(lambda: counted(client) == matched(client) == 200)

    joiner = crew.owner(keys.LABELS)
    first.send_signal(signal.SIGKILL)
    post(client, 20, 10)
    wait_until(lambda: counted(client) == matched(client) == 300 and crew.spread() == [6])
    assert crew.owner(keys.LABELS) != joiner
    if kind == "redis":  # once is enough for the time that a process takes to start
        crew.begin("worker")
        wait_until(lambda: crew.spread() == [3, 3])
        post(client, 30, 10)
        wait_until(lambda: counted(client) == matched(client) == 400)


def test_leadership_moves_when_the_leader_dies(crew_on, redis_url):
    crew = crew_on(redis_url)
    both = crew.begin("scheduler", "scheduler")

    def leading() -> list[bool]:
        return ["tidegate_is_leader 1.0" in client.get("/metrics").text for _, client in both]

    wait_until(lambda: any(leading()))
    before = leading()
    assert sorted(before) == [False, True]
    process, _ = both.pop(before.index(True))
    process.send_signal(signal.SIGKILL)
    wait_until(lambda: leading() == [True])
