"""A rehearsal: entries are read and counted in a process of its own, to see whether that ends it.

A crash in a library, or memory that runs out, leaves no exception to catch. What the fold cannot survive must be found
by something that may die.
"""

import contextlib
import multiprocessing
import resource
import signal
import sys
import time
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from pathlib import Path

from monitors.baseline.baselines import Baseline
from service.intake.folding.aside import to_count
from service.intake.folding.counting import BaselineOf, count
from service.intake.folding.schema import Schema
from service.intake.log.entries import PREDICTIONS, Entry

SECONDS = 120
"""A stretch is counted within a second; what takes two minutes never ends."""
_LOOK_SECONDS = 0.2


def rehearse(entries: Sequence[Entry], baseline_of: BaselineOf, keep_alive: Callable[[], None]) -> str:
    """What became of a process that read and counted these entries; empty where it came through.

    `keep_alive` is called again and again meanwhile; what it raises ends the rehearsal.
    """
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    child = context.Process(target=_play, args=(theirs, list(entries)), name="rehearsal", daemon=True)
    child.start()
    theirs.close()
    end = time.monotonic() + SECONDS
    try:
        while not (ours.poll(_LOOK_SECONDS) and _is_over(ours, baseline_of)):
            keep_alive()
            if time.monotonic() > end:
                return f"it was not done after {SECONDS} seconds"
        child.join()
    finally:
        child.kill()
        child.join()
        ours.close()
    return _said(child.exitcode or 0)


def _is_over(ours: "Connection", baseline_of: BaselineOf) -> bool:
    """Answers one question for a baseline; True where the child has no more."""
    try:
        asked = ours.recv()
    except EOFError:
        return True
    baseline = baseline_of(*asked)
    with contextlib.suppress(OSError):  # it has died since
        ours.send(baseline.to_bytes() if baseline else None)
    return False


def _play(theirs: "Connection", entries: Sequence[Entry]) -> None:
    """In the child. An exception is no death: the fold catches it itself."""
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            Path("/proc/self/oom_score_adj").write_text("1000")  # where memory runs out, this one goes first
    known: dict[tuple[str, str], Baseline | None] = {}

    def baseline_of(model: str, version: str) -> Baseline | None:
        if (model, version) not in known:
            theirs.send((model, version))
            packed = theirs.recv()
            known[model, version] = Baseline.from_bytes(packed) if packed else None
        return known[model, version]

    # As the fold does it: everything is read, then the rows of each model are counted together.
    tables: dict[str, list] = {}  # type: ignore[type-arg]
    for entry in map(to_count, entries):
        with contextlib.suppress(Exception):
            table = entry.table()
            if entry.kind == PREDICTIONS:
                tables.setdefault(entry.model, []).append(table)
    for model, own in tables.items():
        with contextlib.suppress(Exception):
            for _ in count(model, own, baseline_of, Schema()):
                pass


def _said(code: int) -> str:
    if code >= 0:
        return f"it ended with code {code}" if code else ""
    try:
        return f"it was ended by {signal.Signals(-code).name}"
    except ValueError:
        return f"it was ended by signal {-code}"
