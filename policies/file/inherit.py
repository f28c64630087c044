"""What every policy of a folder says unless it says otherwise: a part of a policy, merged under each file.

Mappings are merged key by key; a list or a single value replaces what was inherited. A mapping of another `kind`
replaces it too, for the other keys of a trainer or a task say nothing about one of another kind.
"""

from dataclasses import dataclass

from policies.file.policy import Policy
from policies.file.shapes import OrNothing, Part, Shape, Shorthand, Table, Variants
from policies.file.tree import MapNode, Node, Notes, RefusedNode, ScalarNode, read_tree

STEM = "defaults"
"""The name of the file, before its suffix."""
OWN = ("model", "shadow", "task.target")


@dataclass(frozen=True)
class Defaults:
    """A checked part of a policy, as the tree of its file."""

    tree: Node

    @property
    def source(self) -> str:
        return self.tree.source


def read_defaults(text: str, source: str = "defaults") -> Defaults:
    """The defaults of a text. Raises PolicyInvalid with all problems that show without a policy.

    What depends on the rest, like a metric of another task, shows when a policy inherits it.

    >>> read_defaults("persist: often", "defaults.yaml")
    Traceback (most recent call last):
        ...
    policies.errors.PolicyInvalid: defaults.yaml:1:10: persist: expected a whole number of at least 1, saw "often"
    """
    notes = Notes(source)
    tree = read_tree(text, notes)
    _check(Part(Policy), tree, notes, "")
    notes.stop_if_any()
    return Defaults(tree)


def merge(own: Node, inherited: Node) -> Node:
    """What a file says, and below it what it does not say; every node knows the file that it is from."""
    if not isinstance(own, MapNode) or not isinstance(inherited, MapNode) or _kind(own, inherited) != _kind(inherited):
        return own
    below = {key.text: value for key, value in inherited.pairs}
    said = [(key, merge(value, below[key.text]) if key.text in below else value) for key, value in own.pairs]
    names = {key.text for key, _ in own.pairs}
    unsaid = [(key, value) for key, value in inherited.pairs if key.text not in names]
    return MapNode(own.line, own.column, (*said, *unsaid), own.source)


def _kind(node: MapNode, other: MapNode | None = None) -> str | None:
    """The `kind` of a mapping; of the other one where this one says none."""
    found = next(
        (value.text for key, value in node.pairs if key.text == "kind" and isinstance(value, ScalarNode)), None
    )
    return _kind(other) if found is None and other is not None else found


def _check(shape: Shape, node: Node, notes: Notes, path: str) -> None:
    """Whether a node may stand there as a part: keys may be absent, those that are there have to be right."""
    if isinstance(shape, Shorthand) and not isinstance(node, ScalarNode):
        _check(shape.long, node, notes, path)
    elif isinstance(shape, OrNothing) and not isinstance(node, ScalarNode):
        _check(shape.of, node, notes, path)
    elif isinstance(shape, Variants):
        part = shape.choose(node, notes, path)
        if part is not None:
            _check_part(part, node, notes, path, besides=("kind",))
    elif isinstance(shape, Part):
        _check_part(shape, node, notes, path)
    elif isinstance(shape, Table) and isinstance(node, MapNode):
        for key, value in node.pairs:
            _check(shape.of, value, notes, f"{path}.{key.text}")
    else:
        shape.read(node, notes, path)


def _check_part(part: Part, node: Node, notes: Notes, path: str, besides: tuple[str, ...] = ()) -> None:
    for field, key, value in part.pairs(node, notes, path, besides=besides):
        inner = f"{path}.{key.text}" if path else key.text
        if inner in OWN:
            told = f"each policy says its own `{inner}`: take it out of the defaults"
            notes.add(key, inner, told)
        elif not isinstance(value, RefusedNode):
            _check(field.metadata["shape"], value, notes, inner)
