"""Where the keys are: the one contract that a single server and a cluster keep."""

from collections.abc import Sequence
from typing import Any, Protocol

from service.storage.addresses import address_of
from service.storage.clients import connect_named, connect_url
from service.storage.cluster import Cluster
from service.storage.server import Command, Server


class Servers(Protocol):
    """The servers of a store."""

    def everyone(self) -> list[Server]:
        """The servers that hold keys."""

    def of(self, key: str) -> Server:
        """The server that holds a key."""

    def follow(self, key: str, commands: Sequence[Command], *, patient: bool = False) -> list[Any]:
        """As `Server.ask`, of commands on keys of one slot."""

    def each(self, keys: Sequence[str], commands: Sequence[Command]) -> list[Any]:
        """As `Server.ask`, of commands on one key each, of any slots."""

    def close(self) -> None:
        """Close all connections."""


class Single:
    """One server, or the primary that sentinels name, holds all keys."""

    def __init__(self, server: Server) -> None:
        self._server = server

    def everyone(self) -> list[Server]:
        """The one."""
        return [self._server]

    def of(self, key: str) -> Server:  # noqa: ARG002  all keys are there
        """The one."""
        return self._server

    def follow(self, key: str, commands: Sequence[Command], *, patient: bool = False) -> list[Any]:  # noqa: ARG002  as above
        """What it answers."""
        return self._server.ask(commands, patient=patient)

    def each(self, keys: Sequence[str], commands: Sequence[Command]) -> list[Any]:  # noqa: ARG002  as above
        """What it answers."""
        return self._server.ask(commands)

    def close(self) -> None:
        """Close all connections."""
        self._server.close()


def servers_at(text: str, answer_seconds: float) -> Servers:
    """The servers at an address; nothing is asked yet.

    Raises:
        ValueError: it is no address.
    """
    address = address_of(text)
    if address.kind == "server":
        return Single(Server(lambda seconds: connect_url(address.url, seconds), answer_seconds))
    if address.kind == "sentinel":
        return Single(Server(lambda seconds: connect_named(address, seconds), answer_seconds))

    def make(host: str, port: int) -> Server:
        return Server(lambda seconds: connect_url(address.url_of(host, port), seconds), answer_seconds)

    return Cluster(address.hosts, make)
