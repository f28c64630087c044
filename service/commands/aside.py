"""Batches set aside, over HTTP: list, show, replay, discard."""

import argparse
import json
import sys
from collections.abc import Mapping
from typing import Any

from service.remote import Remote


def run(options: argparse.Namespace) -> int:
    """Ask the service and print its answer."""
    remote = Remote(options.url)
    match options.what:
        case "list":
            found = remote.get("aside")
        case "show":
            found = remote.get("aside", options.id)
        case "replay":
            found = remote.post("aside", options.id, "replay")
        case _:
            found = remote.post("aside", options.id, "discard", who=options.who, why=options.why)
    if options.json or options.what == "show":
        sys.stdout.write(json.dumps(found, indent=2) + "\n")
        return 0
    for line in _TELL[options.what](found):
        sys.stdout.write(f"{line}\n")
    return 0


def _list(found: Mapping[str, Any]) -> list[str]:
    told = [
        f"{each['at']}  {each['id']}  {each['model']}  {each['rows']} rows of {each['kind']}: {each['reason']}"
        for each in found["aside"]
    ]
    gone = [
        f"{each['at']}  {each['id']}  {each['model']}  {each['rows']} rows discarded by {each['who']}: {each['why']}"
        for each in found["discarded"]
    ]
    return [*(told or ["no batch is aside"]), *gone]


def _replay(found: Mapping[str, Any]) -> list[str]:
    return [f"{found['rows']} rows of {found['model']} are back in the log as {found['as']}"]


def _discard(found: Mapping[str, Any]) -> list[str]:
    return [f"{found['rows']} rows of {found['model']} are discarded"]


_TELL = {"list": _list, "replay": _replay, "discard": _discard}
