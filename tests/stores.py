"""Real stores for tests: single servers, clusters of three masters, sentinels; each dies with the tests."""

import os
import select
import shutil
import socket
import socketserver
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import redis

from service.storage import embedded, tether

KINDS = ("valkey", "redis", "cluster")
MASTERS = 3
_SLOTS = 16384
_PATIENCE_SECONDS = 60


@dataclass(frozen=True)
class Running:
    """A server on a loopback port."""

    port: int
    process: "subprocess.Popen[bytes]"

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"

    def ask(self, *words: object) -> Any:
        with redis.Redis(port=self.port, protocol=2, socket_timeout=5) as client:
            client.response_callbacks.clear()
            return client.execute_command(*words)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


@dataclass(frozen=True)
class RunningCluster:
    """Masters that share the slots evenly, in order."""

    nodes: tuple[Running, ...]

    @property
    def url(self) -> str:
        return "redis+cluster://" + ",".join(f"127.0.0.1:{node.port}" for node in self.nodes)

    def node_of(self, key: str) -> Running:
        slot = self.nodes[0].ask("CLUSTER", "KEYSLOT", key)
        return self.nodes[slot * len(self.nodes) // _SLOTS]


def program_of(kind: str) -> str:
    """The server program: Valkey of the embedded store, or the machine's Redis."""
    if kind != "redis":
        return str(embedded._program())
    program = shutil.which("redis-server")
    if program is None:
        # A second kind of store, which a new machine need not have; .ci/run installs it and fails without it.
        pytest.skip("there is no redis-server on this machine")
    return program


@contextmanager
def running(folder: Path, *options: object, kind: str = "valkey", port: int = 0) -> Iterator[Running]:
    """A server with an append-only file in this folder."""
    ours = ("--appendonly", "yes", "--save", "", "--dir", folder, "--repl-diskless-sync-delay", 0)
    with _started(folder, [program_of(kind)], (*ours, *options), port or free_port()) as server:
        yield server


@contextmanager
def sentinel(folder: Path, master: Running, *, kind: str = "valkey") -> Iterator[Running]:
    """A sentinel that watches a master under the name `shop`, and decides alone."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "sentinel.conf"
    file.write_text(
        f"sentinel monitor shop 127.0.0.1 {master.port} 1\n"
        "sentinel down-after-milliseconds shop 500\nsentinel failover-timeout shop 2000\n"
    )
    with _started(folder, [program_of(kind), str(file), "--sentinel"], (), free_port()) as server:
        yield server


@contextmanager
def cluster(folder: Path, *options: object, kind: str = "valkey") -> Iterator[RunningCluster]:
    """Three masters without replicas."""
    with ExitStack() as closing_all:
        buses = [free_port() for _ in range(MASTERS)]
        nodes = tuple(
            closing_all.enter_context(
                running(
                    folder / str(number),
                    *("--cluster-enabled", "yes", "--cluster-config-file", "nodes.conf", "--cluster-port", bus),
                    *("--cluster-node-timeout", 2000, *options),
                    kind=kind,
                )
            )
            for number, bus in enumerate(buses)
        )
        for number, node in enumerate(nodes):
            first, last = (-(-_SLOTS * each // MASTERS) for each in (number, number + 1))
            node.ask("CLUSTER", "ADDSLOTSRANGE", first, last - 1)
            node.ask("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
        for node, bus in zip(nodes[1:], buses[1:], strict=True):
            nodes[0].ask("CLUSTER", "MEET", "127.0.0.1", node.port, bus)
        for node in nodes:
            wait_until(lambda node=node: _is_whole(node), node.process)
        yield RunningCluster(nodes)


@contextmanager
def lossy_door(outside: int, inside: int, mark: bytes) -> Iterator[threading.Event]:
    """Leads from one port to another. While the event is not set, it loses the next answer to what holds the mark, and
    its connection with it, and sets the event.
    """
    lost = threading.Event()

    class Door(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with socket.create_connection(("127.0.0.1", inside)) as server:
                ends = {self.request: server, server: self.request}
                while True:
                    for end in select.select(list(ends), [], [])[0]:
                        data = end.recv(65536)
                        if end is self.request and mark in data and not lost.is_set():
                            lost.set()
                            server.sendall(data)
                            server.recv(65536)
                            return
                        if not data:
                            return
                        ends[end].sendall(data)

    with socketserver.ThreadingTCPServer(("127.0.0.1", outside), Door) as door:
        door.daemon_threads = True
        threading.Thread(target=door.serve_forever, args=(0.05,)).start()
        yield lost
        door.shutdown()


def wait_until(holds: Callable[[], bool], process: "subprocess.Popen[bytes] | None" = None) -> None:
    """Return when something has come about that nothing else would tell; the process must live so long."""
    until = time.monotonic() + _PATIENCE_SECONDS
    while True:
        assert process is None or process.poll() is None, "the server ended"
        try:
            if holds():
                return
        except redis.RedisError:
            pass
        assert time.monotonic() < until, "it does not come about"
        time.sleep(0.01)


def free_port() -> int:
    with closing(socket.create_server(("127.0.0.1", 0))) as door:
        return int(door.getsockname()[1])


@contextmanager
def _started(folder: Path, program: list[str], options: tuple[object, ...], port: int) -> Iterator[Running]:
    folder.mkdir(parents=True, exist_ok=True)
    # The tether ends it with the tests, however they end.
    command = [sys.executable, "-I", "-S", tether.__file__, str(os.getpid()), *program]
    command += ["--bind", "127.0.0.1", "--port", str(port), *map(str, options)]
    with (folder / "server.log").open("ab") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder, start_new_session=True)
    server = Running(port, process)
    try:
        wait_until(lambda: server.ask("PING") == b"PONG", process)
        yield server
    finally:
        server.kill()


def _is_whole(node: Running) -> bool:
    told = node.ask("CLUSTER", "INFO")
    return b"cluster_state:ok" in told and f"cluster_known_nodes:{MASTERS}".encode() in told
