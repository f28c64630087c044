"""Operations on a running service: status, decisions, retrainings, approvals; what people say to them."""

import argparse
import json
import sys
from collections.abc import Callable, Mapping
from typing import Any

from service.remote import Remote

_OF_RETRAININGS = ("approve", "reject", "cancel")
_OF_MODELS = ("rollback", "retrain")


def run(options: argparse.Namespace) -> int:
    """Ask the service and print its answer."""
    remote = Remote(options.url)
    if options.verb in _OF_RETRAININGS:
        found = remote.post("retrainings", options.id, options.verb, **said(options))
    elif options.verb in _OF_MODELS:
        found = remote.post("models", options.model, options.verb, **said(options))
    else:
        found = _ask(remote, options)
    if options.json or options.verb not in _TELL:
        sys.stdout.write(json.dumps(found, indent=2) + "\n")
        return 0
    for line in _TELL[options.verb](found):
        sys.stdout.write(f"{line}\n")
    return 0


def said(options: argparse.Namespace) -> dict[str, str]:
    """Who, why, and for how long where that was said, as the service takes it."""
    term = {"for": getattr(options, "span", None), "until": getattr(options, "until", None)}
    return {"who": options.who, "why": options.why, **{name: text for name, text in term.items() if text is not None}}


def _ask(remote: Remote, options: argparse.Namespace) -> Any:  # noqa: ANN401  whatever JSON the route gives
    if options.verb == "status":
        return remote.get("models", options.model, "segments") if options.model else remote.get("models")
    if options.verb == "approvals":
        return remote.get("approvals")
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
    return [line for model in found["models"] for line in _model(model)]


def _model(model: Mapping[str, Any]) -> list[str]:
    line = f"{model['model']:40} champion {model.get('champion') or '-':8} {model.get('action') or '-'}"
    awaits = model.get("awaits_approval")
    return (
        [line, f"    awaits approval: tidegate approve {awaits} (or reject); see tidegate approvals"]
        if awaits
        else [line]
    )


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
        f"{r['opened_at']}  {r['state']:10} {r['model']} {r['id']}  {', '.join(r['reasons'])}  {_noted(r)}"
        for r in found["retrainings"]
    ]


def _noted(retraining: Mapping[str, Any]) -> str:
    """Its note; while it is on trial how that goes."""
    is_tried = retraining["state"] == "trying" and retraining["trial"]
    return str(retraining["trial"]["text"] if is_tried else retraining["note"])


def _approvals(found: Mapping[str, Any]) -> list[str]:
    return [line for each in found["approvals"] for line in _approval(each)] or ["nothing awaits approval"]


def _approval(each: Mapping[str, Any]) -> list[str]:
    lines = [
        f"{each['state']:9} {each['model']}  {each['decision']}  since {each['since']}: {', '.join(each['segments'])}"
    ]
    lines += [f"    {text}" for text in each["reasons"]]
    if each["answer"]:
        said_by = each["answer"]
        lines.append(f"    {each['state']} by {said_by['who']} until {said_by['until']}: {said_by['why']}")
    return [*lines, f"    a yes would {each['would']}"]


_TELL: dict[str, Callable[[Mapping[str, Any]], list[str]]] = {
    "status": _status,
    "decisions": _decisions,
    "retrainings": _retrainings,
    "approvals": _approvals,
}
