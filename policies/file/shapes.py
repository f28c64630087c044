"""How values of a policy file are put together: parts, lists, tables, shorthands, variants, and nothing.

Every shape is one declaration that reads a tree, writes YAML values back and gives its JSON Schema; so what the
parser takes, what `dump` writes and what editors are told cannot disagree.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import MISSING, Field, dataclass, fields
from typing import Any, Protocol, runtime_checkable

from policies.file.kinds import Plain, Schema, did_you_mean
from policies.file.tree import ListNode, MapNode, Node, Notes, RefusedNode, ScalarNode, describe


class Shape(Protocol):
    """Anything that can stand at a place of a policy file."""

    def read(self, node: Node, notes: Notes, path: str) -> object:
        """The value, or None after every problem in it was noted."""

    def write(self, value: Any) -> Plain:  # noqa: ANN401  the value is what `read` gave, a different type per shape
        """The value as YAML would hold it."""

    def schema(self) -> Schema:
        """JSON Schema of what may stand there."""


@runtime_checkable
class Checked(Protocol):
    """A part whose keys depend on each other: says which keys are at odds, and why."""

    def problems(self) -> Iterable[tuple[tuple[str, ...], str]]: ...


def about(shape: Shape, says: str, *, name: str = "") -> dict[str, Any]:
    """Metadata of a dataclass field that is a key of the file: its shape, its description, its name if another."""
    return {"shape": shape, "says": says, "name": name}


def keys_of(part: type) -> dict[str, Field[Any]]:
    """The keys a part knows, with the fields they fill."""
    return {field.metadata["name"] or field.name: field for field in fields(part)}


@dataclass(frozen=True)
class Part:
    """Keys and values that fill one dataclass; unknown keys are refused, absent ones take the field's default."""

    of: type

    def read(self, node: Node, notes: Notes, path: str, *, besides: tuple[str, ...] = ()) -> object:
        known, before = keys_of(self.of), len(notes.problems)
        values = {
            field.name: field.metadata["shape"].read(inner, notes, _join(path, key.text))
            for field, key, inner in self.pairs(node, notes, path, besides=besides)
        }
        if not isinstance(node, MapNode):
            return None
        missing = [name for name, field in known.items() if _is_required(field) and field.name not in values]
        for name in missing:
            notes.add(node, path, f'the key "{name}" is required: {known[name].metadata["says"]}')
        if len(notes.problems) > before:
            return None
        made: object = self.of(**values)
        if isinstance(made, Checked):
            for where, message in made.problems():
                notes.add(_locate(node, where), _join(path, ".".join(where)), message)
        return made

    def pairs(
        self, node: Node, notes: Notes, path: str, *, besides: tuple[str, ...] = ()
    ) -> Iterator[tuple[Field[Any], ScalarNode, Node]]:
        """The known keys of a node with their fields and values; anything else is noted."""
        known = keys_of(self.of)
        if not isinstance(node, MapNode):
            _refuse(node, notes, path, "the keys " + ", ".join([*besides, *known]))
            return
        for key, inner in node.pairs:
            if key.text in known:
                yield known[key.text], key, inner
            elif key.text not in besides:
                advice = did_you_mean(key.text, known) or "known keys: " + ", ".join([*besides, *known])
                notes.add(key, path, f'unknown key "{key.text}"; {advice}', f'"{key.text}"')

    def write(self, value: object) -> dict[str, Plain]:
        pairs = ((name, field, getattr(value, field.name)) for name, field in keys_of(self.of).items())
        return {name: field.metadata["shape"].write(inner) for name, field, inner in pairs if inner is not None}

    def schema(self) -> Schema:
        properties: Schema = {}
        for name, field in keys_of(self.of).items():
            properties[name] = {"description": field.metadata["says"]} | field.metadata["shape"].schema()
            if field.default is not MISSING and field.default not in (None, ""):
                properties[name]["default"] = field.metadata["shape"].write(field.default)
        required: list[Plain] = [name for name, field in keys_of(self.of).items() if _is_required(field)]
        wanted: Schema = {"required": required} if required else {}
        return {"type": "object", "properties": properties, "additionalProperties": False} | wanted


@dataclass(frozen=True)
class Several:
    """A list; becomes a tuple."""

    of: Shape
    at_least: int = 0

    def read(self, node: Node, notes: Notes, path: str) -> object:
        if not isinstance(node, ListNode) or len(node.items) < self.at_least:
            _refuse(node, notes, path, "a list, like [a, b]" + (f", of at least {self.at_least}" * bool(self.at_least)))
            return None
        return tuple(self.of.read(item, notes, f"{path}[{at}]") for at, item in enumerate(node.items))

    def write(self, value: tuple[object, ...]) -> list[Plain]:
        return [self.of.write(item) for item in value]

    def schema(self) -> Schema:
        return {"type": "array", "items": self.of.schema()} | ({"minItems": self.at_least} if self.at_least else {})


@dataclass(frozen=True)
class Table:
    """Free names, each with a value; becomes a tuple of (name, value) in the order of the file."""

    of: Shape

    def read(self, node: Node, notes: Notes, path: str) -> object:
        if not isinstance(node, MapNode):
            _refuse(node, notes, path, "names and values, like name: value")
            return None
        return tuple((key.text, self.of.read(inner, notes, _join(path, key.text))) for key, inner in node.pairs)

    def write(self, value: tuple[tuple[str, object], ...]) -> dict[str, Plain]:
        return {name: self.of.write(inner) for name, inner in value}

    def schema(self) -> Schema:
        return {"type": "object", "additionalProperties": self.of.schema()}


@dataclass(frozen=True)
class Shorthand:
    """One of a few words, each for a value; or the long form."""

    words: Mapping[str, object]
    long: Shape

    def read(self, node: Node, notes: Notes, path: str) -> object:
        if isinstance(node, ScalarNode):
            if node.text in self.words:
                return self.words[node.text]
            advice = did_you_mean(node.text, self.words)
            _refuse(node, notes, path, f"one of {', '.join(self.words)}, or keys and values", advice)
            return None
        return self.long.read(node, notes, path)

    def write(self, value: object) -> Plain:
        short = [word for word, meant in self.words.items() if meant == value]
        return short[0] if short else self.long.write(value)

    def schema(self) -> Schema:
        return {"anyOf": [{"enum": list(self.words)}, self.long.schema()]}


@dataclass(frozen=True)
class OrNothing:
    """A value that may be taken away: `null` says that there is none, whatever the defaults of the folder say."""

    of: Shape

    def read(self, node: Node, notes: Notes, path: str) -> object:
        # A key that was left empty is no `null` but an unfinished edit.
        if isinstance(node, ScalarNode) and node.sort == "nothing" and node.text:
            return None
        return self.of.read(node, notes, path)

    def write(self, value: object) -> Plain:
        return None if value is None else self.of.write(value)

    def schema(self) -> Schema:
        return {"anyOf": [self.of.schema(), {"type": "null"}]}


@dataclass(frozen=True)
class Variants:
    """Keys and values of which one key, `kind`, says what the others are."""

    parts: Mapping[str, type]

    def read(self, node: Node, notes: Notes, path: str) -> object:
        part = self.choose(node, notes, path)
        return part.read(node, notes, path, besides=("kind",)) if part else None

    def choose(self, node: Node, notes: Notes, path: str) -> Part | None:
        """The part that the node's kind asks for; None after the problem was noted."""
        named = {key.text: inner for key, inner in node.pairs} if isinstance(node, MapNode) else {}
        kind = named.get("kind")
        if kind is None:
            _refuse(node, notes, path, f"keys and values with a kind: {', '.join(self.parts)}")
            return None
        if not isinstance(kind, ScalarNode) or kind.text not in self.parts:
            advice = did_you_mean(kind.text, self.parts) if isinstance(kind, ScalarNode) else ""
            _refuse(kind, notes, _join(path, "kind"), f"one of {', '.join(self.parts)}", advice)
            return None
        return Part(self.parts[kind.text])

    def write(self, value: object) -> dict[str, Plain]:
        kind = next(kind for kind, part in self.parts.items() if type(value) is part)
        return {"kind": kind} | Part(type(value)).write(value)

    def schema(self) -> Schema:
        return {"oneOf": [_variant_schema(kind, part) for kind, part in self.parts.items()]}


def _variant_schema(kind: str, part: type) -> Schema:
    schema = Part(part).schema()
    named: Schema = {"kind": {"const": kind, "description": f"The variant: {kind}."}}
    properties = named | schema["properties"]
    return schema | {"properties": properties, "required": ["kind", *schema.get("required", [])]}


def _is_required(field: Field[Any]) -> bool:
    return field.default is MISSING


def _refuse(node: Node, notes: Notes, path: str, allowed: str, advice: str = "") -> None:
    if not isinstance(node, RefusedNode):
        notes.add(node, path, f"expected {allowed}, saw {describe(node)}" + (f"; {advice}" if advice else ""))


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path and name else path or name


def _locate(node: Node, where: tuple[str, ...]) -> Node:
    """The deepest node on the way `where` that the file really has."""
    for name in where:
        inner = {key.text: value for key, value in node.pairs} if isinstance(node, MapNode) else {}
        if name not in inner:
            return node
        node = inner[name]
    return node
