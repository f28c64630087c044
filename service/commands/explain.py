"""`tidegate policy explain`: why a model would or would not retrain now, and what is missing."""

import argparse
import json
import shutil
import sys
import textwrap
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from policies.conditions import show_moment
from service.remote import Remote


def run(options: argparse.Namespace) -> int:
    """Ask the service and print the conditions, what is there with an x, then the one sentence that sums them up."""
    asked = {"segment": options.segment, "policy": options.policy}
    query = {name: value for name, value in asked.items() if value is not None}
    found = Remote(options.url).get("models", options.model, "explain", **query)
    if options.json:
        sys.stdout.write(json.dumps(found, indent=2) + "\n")
        return 0
    width = max(60, min(100, shutil.get_terminal_size((100, 24)).columns))
    for line in _tell(found):
        sys.stdout.write(f"{_wrap(line, width)}\n")
    return 0


def _tell(found: Mapping[str, Any]) -> Iterator[str]:
    whose = f", shadow policy {found['shadow']}" if found["shadow"] else ""
    at = show_moment(datetime.fromisoformat(found["at"]))
    yield f"{found['model']} {found['version'] or 'without a version'}{whose}: {found['action']} at {at}"
    for prospect in found["prospects"]:
        yield ""
        yield f"{prospect['trigger']} in {prospect['segment']} ({prospect['state']})"
        yield from map(_line, prospect["conditions"])
    if found["holds"]:
        yield ""
        yield "reasons to wait"
        yield from map(_line, found["holds"])
        yield ""
        yield found["manual"]
    yield found["summary"]


def _line(condition: Mapping[str, Any]) -> str:
    return f"  [{'x' if condition['fulfilled'] else ' '}] {condition['text']}"


def _wrap(line: str, width: int) -> str:
    hanging = "      " if line.startswith("  [") else "  "
    return textwrap.fill(line, width, subsequent_indent=hanging, break_long_words=False, break_on_hyphens=False)
