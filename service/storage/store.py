"""The store: commands, scripts from lua/ and durable scripts, on one server or a cluster; every failure named."""

import hashlib
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from time import monotonic
from typing import Any

from redis.exceptions import NoScriptError, ResponseError

from service.errors import NotDurable, StoreAway, StoreError
from service.settings import Durability
from service.storage import hearsay, keys
from service.storage.naming import naming_errors
from service.storage.server import ANSWER_SECONDS, Command, Word
from service.storage.servers import servers_at

__all__ = ["Store", "Word"]

_LUA = Path(__file__).with_name("lua")
# How long what a server said about its disk is believed: its operator may change it while it runs.
_ASSURED_SECONDS = 60.0
# How long it counts as short of memory, or not.
_SHORT_SECONDS = 3.0
# Commands without a key; they go to every server.
_KEYLESS = frozenset({"PING", "CONFIG", "FLUSHALL", "SCRIPT", "INFO"})
# So many names hit several servers of a cluster.
_PROBES = 8


class Store:
    """Connections to one server or a cluster. Answers come as bytes; every failure is a StoreError.

    `durability` says what `run_durably` waits for. What a call waits for longer than `answer_seconds` is StoreAway, and
    so is at once every call after it, until the server answers again. Nothing is ever sent twice.

    Raises:
        ValueError: `url` is no address of a store.
    """

    def __init__(
        self, url: str, durability: Durability | None = None, *, answer_seconds: float = ANSWER_SECONDS
    ) -> None:
        self.durability = durability or Durability()
        self._servers = servers_at(url, answer_seconds)
        # Half of what an answer is waited for: else a missing replica would look like a hanging server.
        self._wait_milliseconds = int(answer_seconds * 500)
        self._lacks_replicas = False
        self._short = (False, -_SHORT_SECONDS)
        self._assured = ("unknown", -_ASSURED_SECONDS)

    @property
    def assured(self) -> str:
        """What an answer of `run_durably` has behind it: a word of `persistence`, or `wait:N`. Asks nobody."""
        return str(self.durability) if self.durability.replicas else self._assured[0]

    def persistence(self) -> str:
        """What the weakest server does with a write before it answers, by its settings; see `hearsay.PERSISTENCE`."""
        try:
            told = self.do_everywhere("CONFIG", "GET", "append*")
        except ResponseError:
            return "unknown"
        return min(map(hearsay.persistence, told), key=hearsay.PERSISTENCE.index)

    def close(self) -> None:
        """Close all connections."""
        self._servers.close()

    def do(self, *words: Word) -> Any:  # noqa: ANN401  bytes, a number, None or lists of them, by command
        """The answer to one command; one without a key is done on every server, and the first one's answer given."""
        if words[0] in _KEYLESS:
            return self.do_everywhere(*words)[0]
        with naming_errors():
            return _unless_refused(self._servers.follow(_key(words), [words]))[0]

    def do_everywhere(self, *words: Word) -> list[Any]:
        """The answers of all servers to a command without a key."""
        with naming_errors():
            return _unless_refused([server.ask([words])[0] for server in self._servers.everyone()])

    def do_all(self, commands: Sequence[Command]) -> list[Any]:
        """The answers to several commands with a key each, sent at once to each server; not one transaction."""
        if not commands:
            return []
        with naming_errors():
            return _unless_refused(self._servers.each([_key(words) for words in commands], commands))

    def run(self, script: str, slot_keys: Sequence[str], words: Sequence[Word] = (), *, patient: bool = False) -> Any:  # noqa: ANN401  as `do`
        """The answer of lua/<script>.lua, one atomic step on the keys of one slot.

        `patient` for work that may be large; nobody waits for it.
        """
        with naming_errors():
            return self._run(script, slot_keys, words, patient=patient)[0]

    def run_durably(self, script: str, slot_keys: Sequence[str], words: Sequence[Word] = ()) -> Any:  # noqa: ANN401  as `do`
        """As `run`, and only answers when as many replicas as `durability` asks for have it.

        Raises:
            NotDurable: too few confirmed in time, and what the script wrote stays written; or too few are there still,
                and nothing was written.
        """
        wanted = self.durability.replicas
        if self._lacks_replicas:
            self._check_replicas(slot_keys[0])
        # WAIT counts for the writes of its own connection: both go through the same.
        then = [("WAIT", wanted, self._wait_milliseconds)] if wanted else []
        with naming_errors():
            answer, *confirmed = self._run(script, slot_keys, words, then)
        self._lacks_replicas = bool(confirmed) and confirmed[0] < wanted
        if self._lacks_replicas:
            raise NotDurable(int(confirmed[0]), wanted)
        self._look_at_disks()
        return answer

    def run_each_durably(self, script: str, calls: Sequence[tuple[Sequence[str], Sequence[Word]]]) -> list[Any]:
        """As `run_durably`, of calls of one script on several slots, sent at once: each answer, or the StoreError.

        Raises:
            StoreAway: it is unknown which of them were done.
        """
        if self.durability.replicas:
            return [_or_error(self.run_durably, script, *call) for call in calls]
        _, digest = _script(script)
        commands = [("EVALSHA", digest, len(slot_keys), *slot_keys, *words) for slot_keys, words in calls]
        with naming_errors():
            answers = self._servers.each([slot_keys[0] for slot_keys, _ in calls], commands)
        self._look_at_disks()
        return [
            _or_error(self.run_durably, script, *call)
            if isinstance(answer, NoScriptError)
            else _or_error(_answer, answer)
            for call, answer in zip(calls, answers, strict=True)
        ]

    def is_short(self) -> bool:
        """Whether a server is close to all the memory it may have; looked at every few seconds."""
        is_short, known_at = self._short
        if monotonic() - known_at > _SHORT_SECONDS:
            with suppress(StoreAway):
                is_short = any(map(hearsay.is_short, self.do_everywhere("INFO", "memory")))
            self._short = is_short, monotonic()
        return is_short

    def ping(self) -> None:
        """Raises StoreAway where a server does not answer."""
        self.do_everywhere("PING")

    def check_writable(self) -> None:
        """Raises StoreAway or StoreFull where no server can be written: a part of a cluster still takes its share."""
        for probes_left in reversed(range(_PROBES)):
            try:
                self.do("SET", keys.key(f"ready{probes_left}", "probe"), 1)
            except StoreError:
                if not probes_left:
                    raise
            else:
                return

    def _check_replicas(self, key: str) -> None:
        """Not to write again and again what will not be confirmed, and make each sender wait for it."""
        with naming_errors():
            (told,) = _unless_refused(self._servers.of(key).ask([("INFO", "replication")]))
        connected = hearsay.replicas(told)
        if connected < self.durability.replicas:
            raise NotDurable(connected, self.durability.replicas, is_written=False)

    def _look_at_disks(self) -> None:
        word, known_at = self._assured
        if not self.durability.replicas and monotonic() - known_at > _ASSURED_SECONDS:
            with suppress(StoreAway):  # what was answered stands, whether it can be asked now or not
                word = self.persistence()
            self._assured = word, monotonic()

    def _run(
        self,
        script: str,
        slot_keys: Sequence[str],
        words: Sequence[Word],
        then: Sequence[Command] = (),
        *,
        patient: bool = False,
    ) -> list[Any]:
        text, digest = _script(script)
        rest = (len(slot_keys), *slot_keys, *words)
        answers = self._servers.follow(slot_keys[0], [("EVALSHA", digest, *rest), *then], patient=patient)
        if isinstance(answers[0], NoScriptError):
            answers = self._servers.follow(slot_keys[0], [("EVAL", text, *rest), *then], patient=patient)
        return _unless_refused(answers)


def _or_error(ask: Callable[..., Any], *words: Any) -> Any:  # noqa: ANN401  as `Store.do`
    try:
        with naming_errors():
            return ask(*words)
    except StoreError as error:
        return error


def _answer(answer: Any) -> Any:  # noqa: ANN401  as `Store.do`
    return _unless_refused([answer])[0]


@cache
def _script(name: str) -> tuple[str, str]:
    text = (_LUA / f"{name}.lua").read_text()
    return text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()


def _key(words: Command) -> str:
    return str(words[1])


def _unless_refused(answers: list[Any]) -> list[Any]:
    for answer in answers:
        if isinstance(answer, ResponseError):
            raise answer
    return answers
