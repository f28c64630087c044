"""The connection to Redis or Valkey: retries off, scripts loaded from lua/, errors named."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.exceptions import (
    AuthenticationError,
    BusyLoadingError,
    ConnectionError,  # noqa: A004  redis' own
    NoScriptError,
    OutOfMemoryError,
    ReadOnlyError,
    ResponseError,
    TimeoutError,  # noqa: A004  redis' own
)
from redis.retry import Retry

from service.errors import NotDurable, StoreAway, StoreFull
from service.settings import Durability
from service.storage import keys

Word = bytes | str | int | float
_LUA = Path(__file__).with_name("lua")
_WAIT_MILLISECONDS = 2000


class Store:
    """A pool of connections to one server. Answers come as bytes; every failure is a StoreError.

    `durability` says what `run_durably` waits for.
    """

    def __init__(self, url: str, durability: Durability | None = None, *, timeout_seconds: float = 10.0) -> None:
        self.durability = durability or Durability()
        # Its default of retrying would append and count twice what is not idempotent. RESP2: the answers of scripts
        # are the same on every server version.
        self.client: Any = redis.Redis.from_url(
            url,
            protocol=2,
            retry=Retry(NoBackoff(), 0),
            socket_timeout=timeout_seconds,
            socket_connect_timeout=min(2.0, timeout_seconds),
        )
        # Plain answers, the same through a script, a pipeline and a single command.
        self.client.response_callbacks.clear()
        self._scripts: dict[str, tuple[str, str]] = {}

    def close(self) -> None:
        """Close all connections."""
        self.client.close()

    def do(self, *words: Word) -> Any:  # noqa: ANN401  bytes, a number, None or lists of them, by command
        """The answer to one command."""
        with naming_errors():
            return self.client.execute_command(*words)

    def do_all(self, commands: Sequence[Sequence[Word]]) -> list[Any]:
        """The answers to several commands, sent at once; they are not one transaction."""
        if not commands:
            return []
        with naming_errors():
            pipeline = self.client.pipeline(transaction=False)
            for words in commands:
                pipeline.execute_command(*words)
            return list(pipeline.execute())

    def run(self, script: str, slot_keys: Sequence[str], words: Sequence[Word] = ()) -> Any:  # noqa: ANN401  as `do`
        """The answer of lua/<script>.lua, one atomic step on the keys of one slot."""
        text, digest = self._script(script)
        with naming_errors():
            try:
                return self.client.execute_command("EVALSHA", digest, len(slot_keys), *slot_keys, *words)
            except NoScriptError:
                return self.client.execute_command("EVAL", text, len(slot_keys), *slot_keys, *words)

    def run_durably(self, script: str, slot_keys: Sequence[str], words: Sequence[Word] = ()) -> Any:  # noqa: ANN401  as `do`
        """As `run`, and only answers when as many replicas as `durability` asks for have it.

        Raises:
            NotDurable: too few confirmed in time; what the script wrote stays written.
        """
        wanted = self.durability.replicas
        if not wanted:
            return self.run(script, slot_keys, words)
        text, _ = self._script(script)
        with naming_errors():
            # WAIT counts for the writes of its own connection: both go through one pipeline.
            pipeline = self.client.pipeline(transaction=False)
            pipeline.execute_command("EVAL", text, len(slot_keys), *slot_keys, *words)
            pipeline.execute_command("WAIT", wanted, _WAIT_MILLISECONDS)
            answer, confirmed = pipeline.execute()
        if confirmed < wanted:
            raise NotDurable(int(confirmed), wanted)
        return answer

    def ping(self) -> None:
        """Raises StoreAway where the store does not answer."""
        self.do("PING")

    def check_writable(self) -> None:
        """Raises StoreAway or StoreFull where the store cannot be written."""
        self.do("SET", keys.key("ready", "probe"), 1)

    def _script(self, name: str) -> tuple[str, str]:
        known = self._scripts.get(name)
        if known is None:
            text = (_LUA / f"{name}.lua").read_text()
            with naming_errors():
                digest = self.client.execute_command("SCRIPT LOAD", text)
            known = self._scripts[name] = (text, digest.decode() if isinstance(digest, bytes) else digest)
        return known


@contextmanager
def naming_errors() -> Iterator[None]:
    """Turns what the client library raises into StoreAway and StoreFull."""
    try:
        yield
    except OutOfMemoryError as error:
        raise StoreFull(
            f"the store is out of memory: raise its maxmemory or let workers drain the log ({error})"
        ) from error
    except AuthenticationError as error:
        raise StoreAway(f"the store refuses our name and password: {error}") from error
    except (BusyLoadingError, ReadOnlyError) as error:
        raise StoreAway(f"the store cannot serve now: {error}") from error
    except (ConnectionError, TimeoutError, OSError) as error:
        raise StoreAway(f"the store does not answer: {error}") from error
    except ResponseError as error:
        if str(error).startswith(("OOM", "-OOM")):
            raise StoreFull(f"the store is out of memory: {error}") from error
        if str(error).startswith(("MISCONF", "NOREPLICAS", "CLUSTERDOWN", "MASTERDOWN", "TRYAGAIN")):
            raise StoreAway(f"the store cannot serve now: {error}") from error
        raise
