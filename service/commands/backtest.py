"""`tidegate policy backtest`: what a policy would have done, as a table, as JSON and as a picture."""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from policies.errors import PolicyInvalid
from policies.file.kinds import format_span, read_span
from policies.file.parse import parse
from policies.file.spelled import spell_out
from policies.past.past import Assumed
from service.backtest.backtesting import told, usual_training
from service.backtest.past_files import unpack
from service.backtest.picture import draw
from service.errors import ServiceError
from service.policy_reading import read_settled
from service.remote import Remote

WAIT_SECONDS = 600
FILE_WIDTH = 160
"""Of a table that no terminal shows."""
DIFFERS = 3
"""Exit code where the policy does what the command was told to forbid."""
_SHOWN_SEGMENTS = 3
_IN_FORCE = "in force"


class CannotRead(ServiceError):
    """A file or an option of the command cannot be used."""


def run(options: argparse.Namespace) -> int:
    """0 when it was done and nothing is forbidden, 3 when something is, 1 (an error) when it cannot be done."""
    texts = [(str(file), _policy_text(file)) for file in (options.file, options.against) if file]
    found = _offline(options, texts) if options.profiles else _online(options, texts)
    if options.picture:
        options.picture.write_text(draw(found), encoding="utf-8")
    if options.json:
        sys.stdout.write(json.dumps(found, indent=2) + "\n")
    else:
        _tell(found, Console(soft_wrap=True, width=None if sys.stdout.isatty() else FILE_WIDTH))
    return _judge(options, found)


def _policy_text(file: Path) -> str:
    """The policy of a file over its defaults, spelled out. Raises CannotRead with everything that is wrong."""
    try:
        return spell_out(read_settled(file))
    except PolicyInvalid as error:
        raise CannotRead(str(error)) from error
    except (OSError, UnicodeDecodeError) as error:
        raise CannotRead(f"{file}: cannot be read: {error}") from error


def _online(options: argparse.Namespace, texts: Sequence[tuple[str, str]]) -> dict[str, Any]:
    chosen = {"label_delay": options.label_delay, "training": options.training}
    body = {"policy": texts[0][1], "since": options.since, **{k: v for k, v in chosen.items() if v is not None}}
    if len(texts) > 1:
        body["against"] = texts[1][1]
    found: dict[str, Any] = Remote(options.url, WAIT_SECONDS).post("policies", "backtest", **body)
    for policy, (name, _) in zip(found["policies"], texts, strict=False):
        policy["name"] = name
    return found


def _offline(options: argparse.Namespace, texts: Sequence[tuple[str, str]]) -> dict[str, Any]:
    try:
        past, in_force = unpack(options.profiles.read_bytes())
    except OSError as error:
        raise CannotRead(f"{options.profiles}: cannot be read: {error}") from error
    named = [*texts, (_IN_FORCE, in_force)] if in_force and len(texts) == 1 else texts
    delay, training = (_span(name, getattr(options, name)) for name in ("label_delay", "training"))
    policies = [(name, parse(text, name)) for name, text in named]
    return told(past, policies, Assumed(delay, usual_training(past) if training is None else training))


def _span(name: str, words: str | None) -> timedelta | None:
    try:
        return None if words is None else read_span(words)
    except ValueError:
        raise CannotRead(f"--{name.replace('_', '-')}: expected a span like 2d or 90m, saw {words}") from None


def _judge(options: argparse.Namespace, found: Mapping[str, Any]) -> int:
    count, most = len(found["policies"][0]["retrainings"]), options.most_retrainings
    forbidden = []
    if options.fail_on_difference and not found["same"]:
        forbidden.append("the two policies would have retrained at other times or for other segments")
    if most is not None and count > most:
        forbidden.append(f"{options.file} would have retrained {count} times, allowed are {most}")
    for sentence in forbidden:
        sys.stderr.write(f"tidegate: {sentence}\n")
    return DIFFERS if forbidden else 0


def _tell(found: Mapping[str, Any], out: Console) -> None:
    out.print(f"{found['model']} from {_day(found['looked_from'])} to {_day(found['until'])}")
    for policy in found["policies"]:
        out.print(f"\n[bold]{policy['name']}[/bold]: {_summary(policy)}", highlight=False)
        if policy["retrainings"]:
            out.print(_retrainings(policy))
        for stretch in policy["held"]:
            what = f"  held back {_day(stretch['since'])} to {_day(stretch['until'])}"
            out.print(f"{what}: {', '.join(stretch['reasons'])} ({_few(stretch['segments'])})", highlight=False)
        for release in policy["releases"]:
            out.print(f"  {_day(release['at'])} version {release['version']}: {_STOOD[release['stood']]}")
    if len(found["policies"]) > 1:
        out.print(f"\n{_difference(found)}", highlight=False)
    for note in found["notes"]:
        out.print(f"note: {note}", style="dim", highlight=False)


_STOOD = {
    "asked": "was released, and this policy had asked",
    "held": "was released; this policy asked and was held back",
    "watch": "was released; this policy watched",
    "hold": "was released; this policy saw nothing",
}


def _summary(policy: Mapping[str, Any]) -> str:
    budget = policy["budget"]
    parts = [
        f"{len(policy['retrainings'])} retrainings in {policy['evaluations']} evaluations",
        f"{policy['confirmed']} confirmed, {policy['unfounded']} unfounded, {policy['open']} open",
    ]
    if budget:
        per = format_span(timedelta(seconds=budget["per_seconds"]))
        parts.append(f"budget {budget['most_spent']} of {budget['count']} in {per}")
    return "; ".join(parts)


def _retrainings(policy: Mapping[str, Any]) -> Table:
    heads = ("would retrain", "version", "reasons", "segments", "change since", "labels say", "lead", "in fact")
    table = Table(*heads, box=None, pad_edge=False, padding=(0, 2))
    for each in policy["retrainings"]:
        table.add_row(
            _day(each["at"]),
            each["version"],
            ", ".join(each["reasons"]),
            _few(each["segments"]),
            _day(each["change_started"]),
            each["confirmation"],
            "-" if each["lead_seconds"] is None else format_span(timedelta(seconds=round(each["lead_seconds"]))),
            each["outcome"] if each["known"] or each["outcome"] == "overtaken" else "-",
        )
    return table


def _difference(found: Mapping[str, Any]) -> str:
    first, second = (policy["name"] for policy in found["policies"])
    if found["same"]:
        return f"{first} and {second} would have retrained at the same times, for the same segments"
    both = sum(1 for one, other in found["pairs"] if one and other)
    alone = [sum(1 for pair in found["pairs"] if not pair[1 - at]) for at in (0, 1)]
    return f"{both} retrainings by both within a day; only {first}: {alone[0]}; only {second}: {alone[1]}"


def _few(names: Sequence[str] | Mapping[str, int]) -> str:
    shown, rest = list(names)[:_SHOWN_SEGMENTS], len(names) - _SHOWN_SEGMENTS
    return ", ".join(shown) + (f" and {rest} more" if rest > 0 else "")


def _day(at: str | None) -> str:
    return at[:16].replace("T", " ") if at else "-"
