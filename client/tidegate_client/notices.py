"""What the client says in the log of its program: each thing once, or once a minute, however often it happens."""

from __future__ import annotations

import logging
import threading
import time

_log = logging.getLogger("tidegate_client")
_MOST_REASONS = 200
_EVERY_SECONDS = 60.0


class Notices:
    """Warnings about one model; nothing here raises."""

    def __init__(self, model: str) -> None:
        self._model = model
        self._lock = threading.RLock()
        self._said: dict[str, float] = {}

    def once(self, reason: str, text: str) -> None:
        """Warn of this reason the first time."""
        if self._is_due(reason, every=float("inf")):
            _log.warning("tidegate %s: %s", self._model, text)

    def often(self, reason: str, text: str) -> None:
        """Warn of this reason, at most once a minute."""
        if self._is_due(reason, every=_EVERY_SECONDS):
            _log.warning("tidegate %s: %s", self._model, text)

    def over(self, reason: str, text: str) -> None:
        """Say that what was warned of has ended; it will be warned of again."""
        with self._lock:
            was_said = self._said.pop(reason, None) is not None
        if was_said:
            _log.info("tidegate %s: %s", self._model, text)

    def _is_due(self, reason: str, every: float) -> bool:
        now = time.monotonic()
        with self._lock:
            last = self._said.get(reason)
            if (last is not None and now - last < every) or (last is None and len(self._said) >= _MOST_REASONS):
                return False
            self._said[reason] = now
            return True
