"""How long to wait after failures in a row."""

from __future__ import annotations

import random

_FIRST_SECONDS = 0.5


class Backoff:
    """Exponential, with full jitter: senders that failed together do not come back together.

    >>> backoff = Backoff(most_seconds=30)
    >>> all(backoff.failed() <= limit for limit in (0.5, 1, 2, 4, 8, 16, 30, 30))
    True
    >>> 5 <= backoff.failed(at_least=5) <= 35
    True
    """

    def __init__(self, most_seconds: float) -> None:
        self._most = most_seconds
        self._failures = 0

    def failed(self, at_least: float = 0.0) -> float:
        """Seconds to wait after one more failure; `at_least` is what the other side asked for."""
        # Beyond 2 ** 30 the limit holds anyway.
        limit = min(self._most, _FIRST_SECONDS * 2 ** min(self._failures, 30))
        self._failures += 1
        return at_least + random.uniform(0, limit)  # noqa: S311  jitter is no secret

    def worked(self) -> None:
        """Begin anew."""
        self._failures = 0
