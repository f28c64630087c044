"""Operations on a running service: status, decisions, retrainings, retrain, approve, reject, rollback."""

import argparse
import json
import sys
from collections.abc import Callable, Mapping
from typing import Any

from service.remote import Remote


def run(options: argparse.Namespace) -> int:
    """Ask the service and print its answer."""
    remote = Remote(options.url)
    if options.verb in {"approve", "reject"}:
        found = remote.post("retrainings", options.id, options.verb, who=options.who, why=options.why)
    elif options.verb in {"rollback", "retrain"}:
        found = remote.post("models", options.model, options.verb, who=options.who, why=options.why)
    else:
        found = _ask(remote, options)
    if options.json or options.verb not in _TELL:
        sys.stdout.write(json.dumps(found, indent=2) + "\n")
        return 0
    for line in _TELL[options.verb](found):
        sys.stdout.write(f"{line}\n")
    return 0


def _ask(remote: Remote, options: argparse.Namespace) -> Any:  # noqa: ANN401  whatever JSON the route gives
    if options.verb == "status":
        return remote.get("models", options.model, "segments") if options.model else remote.get("models")
    if options.model:
        return remote.get("models", options.model, options.verb)
    if options.verb == "retrainings":
        return remote.get("retrainings")
    models = [each["model"] for each in remote.get("models")["models"]]
    return {"decisions": [d for model in models for d in remote.get("models", model, "decisions")["decisions"]]}


def _status(found: Mapping[str, Any]) -> list[str]:
    if "segments" in found:
        rows = found["segments"]
        return [f"{s['state']:12} {s['segment']:40} {s['rows']:>8} rows  {_figure(s)}" for s in rows]
    return [f"{m['model']:40} champion {m.get('champion') or '-':8} {m.get('action') or '-'}" for m in found["models"]]


def _figure(segment: Mapping[str, Any]) -> str:
    performance = segment["performance"]
    if performance["value"] is None:
        return ""
    return f"{performance['metric']} {performance['value']:.3f} on {performance['labelled']} labels"


def _decisions(found: Mapping[str, Any]) -> list[str]:
    lines = []
    for decision in found["decisions"]:
        lines.append(f"{decision['at']}  {decision['action']:8} {decision['id']}")
        lines += [f"    {r['code']}: {r['text']}" for r in decision["reasons"] if r["met"]]
    return lines


def _retrainings(found: Mapping[str, Any]) -> list[str]:
    return [
        f"{r['opened_at']}  {r['state']:10} {r['model']} {r['id']}  {', '.join(r['reasons'])}  {r['note']}"
        for r in found["retrainings"]
    ]


_TELL: dict[str, Callable[[Mapping[str, Any]], list[str]]] = {
    "status": _status,
    "decisions": _decisions,
    "retrainings": _retrainings,
}
