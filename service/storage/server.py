"""One server of the store, or the one that others name: its connections, and whether it answers."""

from collections.abc import Sequence
from typing import Any

from redis.exceptions import ResponseError, TimeoutError  # noqa: A004  redis' own

from service.storage.clients import Client, Connect
from service.storage.gate import Gate

Word = bytes | str | int | float
Command = Sequence[Word]

# A request must be answered soon, also with no; a worker's commit may be large, and its disk slow.
ANSWER_SECONDS = 2.0
_WORK_SECONDS = 10.0
_PROBE_SECONDS = 1.0


class Server:
    """Two pools of connections: for what must be answered soon, and for what may take its time."""

    def __init__(self, connect: Connect, answer_seconds: float = ANSWER_SECONDS) -> None:
        self._connect = connect
        self._quick, self._patient = connect(answer_seconds), connect(_WORK_SECONDS)
        self._gate = Gate(self._ping)

    def ask(self, commands: Sequence[Command], *, patient: bool = False) -> list[Any]:
        """The answers to commands sent at once over one connection; not one transaction.

        What the server refuses stands in the place of its answer, as an error; the other commands are done.

        Raises:
            ConnectionError, TimeoutError, OSError: some of the commands may be done.
            StoreAway: the server did not answer others; nothing was sent.
        """
        self._gate.check()
        try:
            return _send(self._patient if patient else self._quick, commands)
        except TimeoutError as error:
            self._gate.shut(str(error))
            raise

    @property
    def is_shut(self) -> bool:
        """Whether it is known not to answer."""
        return self._gate.is_shut

    def close(self) -> None:
        """Close all connections."""
        self._gate.close()
        self._quick.close()
        self._patient.close()

    def _ping(self) -> None:
        client = self._connect(_PROBE_SECONDS)
        try:
            client.execute_command("PING")
        finally:
            client.close()


def _send(client: Client, commands: Sequence[Command]) -> list[Any]:
    if len(commands) == 1:
        try:
            return [client.execute_command(*commands[0])]
        except ResponseError as error:
            return [error]
    pipeline = client.pipeline(transaction=False)
    for words in commands:
        pipeline.execute_command(*words)
    return list(pipeline.execute(raise_on_error=False))
