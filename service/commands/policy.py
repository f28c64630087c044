"""`tidegate policy`: check files, explain a model's decision, print the schema."""

import argparse
import json
import sys

from policies.errors import PolicyInvalid
from policies.parse import dump, parse
from policies.schema import json_schema
from policies.without_effect import without_effect
from service.remote import Remote


def run(options: argparse.Namespace) -> int:
    """0 when every file is a policy, 1 when one is not."""
    if options.what == "schema":
        sys.stdout.write(json.dumps(json_schema(), indent=2) + "\n")
        return 0
    return _check(options) if options.what == "check" else _explain(options)


def _check(options: argparse.Namespace) -> int:
    bad = 0
    for file in options.files:
        try:
            policy = parse(file.read_text(encoding="utf-8"), str(file))
        except PolicyInvalid as error:
            sys.stderr.write(f"{error}\n")
            bad += 1
            continue
        except (OSError, UnicodeDecodeError) as error:
            sys.stderr.write(f"{file}: cannot be read: {error}\n")
            bad += 1
            continue
        sys.stdout.write(f"{file}: a policy for {policy.model}\n")
        for sentence in without_effect(policy):
            sys.stdout.write(f"  note: {sentence}\n")
        if options.full:
            sys.stdout.write(json.dumps(dump(policy), indent=2) + "\n")
    return 1 if bad else 0


def _explain(options: argparse.Namespace) -> int:
    remote = Remote(options.url)
    found = remote.get("models", options.model)
    if options.json:
        sys.stdout.write(json.dumps(found, indent=2) + "\n")
        return 0
    sys.stdout.write(f"{options.model}: {found.get('action') or 'not evaluated yet'}\n")
    reasons = [r for r in found.get("reasons") or () if options.segment in {None, r["segment"]}]
    for reason in reasons:
        sys.stdout.write(f"  {'yes' if reason['met'] else 'no ':3} {reason['code']}: {reason['text']}\n")
    if options.segment and not reasons:
        return _tell_segment(remote, options)
    return 0


def _tell_segment(remote: Remote, options: argparse.Namespace) -> int:
    """A segment that is none of those nearest to a trigger: its state, and how near it is."""
    segment = remote.get("models", options.model, "segments", options.segment)
    sys.stdout.write(
        f"  {options.segment} is {segment['state']} on {segment['rows']} rows; others are nearer to a trigger\n"
    )
    for column in segment["columns"][:5]:
        if column["size"] is not None:
            size = f"{column['statistic']} {column['size']:.3f} of {column['threshold']}"
            sys.stdout.write(f"    {column['column']}: {size}, evidence {column['evidence_ln']:.1f}\n")
    return 0
