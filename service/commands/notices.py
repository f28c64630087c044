"""Notices, over HTTP: what was sent of a model or of all, or a test."""

import argparse
import json
import sys
from collections.abc import Mapping
from typing import Any

from service.remote import Remote


def run(options: argparse.Namespace) -> int:
    """Ask the service and print its answer. 1 where a receiver did not take the test."""
    remote = Remote(options.url)
    if options.test:
        found = remote.post("notices", "test")
        lines = _test(found)
    else:
        models = [options.model] if options.model else [each["model"] for each in remote.get("models")["models"]]
        found = {"models": [remote.get("models", model, "notices") for model in models]}
        lines = [line for each in found["models"] for line in _list(each)]
    if options.json:
        lines = [json.dumps(found, indent=2)]
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    return 0 if all(each["is_taken"] for each in found.get("tried", ())) else 1


def _list(found: Mapping[str, Any]) -> list[str]:
    goes_to = ", ".join(found["receivers"]) or "nowhere: no address is set"
    lines = [f"{found['model']}: notices go to {goes_to}; {found['waiting']} wait"]
    for each in found["notices"]:
        tries = f" ({each['tries']} tries)" if each["tries"] > 1 else ""
        lines.append(f"{each['at']}  {each['state']:8} {each['to']:8} {each['title']}  [{each['reply']}]{tries}")
    return lines


def _test(found: Mapping[str, Any]) -> list[str]:
    return [
        f"{each['to']:8} {'taken' if each['is_taken'] else 'NOT taken'}: {each['reply']}" for each in found["tried"]
    ]
