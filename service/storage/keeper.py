"""Keeps the embedded store running: a child that was killed, by whatever, is started again."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event, Thread

from service.errors import StoreError
from service.storage.embedded import Embedded

_log = logging.getLogger(__name__)
_LOOK_SECONDS = 0.2
_PAUSE_SECONDS = 5.0


@contextmanager
def kept_running(embedded: Embedded) -> Iterator[None]:
    """Start the server again whenever it has ended, until the block ends."""
    ended = Event()
    thread = Thread(target=_keep, args=(embedded, ended), name="store keeper", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _keep(embedded: Embedded, ended: Event) -> None:
    pause = _LOOK_SECONDS
    while not ended.wait(pause):
        pause = _LOOK_SECONDS
        if embedded.pid is None:
            _log.error("the embedded store has ended, it is started again; what was answered is in its file")
            try:
                embedded.start()
            except (StoreError, OSError) as error:
                _log.error("%s", error)
                pause = _PAUSE_SECONDS
