"""A cluster: which server holds which keys, learnt from the servers, and followed while slots move.

Nothing is sent again that may have been done. The client library's cluster pipeline would: it repeats each command of a
connection that broke, whatever its retries are set to. What a server refused because the keys have moved was not done.
"""

import time
from collections.abc import Callable, Sequence
from threading import Lock
from typing import Any

from redis.crc import REDIS_CLUSTER_HASH_SLOTS, key_slot
from redis.exceptions import (
    AskError,
    ClusterDownError,
    ConnectionError,  # noqa: A004  redis' own
    MovedError,
    ReadOnlyError,
    ResponseError,
    TimeoutError,  # noqa: A004  redis' own
    TryAgainError,
)

from service.errors import StoreAway
from service.storage.server import Command, Server

_MOST_MOVES = 16
_MOVE_PAUSE_SECONDS = 0.05
_LEARN_SECONDS = 1.0
_Place = tuple[str, int]
_UNANSWERED = (ConnectionError, TimeoutError, OSError, StoreAway)


class Cluster:
    """The servers of a cluster. `make` gives a server of a host and a port; `seeds` are asked first."""

    def __init__(self, seeds: Sequence[_Place], make: Callable[[str, int], Server]) -> None:
        self._make = make
        self._seeds = tuple(seeds)
        self._servers: dict[_Place, Server] = {}
        self._slots: list[Server | None] = []
        self._learning = Lock()
        self._learnt_at = -_LEARN_SECONDS
        self._why = ""

    def everyone(self) -> list[Server]:
        """The servers that hold keys."""
        self._know()
        return list(dict.fromkeys(server for server in self._slots if server is not None))

    def of(self, key: str) -> Server:
        """The server that holds a key, as far as is known.

        Raises:
            StoreAway: none is known.
        """
        self._know()
        server = self._slots[key_slot(key.encode())]
        if server is None:
            self._learn()
            raise StoreAway("the store cannot serve now: no server of the cluster holds the keys that are needed")
        return server

    def follow(self, key: str, commands: Sequence[Command], *, patient: bool = False) -> list[Any]:
        """As `Server.ask`, of commands on keys of one slot, wherever it has moved to; the first one tells.

        Raises:
            ConnectionError, TimeoutError, OSError, StoreAway: see `Server.ask`.
        """
        server = self.of(key)
        leave: list[Command] = []
        for _ in range(_MOST_MOVES):
            try:
                answers = server.ask([*leave, *commands], patient=patient)[len(leave) :]
            except _UNANSWERED:
                self._learn(server)
                raise
            leave = []
            match answers[0]:
                case MovedError() as moved:
                    server = self._slots[moved.slot_id] = self._told(server, moved)
                    self._learn()
                case AskError() as elsewhere:
                    server, leave = self._told(server, elsewhere), [("ASKING",)]
                case TryAgainError():
                    time.sleep(_MOVE_PAUSE_SECONDS)  # its keys lie on two servers for a moment
                case ClusterDownError() | ReadOnlyError():
                    self._learn(server)
                    return answers
                case _:
                    return answers
        raise StoreAway(f"the store cannot serve now: after {_MOST_MOVES} tries the keys are still being moved")

    def each(self, keys: Sequence[str], commands: Sequence[Command]) -> list[Any]:
        """The answers to commands on one key each, sent at once to each server.

        Raises:
            ConnectionError, TimeoutError, OSError, StoreAway: see `Server.ask`.
        """
        shares: dict[Server, list[int]] = {}
        for place, key in enumerate(keys):
            shares.setdefault(self.of(key), []).append(place)
        answers: list[Any] = [None] * len(commands)
        for server, places in shares.items():
            try:
                found = server.ask([commands[place] for place in places])
            except _UNANSWERED:
                self._learn(server)
                raise
            for place, answer in zip(places, found, strict=True):
                answers[place] = answer
        for place, answer in enumerate(answers):
            if isinstance(answer, AskError | TryAgainError):
                answers[place] = self.follow(keys[place], [commands[place]])[0]
        return answers

    def close(self) -> None:
        """Close all connections."""
        for server in self._servers.values():
            server.close()

    def _know(self) -> None:
        if not self._slots:
            with self._learning:
                if not self._slots:
                    self._look()
        if not self._slots:
            seeds = ", ".join(f"{host}:{port}" for host, port in self._seeds)
            raise StoreAway(f"the store does not answer: no node of the cluster does ({seeds}): {self._why}")

    def _learn(self, doubtful: Server | None = None) -> None:
        """Look again who holds what, at most once a second; one thread does, the others go on."""
        if time.monotonic() - self._learnt_at >= _LEARN_SECONDS and self._learning.acquire(blocking=False):
            try:
                self._look(doubtful)
            finally:
                self._learning.release()

    def _look(self, doubtful: Server | None = None) -> None:
        # A node that is cut off from the others tells what was: the doubtful one is asked last.
        places = dict.fromkeys([*self._servers, *self._seeds])
        for place in sorted(places, key=lambda each: self._servers.get(each) is doubtful is not None):
            try:
                (found,) = self._at(*place).ask([("CLUSTER", "SLOTS")])
            except _UNANSWERED as error:
                self._why = str(error)
                continue
            if isinstance(found, ResponseError):
                raise StoreAway(f"{place[0]}:{place[1]} does not tell who holds which keys: {found}")
            self._take(found, place[0])
            break
        self._learnt_at = time.monotonic()

    def _take(self, ranges: list[Any], asked: str) -> None:
        slots: list[Server | None] = [None] * REDIS_CLUSTER_HASH_SLOTS
        for first, last, (host, port, *_), *_ in ranges:
            # A node that does not know its own name means the one under which it was asked.
            server = self._at(host.decode() if host else asked, int(port))
            slots[first : last + 1] = [server] * (last + 1 - first)
        held = set(slots)
        for place, server in list(self._servers.items()):
            if server not in held and server.is_shut:
                del self._servers[place]
                server.close()
        self._slots = slots

    def _told(self, by: Server, moved: AskError) -> Server:
        # Without a host its own is meant.
        own = next((place[0] for place, server in list(self._servers.items()) if server is by), "")
        return self._at(moved.host or own, moved.port)

    def _at(self, host: str, port: int) -> Server:
        server = self._servers.get((host, port))
        return server or self._servers.setdefault((host, port), self._make(host, port))
