"""Serve: one process of the service, in any role, until it is told to stop."""

import gc
import logging
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from threading import Event, Thread

import uvicorn

from service.deciding.loop import Loop
from service.errors import BadSetting, ServiceError
from service.house import House, joiner_of, open_house, worker_of
from service.intake.log.tide import Tide
from service.jobs import Jobs
from service.launching.choose import Launchers
from service.settings import Settings
from service.storage.cautions import cautions
from service.training.registry import Registry
from service.web.api import create_app
from service.web.auth import has_keys, is_loopback, take_keys

_log = logging.getLogger(__name__)
GRACE_SECONDS = 2
"""How long open requests may take to end after SIGTERM; the whole stop stays within five seconds."""
_REST_SECONDS = 1.0
# Rows are left to gather, for a small batch costs nearly as much as a large one; but a turn that moved this part of
# what the log may hold is followed by the next at once.
_LARGE_PART = 10


class OpenToAll(ServiceError):
    """The service would listen beyond this machine without a single access key."""

    def __init__(self, host: str) -> None:
        super().__init__(
            f"refusing to listen on {host} without access keys: anyone could post and retrain. "
            "Create one first (tidegate keys create NAME --scope admin), or listen on 127.0.0.1"
        )


def serve(settings: Settings) -> None:
    """Run until SIGTERM or SIGINT.

    Raises:
        OpenToAll, StoreError, BadSetting: it cannot start; the message says what to do.
    """
    # The server gives the signal on to whoever handled it before: so that everything below is closed in order.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with open_house(settings, lambda: datetime.now(UTC)) as house:
        if settings.keys_file:
            _take_keys_file(house, settings.keys_file)
        if not is_loopback(settings.host) and not has_keys(house.store):
            raise OpenToAll(settings.host)
        for sentence in cautions(house.store):
            _log.warning("%s", sentence)
        stop = Event()
        with _deciding(house, stop) as jobs, _folding(house, stop):
            app = create_app(house, is_leader=lambda: jobs.is_leader, evaluations=jobs.evaluations)
            config = uvicorn.Config(
                app,
                host=settings.host,
                port=settings.port,
                log_config=None,
                access_log=False,
                timeout_graceful_shutdown=GRACE_SECONDS,
            )
            _tune_python()
            _log.info("listening on http://%s:%s", settings.host, settings.port)
            try:
                uvicorn.Server(config).run()
            finally:
                stop.set()
                # What is frozen would never be closed: DuckDB would call it leaked.
                gc.unfreeze()
                _log.info("stopping")


def _tune_python() -> None:
    """Settings of the interpreter's garbage collector that suit a service of many small objects.

    Rows come as many small objects, hardly ever in circles: looking through all of them after every few hundred new
    ones took two thirds of the label join's time.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)


def _take_keys_file(house: House, name: str) -> None:
    try:
        text = Path(name).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BadSetting("TIDEGATE_KEYS_FILE", name, f"the file cannot be read: {error}") from error
    _log.info("%s access keys from %s", take_keys(house.store, text, house.clock()), name)


@contextmanager
def _deciding(house: House, stop: Event) -> Iterator[Jobs]:
    loop, launchers = None, Launchers(house)
    if house.settings.role in {"all", "scheduler"}:
        loop = Loop(house, Registry(house.settings.data_dir, house.files), launchers)
    jobs = Jobs(house, loop, launchers.rest)
    jobs.start()
    try:
        yield jobs
    finally:
        stop.set()
        if loop is not None:
            loop.reports.close()
        jobs.stop()
        launchers.close()


@contextmanager
def _folding(house: House, stop: Event) -> Iterator[None]:
    if house.settings.role not in {"all", "worker"}:
        yield
        return
    thread = Thread(target=_fold_until, args=(house, stop), name="fold")
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def _fold_until(house: House, stop: Event) -> None:
    """Fold and join labels as they come. A store that is away is asked again; a bug is told, and work goes on."""
    worker, joiner = worker_of(house), joiner_of(house)
    tide, pause = Tide(house.log), 0.0
    while not stop.wait(pause):
        pause = _REST_SECONDS
        try:
            if tide.is_still():
                continue
            worker.acquire()
            moved = worker.step() + joiner.step(house.clock())
            if moved >= house.settings.backlog_rows // _LARGE_PART:
                pause = 0.0
        except ServiceError as error:
            _log.warning("folding waits: %s", error)
        except Exception:  # noqa: BLE001  one bad batch must not end the folding; it is logged whole
            _log.exception("folding failed; trying again")
    for each in (joiner, worker):
        try:
            each.release()
        except ServiceError as error:
            _log.warning("partitions were not given up: %s", error)
