"""Text → Policy, strictly, with every problem at once and its place; Policy → plain values, and its digest."""

from functools import lru_cache
from hashlib import sha256
from typing import cast

import msgspec

from policies.kinds import Schema
from policies.policy import Policy
from policies.shapes import Part
from policies.tree import Notes, read_tree

_FILE = Part(Policy)


def parse(text: str, source: str = "policy") -> Policy:
    r"""The policy of a YAML text; `source` names the file in messages.

    Raises PolicyInvalid with all problems, each as `file:line:column: key: what was expected, what was seen`.

    >>> parse("{model: support, task: {kind: classification}}").performance.metric
    'accuracy'
    >>> parse("model: support\ntask: {kind: clasification}", "support.yaml")
    Traceback (most recent call last):
        ...
    policies.errors.PolicyInvalid: support.yaml:2:14: task.kind: expected classification or regression,
        saw "clasification"; did you mean "classification"?
    """
    notes = Notes(source)
    policy = _FILE.read(read_tree(text, notes), notes, "")
    notes.stop_if_any()
    return cast("Policy", policy)


def dump(policy: Policy) -> Schema:
    """Everything a policy says, defaults included, as YAML and JSON hold it; `parse` reads it back the same."""
    return _FILE.write(policy)


@lru_cache(maxsize=256)
def digest(policy: Policy) -> str:
    """SHA-256 of what the policy says, in hex: comments, order of keys and spelled-out defaults do not change it."""
    return sha256(msgspec.json.encode(dump(policy))).hexdigest()
