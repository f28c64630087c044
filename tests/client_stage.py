"""Clients of a shop whose server misbehaves as a script says, for tests of the client."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import chain, repeat
from pathlib import Path
from typing import Any

import tidegate_client
from houses import NOON, _front, client_of, counted
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from tidegate_client import Client

from service.house import House

TURNS = ("fine", "lost", "away", "busy", "garbage", "moved", "proxy", "slow-page")


class Unreliable:
    """The application, of which each request gets the next turn of a script, and then fine ones for ever."""

    def __init__(
        self, app: ASGIApp, turns: list[str], *, forgets_keys: bool = False, lets_down_first: bool = False
    ) -> None:
        self._app = app
        self._turns = chain(turns, repeat("fine"))
        self._forgets_keys = forgets_keys
        self.first: str | None = None if lets_down_first else ""
        """The key of the batch that is let down for ever; None until one comes."""
        self.seen: list[tuple[str, str]] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "POST":
            await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        key = headers[b"idempotency-key"].decode()
        self.first = key if self.first is None else self.first
        turn = "proxy" if key == self.first else next(self._turns)
        self.seen.append((turn, key))
        if self._forgets_keys:
            scope["headers"] = [each for each in scope["headers"] if each[0] != b"idempotency-key"]
        if turn == "fine":
            await self._app(scope, receive, send)
            return
        if turn == "lost":
            await self._app(scope, receive, _nowhere)
        await _ANSWERS[turn](scope, receive, send)


async def _nowhere(message: Message) -> None:
    del message


_ANSWERS: dict[str, Response] = {
    "lost": Response("the answer was lost", 502),
    "away": Response("", 503),
    "busy": Response("", 429, {"Retry-After": "0"}),
    "garbage": Response(b'{"accepted": "\xff', 202),
    "moved": Response("", 302, {"Location": "http://127.0.0.1:9/elsewhere"}),
    "proxy": Response("<h1>400 Bad Request</h1>", 400, media_type="text/html"),
    "slow-page": Response("<h1>Be patient</h1>", 200, media_type="text/html"),
}


class Shop:
    """A house and the address of its server."""

    def __init__(self, house: House, address: str, folder: Path) -> None:
        self.house, self.address, self.folder = house, address, folder

    def connect(self, **options: Any) -> Client:
        """A client that is quick to pack and to try again, and raises what it is given wrongly."""
        quick = {"batch_seconds": 0.02, "retry_seconds": 0.01, "spool": self.folder / "spool", "strict": True}
        return tidegate_client.connect(self.address, "shop", **{**quick, **options})

    def misbehave(self, *turns: str, **faults: bool) -> Unreliable:
        """Put a script in front of the application."""
        front = _front()
        assert front.app is not None
        front.app = Unreliable(front.app, list(turns), **faults)
        return front.app

    def counted(self) -> int:
        """Predictions that were folded."""
        return counted(self.house)


@contextmanager
def shop_on(house: House, folder: Path) -> Iterator[Shop]:
    """A real server in front of the house."""
    with client_of(house) as http:
        yield Shop(house, str(http.base_url), folder)


def log(client: Client, numbers: range) -> None:
    """One prediction a number, of the time at which the house's clock stands."""
    for number in numbers:
        client.log(f"p-{number}", "fit", features={"x": number / 7, "channel": "web"}, timestamp=NOON)


@contextmanager
def talking(speak: Callable[[socket.socket], None]) -> Iterator[str]:
    """A server that says whatever `speak` makes it say to each connection; gives its address."""
    listener = socket.create_server(("127.0.0.1", 0))
    listener.settimeout(0.1)
    is_over = threading.Event()

    def serve() -> None:
        while not is_over.is_set():
            try:
                connection, _ = listener.accept()
            except TimeoutError:
                continue
            with connection:
                connection.settimeout(5)
                try:
                    speak(connection)
                except OSError:
                    continue  # the client has hung up

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield "http://{}:{}".format(*listener.getsockname())
    finally:
        is_over.set()
        thread.join()
        listener.close()
