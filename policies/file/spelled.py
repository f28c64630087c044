"""A settled policy as YAML for people: every key, and where each value came from that is not built in."""

import re
from collections.abc import Iterator
from json import dumps

from policies.file.kinds import Plain
from policies.file.parse import Settled, dump
from policies.file.tree import MapNode, Node

_COMMENT_AT = 52
_PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9_.-]*|(\d+(ms|[wdhms]))+")
_NO_TEXT = ("true", "false", "null")
# Line ends to YAML, but not to JSON.
_BREAKS = {0x85: "\\u0085", 0x2028: "\\u2028", 0x2029: "\\u2029"}


def spell_out(settled: Settled) -> str:
    r"""The policy with all defaults; `parse` reads it back the same. A comment names the file and line of a value.

    >>> from policies.file.parse import settle
    >>> text = spell_out(settle("model: support\ntask: {kind: classification}\npersist: 3", "support.yaml"))
    >>> [line for line in text.splitlines() if line.startswith("persist")]
    ['persist: 3                                          # support.yaml:3']
    """
    lines = ["# Every key. Where no file and line is named, the value is built in."]
    lines += _spell(dump(settled.policy), settled.tree, "")
    return "\n".join(lines) + "\n"


def _spell(values: dict[str, Plain], node: Node | None, indent: str) -> Iterator[str]:
    for name, value in values.items():
        from_ = _below(node, name)
        key = f"{indent}{_word(name)}:"
        if isinstance(value, dict) and value:
            yield key
            yield from _spell(value, from_, indent + "  ")
        elif isinstance(value, list) and value and all(isinstance(item, dict) for item in value):
            yield _noted(key, from_)
            yield from (f"{indent}  - {_flow(item)}" for item in value)
        else:
            yield _noted(f"{key} {_flow(value)}", from_)


def _below(node: Node | None, name: str) -> Node | None:
    """Where a key's value stands; a word that stands for keys is the place of them all."""
    if not isinstance(node, MapNode):
        return node
    return next((value for key, value in node.pairs if key.text == name), None)


def _noted(line: str, node: Node | None) -> str:
    return f"{line:<{_COMMENT_AT - 1}} # {node.source.rpartition('/')[2]}:{node.line}" if node else line


def _flow(value: Plain) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_word(name)}: {_flow(inner)}" for name, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(_flow(item) for item in value) + "]"
    return _word(value)


def _word(value: Plain) -> str:
    if isinstance(value, str) and _PLAIN.fullmatch(value) and value.lower() not in _NO_TEXT:
        return value
    return dumps(value, ensure_ascii=False).translate(_BREAKS)
