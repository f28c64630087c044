"""Text → Policy, strictly, with every problem at once and its place; Policy → plain values, and its digest."""

from dataclasses import dataclass, replace
from functools import lru_cache
from hashlib import sha256
from typing import cast

import msgspec

from policies.file.inherit import Defaults, merge
from policies.file.kinds import Schema
from policies.file.policy import Policy
from policies.file.shapes import Part
from policies.file.tree import Node, Notes, read_tree

_FILE = Part(Policy)


@dataclass(frozen=True)
class Settled:
    """A policy with the tree that it was read from: what the file says, and below it what the defaults say."""

    policy: Policy
    tree: Node


def parse(text: str, source: str = "policy", defaults: Defaults | None = None) -> Policy:
    r"""The policy of a YAML text over the `defaults` of its folder; `source` names the file in messages.

    Raises PolicyInvalid with all problems, each as `file:line:column: key: what was expected, what was seen`, where the
    file is the defaults' own for a value that was inherited.

    >>> parse("{model: support, task: {kind: classification}}").performance.metric
    'accuracy'
    >>> parse("model: support\ntask: {kind: clasification}", "support.yaml")
    Traceback (most recent call last):
        ...
    policies.errors.PolicyInvalid: support.yaml:2:14: task.kind: expected classification or regression,
        saw "clasification"; did you mean "classification"?
    """
    return settle(text, source, defaults).policy


def settle(text: str, source: str = "policy", defaults: Defaults | None = None) -> Settled:
    """The same as `parse`, with the tree."""
    notes = Notes(source)
    tree = read_tree(text, notes)
    merged = merge(tree, defaults.tree) if defaults else tree
    policy = _FILE.read(merged, notes, "")
    notes.stop_if_any()
    return Settled(cast("Policy", policy), merged)


def dump(policy: Policy) -> Schema:
    """Everything a policy says, defaults included, as YAML and JSON hold it; `parse` reads it back the same."""
    return _FILE.write(policy)


@lru_cache(maxsize=256)
def digest(policy: Policy) -> str:
    """SHA-256 of what the policy says, in hex: comments, order of keys and spelled-out defaults do not change it.

    Nor does `shadow`: rules that were tried as a shadow are known again when they are put in force.

    >>> text = "{model: support, task: {kind: classification}}"
    >>> digest(parse(text)) == digest(parse(text.replace("{m", "{shadow: true, m")))
    True
    """
    return sha256(msgspec.json.encode(dump(replace(policy, shadow=False)))).hexdigest()
