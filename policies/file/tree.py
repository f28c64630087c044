"""Text → tree of values that know their line and column; refuses what a policy file has no use for.

Aliases, anchors, tags, merge keys, directives, a second document, keys that are no plain word or come twice: each of
them lets a file mean something else than a reader sees, or explode when walked (an alias bomb of 10^10 loads in
10 ms). The tree is built from the parser's events, so that nothing is expanded before it was looked at.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    Event,
    MappingEndEvent,
    NodeEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)

from policies.errors import PolicyInvalid, Problem

MAX_CHARACTERS = 256 * 1024
MAX_VALUES = 20_000  # about half a second of parsing; a policy of 1,000 columns has 6,000
MAX_DEPTH = 16  # a policy is 5 deep

_NUMBER = re.compile(r"[-+]?(\.\d+|\d+(\.\d*)?)([eE][-+]?\d+)?")
_CONTROL = re.compile(r"[^\t\n\r -~\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass(frozen=True)
class ScalarNode:
    """One word, number or text. `sort` is nothing, boolean, number or text, as YAML 1.2 reads it."""

    line: int
    column: int
    text: str
    sort: str
    source: str = ""


@dataclass(frozen=True)
class ListNode:
    line: int
    column: int
    items: "tuple[Node, ...]"
    source: str = ""


@dataclass(frozen=True)
class MapNode:
    line: int
    column: int
    pairs: "tuple[tuple[ScalarNode, Node], ...]"
    source: str = ""


@dataclass(frozen=True)
class RefusedNode:
    """Something that was already reported; whoever reads it says nothing more."""

    line: int
    column: int
    source: str = ""


Node = ScalarNode | ListNode | MapNode | RefusedNode


@dataclass
class Notes:
    """The problems found so far in one file, and in what it inherits from another."""

    source: str
    problems: list[Problem] = field(default_factory=list)

    def add(self, node: Node, path: str, message: str, seen: str = "") -> None:
        source = node.source or self.source
        self.problems.append(Problem(source, node.line, node.column, path, seen or describe(node), message))

    def stop_if_any(self) -> None:
        if self.problems:
            raise PolicyInvalid(tuple(sorted(self.problems, key=self._order)))

    def _order(self, problem: Problem) -> tuple[object, ...]:
        """As they stand in the file; those of what it inherits at the end."""
        return problem.source != self.source, problem.line, problem.column, problem.path, problem.message


def describe(node: Node) -> str:
    """What stands there, in a few words: `the number 7`, `"high"`, `a list of 3`."""
    if isinstance(node, ScalarNode):
        text = node.text if len(node.text) <= 60 else node.text[:57] + "..."
        words = {"nothing": "nothing", "number": f"the number {text}", "boolean": text}
        return words.get(node.sort, f'"{text}"')
    if isinstance(node, ListNode):
        return f"a list of {len(node.items)}"
    if isinstance(node, MapNode):
        keys = [key.text for key, _ in node.pairs]
        return "keys and values (" + ", ".join(keys[:5]) + (", ..." if len(keys) > 5 else "") + ")"
    return "something refused"


def read_tree(text: str, notes: Notes) -> Node:
    """The one document of a file as a tree; what is refused goes to `notes`.

    Raises PolicyInvalid where reading cannot go on: broken YAML, too large, too deep, a second document, nothing.
    """
    start = RefusedNode(1, 1)
    control = _CONTROL.search(text)
    if len(text) > MAX_CHARACTERS:
        message = f"the file has {len(text):,} characters, a policy may have {MAX_CHARACTERS:,}"
        notes.add(start, "", message, "a large file")
    elif control:
        before = text[: control.start()]
        place = RefusedNode(before.count("\n") + 1, control.start() - before.rfind("\n"))
        notes.add(
            place, "", f"the control character {control.group()!r} cannot stand here, remove it", "a control character"
        )
    notes.stop_if_any()
    try:
        return _Grower(YAML(typ="safe", pure=True).parse(text), notes).grow_document()
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = RefusedNode(mark.line + 1, mark.column + 1) if mark else start
        said = " ".join(str(part) for part in (error.context, error.problem) if part)
        notes.add(place, "", f"this is not YAML: {said}", "broken YAML")
    except YAMLError as error:
        notes.add(start, "", f"this is not YAML: {error}", "broken YAML")
    notes.stop_if_any()
    return start


class _Grower:
    """Turns a stream of events into a tree; holds the stream and counts what it took from it."""

    def __init__(self, events: Iterator[Event], notes: Notes) -> None:
        self._events = events
        self._notes = notes
        self._taken = 0

    def grow_document(self) -> Node:
        document: Node | None = None
        for event in self._events:
            place = self._place(event)
            if isinstance(event, DocumentStartEvent):
                if document is not None:
                    self._halt(place, "one file holds one policy: a second document begins here", "a second document")
                if event.version or event.tags:
                    self._notes.add(place, "", "a policy needs no % directives, remove them", "a directive")
            elif isinstance(event, NodeEvent):
                document = self._grow(event, "", 0)
        if document is None:
            self._halt(RefusedNode(1, 1), "the file is empty: a policy says at least `model` and `task`", "nothing")
            return RefusedNode(1, 1)
        return document

    def _grow(self, event: Event, path: str, depth: int) -> Node:
        place = self._place(event)
        self._taken += 1
        if depth > MAX_DEPTH:
            self._halt(place, f"nested more than {MAX_DEPTH} deep", "deep nesting")
        if self._taken > MAX_VALUES:
            self._halt(place, f"more than {MAX_VALUES:,} keys and values", "a large file")
        refused = _refusal(event)
        if refused:
            self._notes.add(place, path, *refused)
        if isinstance(event, AliasEvent):
            return place
        if isinstance(event, ScalarEvent):
            plain = event.style is None
            sort = _sort(event.value) if plain else "text"
            return ScalarNode(place.line, place.column, event.value, sort, place.source)
        if isinstance(event, SequenceStartEvent):
            return self._grow_list(place, path, depth)
        return self._grow_map(place, path, depth)

    def _grow_list(self, place: RefusedNode, path: str, depth: int) -> Node:
        items: list[Node] = []
        while not isinstance(event := next(self._events), SequenceEndEvent):
            items.append(self._grow(event, f"{path}[{len(items)}]", depth + 1))
        return ListNode(place.line, place.column, tuple(items), place.source)

    def _grow_map(self, place: RefusedNode, path: str, depth: int) -> Node:
        pairs: dict[str, tuple[ScalarNode, Node]] = {}
        while not isinstance(event := next(self._events), MappingEndEvent):
            key = self._grow(event, path, depth + 1)
            name = key.text if isinstance(key, ScalarNode) else ""
            inner = f"{path}.{name}" if path else name
            value = self._grow(next(self._events), inner, depth + 1)
            if isinstance(value, ScalarNode) and not value.text and value.sort == "nothing":
                # The parser places an absent value where the next key begins.
                value = replace(value, line=key.line, column=key.column)
            if not isinstance(key, ScalarNode):
                if not isinstance(key, RefusedNode):
                    self._notes.add(key, path, f"a key is one word, saw {describe(key)}")
            elif name == "<<" and key.sort == "text":
                self._notes.add(key, path, "merge keys are not allowed in a policy: write the values out", "<<")
            elif name in pairs:
                first = pairs[name][0].line
                self._notes.add(key, inner, f"the key was already given in line {first}: keep one of them", f'"{name}"')
            else:
                pairs[name] = (key, value)
        return MapNode(place.line, place.column, tuple(pairs.values()), place.source)

    def _place(self, event: Event) -> RefusedNode:
        return RefusedNode(event.start_mark.line + 1, event.start_mark.column + 1, self._notes.source)

    def _halt(self, place: RefusedNode, message: str, seen: str) -> None:
        self._notes.add(place, "", message, seen)
        self._notes.stop_if_any()


def _refusal(event: Event) -> tuple[str, str] | None:
    if isinstance(event, AliasEvent):
        return "aliases are not allowed in a policy: write the value out", f"*{event.anchor}"
    anchor, tag = getattr(event, "anchor", None), getattr(event, "tag", None)
    if anchor:
        return "anchors are not allowed in a policy: remove it", f"&{anchor}"
    return ("tags are not allowed in a policy: remove it", str(tag)) if tag else None


def _sort(text: str) -> str:
    if text in {"", "~", "null", "Null", "NULL"}:
        return "nothing"
    if text in {"true", "True", "TRUE", "false", "False", "FALSE"}:
        return "boolean"
    special = text.lower().lstrip("+-") in {".inf", ".nan"}
    return "number" if special or _NUMBER.fullmatch(text) else "text"
