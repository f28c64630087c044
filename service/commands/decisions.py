"""The ledger from the command line: list decisions, verify the chain they are in, export it."""

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from service.commands import operate
from service.ledger.chain import PAGE, Head
from service.ledger.verify import ChainBroken, follow
from service.remote import Remote

VERBS = ("list", "verify", "export")


def run(options: argparse.Namespace) -> int:
    """0 where what was asked is so; 1 where a chain is broken; 2 for words that are no command."""
    verb, model = (options.what, options.model) if options.what in VERBS else ("list", options.what)
    if (options.model and options.what not in VERBS) or (verb == "export" and not model):
        sys.stderr.write("tidegate decisions: expected [list|verify] [MODEL], or export MODEL\n")
        return 2
    if verb == "list":
        return operate.run(argparse.Namespace(**{**vars(options), "verb": "decisions", "model": model}))
    if verb == "export":
        return _export(Remote(options.url), model)
    if options.file:
        return _tell([_judge(str(options.file), _lines(options.file), None, options.head)], options)
    remote = Remote(options.url)
    models = [model] if model else [each["model"] for each in remote.get("models")["models"]]
    if options.head and len(models) > 1:
        sys.stderr.write("tidegate decisions verify: --head is of one model: name it\n")
        return 2
    return _tell([_verify(remote, each, options.head) for each in models], options)


def _export(remote: Remote, model: str) -> int:
    head, _ = _head(remote, model)
    for entry in _entries(remote, model, head):
        sys.stdout.write(entry.decode() + "\n")
    return 0


def _verify(remote: Remote, model: str, noted: str) -> dict[str, Any]:
    head, unchained = _head(remote, model)
    return {**_judge(model, _entries(remote, model, head), head, noted), "unchained": unchained}


def _judge(name: str, entries: Iterator[bytes], head: Head | None, noted: str) -> dict[str, Any]:
    try:
        return {"model": name, **msgspec.to_builtins(follow(entries, head, noted))}
    except ChainBroken as error:
        return {"model": name, "broken_at": error.number, "problem": str(error)}


def _head(remote: Remote, model: str) -> tuple[Head, int]:
    found = remote.get("models", model, "ledger")
    return Head(found["entries"], found["head"]), found["unchained"]


def _entries(remote: Remote, model: str, head: Head) -> Iterator[bytes]:
    """All entries up to the head, and those that were appended meanwhile."""
    after, page = 0, [b""]
    while page or after < head.number:
        page = remote.get_lines("models", model, "ledger", "entries", after=after, limit=PAGE)
        yield from page
        after += PAGE


def _lines(file: Path) -> Iterator[bytes]:
    with file.open("rb") as lines:
        yield from (line.rstrip(b"\n") for line in lines)


def _tell(found: list[dict[str, Any]], options: argparse.Namespace) -> int:
    if options.json:
        sys.stdout.write(json.dumps(found, indent=2) + "\n")
    else:
        for each in found:
            sys.stdout.write("".join(f"{each['model']}: {line}\n" for line in _said(each)))
    return int(any("problem" in each for each in found))


def _said(each: dict[str, Any]) -> Iterator[str]:
    if "problem" in each:
        yield f"BROKEN at {each['problem']}"
    elif not each["entries"]:
        yield "no entries"
    else:
        yield f"{each['entries']} entries from {each['first_at']} to {each['last_at']} follow one another"
        yield f"head {each['head']}"
    if each.get("unchained"):
        yield f"decisions that are older than the chain, for which nothing vouches: {each['unchained']}"
