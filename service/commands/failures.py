"""Failure categories of a model, over HTTP: list them, look at one, say something of it."""

import argparse
import json
import sys
from collections.abc import Mapping
from typing import Any

from service.errors import ServiceError
from service.remote import Remote

_FIELDS = ("owner", "state", "note", "severity", "release")


class NothingToSay(ServiceError):
    """What is said of a category needs the category and a reason."""


def run(options: argparse.Namespace) -> int:
    """Ask the service and print its answer."""
    remote = Remote(options.url)
    told = {name: value for name in _FIELDS if (value := getattr(options, name)) is not None}
    if told and not (options.id and options.why):
        raise NothingToSay("to say something of a category give --id, as the list shows it, and --why")
    if told:
        found = remote.post("models", options.model, "failures", options.id, who=options.who, why=options.why, **told)
    elif options.id:
        found = remote.get("models", options.model, "failures", options.id)
    else:
        found = remote.get("models", options.model, "failures")
    if options.json:
        sys.stdout.write(json.dumps(found, indent=2) + "\n")
        return 0
    for line in _one(found) if options.id else _all(found):
        sys.stdout.write(f"{line}\n")
    return 0


def _all(found: Mapping[str, Any]) -> list[str]:
    if found["at"] is None:
        return ["nothing was looked at yet: categories are found once labels have come"]
    head = f"version {found['version']}: {found['errors']:,} errors in {found['rows']:,} labelled rows"
    return [head, *(_line(each) for each in found["categories"])]


def _line(each: Mapping[str, Any]) -> str:
    if not each["found"]:
        return f"{'-':>8} {'':7} {'':8} {each['state']:12} {each['id']}  {each['name']}{_proof(each)}"
    owner = f"  ({each['owner']})" if each["owner"] else ""
    share = f"{100 * each['share']:.1f} %"
    return (
        f"{each['priority']:>8.0f} {share:>7} {each['trend']:8} {each['state']:12} {each['id']}  {each['name']}{owner}"
        f"{_proof(each)}"
    )


def _one(each: Mapping[str, Any]) -> list[str]:
    lines = [f"{each['id']}  {each['name']}", f"  {each['state']}, priority {each['priority']:g}{_said(each)}"]
    if each["found"]:
        lines.append(
            f"  {each['errors']:,} errors, {100 * each['share']:.1f} % of all, {each['trend']}; "
            f"in {each['scope']:,} rows {_rate(each['inside'])}, elsewhere {_rate(each['outside'])}"
        )
    lines += [f"  carried by: {', '.join(each['words'])}"] if each["words"] else []
    lines += [f"  {each['proof']['text']}"] if each["proof"] else []
    lines += [f"  {each['decided']}"] if each["decided"] else []
    return [*lines, *(f"  e.g. {json.dumps(example, ensure_ascii=False)}" for example in each["examples"])]


def _said(each: Mapping[str, Any]) -> str:
    told = [f"{name} {each[name]}" for name in ("owner", "note", "release") if each[name]]
    return "".join(f"; {text}" for text in told)


def _proof(each: Mapping[str, Any]) -> str:
    return f"  [{each['proof']['answer'].replace('_', ' ')}]" if each["proof"] else ""


def _rate(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f} %"
