"""Demo console: the pages of the house that was played in, after the story, until Ctrl-C."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
from rich.console import Console

from service.house import House
from service.serve import GRACE_SECONDS, OpenToAll
from service.web.api import create_app
from service.web.auth import is_loopback


def check_host(host: str) -> None:
    """Raises OpenToAll for an address beyond this machine: the demo has no access keys."""
    if not is_loopback(host):
        raise OpenToAll(host)


@contextmanager
def listening(host: str, port: int, *, wanted: bool) -> Iterator[socket.socket | None]:
    """Listens from the start, so that every link that is told works; on any free port if this one is taken."""
    if not wanted:
        yield None
        return
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family)
    except OSError:
        listener = socket.create_server((host, 0), family=family)
    with listener:
        yield listener


def address_of(listener: socket.socket) -> str:
    """Where a browser finds it."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def serve_console(console: Console, house: House, listener: socket.socket) -> None:
    """Serve until Ctrl-C or SIGTERM."""
    app = create_app(house)
    config = uvicorn.Config(app, log_config=None, access_log=False, timeout_graceful_shutdown=GRACE_SECONDS)
    console.print(f"\n  The console: {address_of(listener)}/   (Ctrl-C ends)", style="bold", highlight=False)
    console.print("  It shows the end of the story, where the clock stands. For traffic of your own: tidegate serve")
    try:
        uvicorn.Server(config).run(sockets=[listener])
    except KeyboardInterrupt:
        console.print("\n  The end.", highlight=False)
