"""Retrainings on the command line: all of a model, one with its checkpoints, or one as it goes on."""

import argparse
import json
import re
import sys
import time
from collections.abc import Iterator, Mapping
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from monitors.counting.segments import ALL
from service.commands import operate
from service.ledger.records import FINISHED
from service.remote import Remote
from service.training.curating.words import words_of

_ID = re.compile(r"r-[0-9a-f]{12}")
LOOK_SECONDS = 1.0


def run(options: argparse.Namespace) -> int:
    """0; with --follow 0 where it ended as released, 1 where it ended otherwise or there is none to follow."""
    remote, name = Remote(options.url), options.model
    is_id = bool(name) and _ID.fullmatch(name) is not None
    if options.report:
        if not is_id:
            sys.stderr.write("tidegate retrainings --report: of which? `tidegate retrainings` lists their ids\n")
            return 1
        sys.stdout.write(remote.get_bytes("retrainings", name, "report.md").decode())
        return 0
    if options.follow:
        found = remote.get("retrainings", name) if is_id else _running(remote, name)
        if found is None:
            sys.stderr.write(f"tidegate retrainings: none runs{f' of {name}' if name else ''}\n")
            return 1
        return _follow(remote, found, options)
    if not is_id:
        return operate.run(argparse.Namespace(**{**vars(options), "verb": "retrainings"}))
    found = remote.get("retrainings", name)
    curated = [f"  {line}" for line in words_of(found["manifest"])]
    told = [_told(found), *curated, *map(_checkpoint, found["checkpoints"])]
    lines = [json.dumps(found, indent=2)] if options.json else told
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    return 0


def _running(remote: Remote, model: str | None) -> Mapping[str, Any] | None:
    found = remote.get("models", model, "retrainings") if model else remote.get("retrainings")
    return next((each for each in found["retrainings"] if each["state"] not in FINISHED), None)


def _follow(remote: Remote, found: Mapping[str, Any], options: argparse.Namespace) -> int:
    """Tell what is new until it ends: a bar on a terminal, and a line for each state and checkpoint."""
    console = Console(highlight=False, markup=False, soft_wrap=True)
    columns = TextColumn("{task.description}", markup=False), BarColumn(bar_width=30), TimeElapsedColumn()
    off = not console.is_terminal or options.json
    with Progress(*columns, console=console, transient=True, disable=off) as progress:
        bar = progress.add_task(found["id"], total=1.0)
        for seen in _looks(remote, found):
            found = seen.now
            _show(progress, bar, found)
            if not options.json:
                for line in seen.news():
                    console.print(line)
    if options.json:
        sys.stdout.write(json.dumps(found, indent=2) + "\n")
    return int(found["state"] != "released")


class _Look:
    """What a retraining is now, and was at the look before."""

    def __init__(self, before: Mapping[str, Any] | None, now: Mapping[str, Any]) -> None:
        self._before = before or {"state": "", "note": "", "checkpoints": []}
        self.now = now

    def news(self) -> Iterator[str]:
        known = self._before["checkpoints"]
        yield from (_checkpoint(each) for each in self.now["checkpoints"] if each not in known)
        if (self.now["state"], self.now["note"]) != (self._before["state"], self._before["note"]):
            yield _told(self.now)


def _looks(remote: Remote, found: Mapping[str, Any]) -> Iterator[_Look]:
    before = None
    while True:
        yield _Look(before, found)
        if found["state"] in FINISHED:
            return
        time.sleep(LOOK_SECONDS)
        before, found = found, remote.get("retrainings", found["id"])


def _show(progress: Progress, bar: TaskID, found: Mapping[str, Any]) -> None:
    told = [each["progress"] for each in found["checkpoints"] if each.get("progress") is not None]
    done = told[-1] if told and found["state"] == "training" else None
    # A bar without a length only says that something goes on: in other states nobody counts.
    progress.update(bar, description=f"{found['state']:10}", total=None if done is None else 1.0, completed=done or 0.0)


def _told(found: Mapping[str, Any]) -> str:
    note = f": {found['note']}" if found["note"] else ""
    version = f" version {found['version']}" if found["version"] else ""
    return f"{found['id']} of {found['model']}{version} is {found['state']}{note}"


def _checkpoint(each: Mapping[str, Any]) -> str:
    candidate = f" of {each['candidate']}" if each["candidate"] else ""
    loss = each["loss"] if each["validation_loss"] is None else each["validation_loss"]
    scores = "  ".join(f"{name} {value:.4g}" for name, value in each["metrics"].get(ALL, {}).items() if name != "rows")
    marks = (" (best so far)" if each["is_best"] else "") + (f" ({each['note']})" if each.get("note") else "")
    return f"  step {each['step']}{candidate}{'' if loss is None else f'  loss {loss:.4g}'}  {scores}{marks}"
