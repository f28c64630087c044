"""Whether anything has come: one question to the store, where a whole turn of an idle worker would ask many."""

import time
from collections.abc import Callable

from service.errors import StoreAway
from service.intake.log.log import Log

# Labels and files come due without news, so after so long the answer is that something may have come.
_LONGEST_SECONDS = 2.0


class Tide:
    """Watches the log for one worker."""

    def __init__(self, partition_log: Log, beats: Callable[[], float] = time.monotonic) -> None:
        self._log = partition_log
        self._beats = beats
        self._known: list[int] = []
        self._until = 0.0

    def is_still(self) -> bool:
        """Whether nothing was appended since this was last false, which was a moment ago."""
        now = self._beats()
        try:
            appended = self._log.appended()
        except StoreAway:
            return False  # some of its servers may be there
        if appended == self._known and now < self._until:
            return True
        self._known, self._until = appended, now + _LONGEST_SECONDS
        return False
