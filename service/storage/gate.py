"""A gate in front of a server: shut by the first call that waits in vain, opened by a probe when it answers again.

Without it each of the few threads that answer requests would wait out its own time at a server that hangs, and the
whole service would seem to hang. A server that refuses connections needs no gate: that is known at once.
"""

from collections.abc import Callable
from threading import Event, Lock, Thread

from redis.exceptions import RedisError

from service.errors import StoreAway

_PAUSE_SECONDS = 0.1


class Gate:
    """Open or shut. `probe` asks the server and raises what the client library raises while it does not answer."""

    def __init__(self, probe: Callable[[], None]) -> None:
        self._probe = probe
        self._why = ""
        self._lock = Lock()
        self._ended = Event()

    @property
    def is_shut(self) -> bool:
        """Whether nobody is let through."""
        return bool(self._why)

    def check(self) -> None:
        """Raises StoreAway where it is shut."""
        if self._why:
            raise StoreAway(f"the store does not answer, it is asked again and again: {self._why}")

    def shut(self, why: str) -> None:
        """Let nobody through until the probe has its answer."""
        with self._lock:
            if not self._why and not self._ended.is_set():
                self._why = why or "no answer in time"
                Thread(target=self._knock, name="store probe", daemon=True).start()

    def close(self) -> None:
        """End the probing."""
        self._ended.set()

    def _knock(self) -> None:
        while not self._ended.wait(_PAUSE_SECONDS):
            try:
                self._probe()
            except (RedisError, OSError):
                continue
            with self._lock:
                self._why = ""
            return
