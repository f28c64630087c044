"""Silences, freezes and acts of a model, over HTTP: give one, list them, end one."""

import argparse
import json
import sys
from collections.abc import Mapping
from typing import Any

from service.commands.operate import said
from service.remote import Remote


def run(options: argparse.Namespace) -> int:
    """Ask the service and print its answer."""
    remote, verb = Remote(options.url), options.verb
    if verb in {"silences", "freezes", "acts"}:
        found = remote.get("models", options.model, verb)
    elif verb in {"silence", "freeze"}:
        found = remote.post("models", options.model, f"{verb}s", **said(options), **_what(options))
    else:
        kind = f"{verb.removeprefix('un')}s"
        found = remote.delete("models", options.model, kind, options.id, who=options.who, why=options.why)
    if options.json:
        sys.stdout.write(json.dumps(found, indent=2) + "\n")
        return 0
    for line in _tell(verb, found):
        sys.stdout.write(f"{line}\n")
    return 0


def _what(options: argparse.Namespace) -> dict[str, str]:
    what = {"segment": "segment", "column": "column", "begin": "from"}
    return {field: text for name, field in what.items() if (text := getattr(options, name, None)) is not None}


def _tell(verb: str, found: Mapping[str, Any]) -> list[str]:
    if verb == "acts":
        return [_act(each) for each in found["acts"]] or ["nobody did anything yet"]
    if verb in {"silences", "freezes"}:
        return [_order(each) for each in found[verb]] or [f"there are no {verb}"]
    if verb.startswith("un"):
        return [f"{found['id']} is ended; it was to last until {found['until']}"]
    return [f"{found['id']} until {found['until']}{_concerns(found)}", *_warning(found.get("covers"))]


def _order(each: Mapping[str, Any]) -> str:
    begins = f"{each['since']} " if each["since"] else ""
    ended = f"; ended {each['ended_at']} by {each['ended_by']}: {each['ended_why']}" if each["ended_at"] else ""
    lasts = f"{begins}until {each['until']}{_concerns(each)}"
    return f"{each['state']:8} {each['id'] or '(policy)':10} {lasts}  {each['who']}: {each['why']}{ended}"


def _concerns(each: Mapping[str, Any]) -> str:
    return "".join(f" {name} {each[name]}" for name in ("segment", "column") if each.get(name))


def _warning(covers: Mapping[str, int] | None) -> list[str]:
    missed = [name for name, count in (covers or {}).items() if not count]
    return [f"note: no {name.removesuffix('s')} of the champion's baseline has such a name" for name in missed]


def _act(each: Mapping[str, Any]) -> str:
    details = "; ".join(f"{name} {_short(value)}" for name, value in each["details"].items())
    return f"{each['at']}  {each['verb']:10} {each['who']}: {each['why']}  ({details})"


def _short(value: Any) -> str:  # noqa: ANN401  whatever JSON an act has
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
