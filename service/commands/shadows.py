"""`tidegate shadows`: what the shadow policies of a model would have done, beside what its policy in force did."""

import argparse
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from policies.conditions import show_moment
from service.remote import Remote

_SHOWN = 10
IN_FORCE = "in force"


def run(options: argparse.Namespace) -> int:
    """Ask the service and print both sides: a line each, then the retrainings, then where they parted."""
    found = Remote(options.url).get("models", options.model, "shadows", days=options.days)
    if options.json:
        sys.stdout.write(json.dumps(found, indent=2) + "\n")
        return 0
    for line in _tell(found):
        sys.stdout.write(f"{line}\n")
    return 0


def _tell(found: Mapping[str, Any]) -> Iterator[str]:
    if not found["shadows"]:
        yield f"{found['model']} has no shadow policy: put a file with `shadow: true` beside its policy"
        return
    sides = [{**found["in_force"], "shadow": IN_FORCE, "differences": None}, *found["shadows"]]
    width = max(len(side["shadow"]) for side in sides)
    yield f"{found['model']} since {_time(found['since'])}"
    yield f"{'policy':{width}}  {'says now':8}  {'retrainings':>11}  {'differences':>11}"
    for side in sides:
        differences = "-" if side["differences"] is None else len(side["differences"])
        yield f"{side['shadow']:{width}}  {side['action'] or '-':8}  {len(side['retrainings']):>11}  {differences:>11}"
    for side in sides:
        yield from _retrainings(side)
    for shadow in found["shadows"]:
        if shadow["problem"]:
            yield f"\n{shadow['shadow']} is not evaluated: {shadow['problem']}"
        yield from _differences(shadow)


def _retrainings(side: Mapping[str, Any]) -> Iterator[str]:
    if side["retrainings"]:
        would = "retrainings of the policy in force" if side["shadow"] == IN_FORCE else f"{side['shadow']} would have"
        yield f"\n{would}{'' if side['shadow'] == IN_FORCE else ' retrained'}"
    for each in side["retrainings"][:_SHOWN]:
        yield f"  {_time(each['at'])}  {', '.join(each['reasons'])}{_places(each['segments'])}"


def _differences(shadow: Mapping[str, Any]) -> Iterator[str]:
    if shadow["differences"]:
        yield f"\nwhere {shadow['shadow']} parted from the policy in force"
    for each in shadow["differences"][:_SHOWN]:
        yield f"  {_time(each['at'])}"
        yield f"    in force: {_side(each['in_force'])}"
        yield f"    {shadow['shadow']}: {_side(each['shadow'])}"


def _side(said: Mapping[str, Any]) -> str:
    if said["action"] == "retrain":
        return f"retrain{_places(said['triggers'])}"
    return f"{said['action']}, missing: {'; '.join(said['missing'])}"


def _places(segments: Sequence[str]) -> str:
    """Where, of the first three segments; nothing where a person asked."""
    more = f" and {len(segments) - 3} more" if len(segments) > 3 else ""
    return f" in {'; '.join(segments[:3])}{more}" if segments else ""


def _time(at: str) -> str:
    return show_moment(datetime.fromisoformat(at))
