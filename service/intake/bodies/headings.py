"""The columns that a body of columns names: those it must have, those it may, and what is wrong with all others."""

from collections.abc import Iterable
from functools import lru_cache

from service.errors import MalformedBody
from service.intake.bodies import names
from service.intake.bodies.limits import Limits


@lru_cache(maxsize=64)
def check_headings(headings: tuple[str, ...], allowed: tuple[str, ...], limits: Limits) -> None:
    """Dotted names of all columns against those of a kind of row: groups belong to predictions only.

    Remembered where nothing is wrong: a sender's bodies name the same columns one after the other.

    Raises:
        MalformedBody: one is missing, unknown, named twice, or cannot be the name of a column.
    """
    groups = tuple(names.GROUPS) if "prediction" in allowed else ()
    for heading in headings:
        group, dot, name = heading.partition(".")
        if heading not in allowed and not (dot and group in groups):
            shown = ", ".join([*allowed, *(f"{group}.<name>" for group in groups)])
            raise MalformedBody(f"column {_short(heading)} is not one of {shown}{_hint(heading, groups)}")
        problem = names.problem_of(name, limits) if dot else ""
        if problem:
            raise MalformedBody(f"column {_short(heading)}: {problem}")
    for needed in (allowed[0], "prediction" if groups else "label"):
        if needed not in headings:
            raise MalformedBody(f"there is no column {needed}")
    clash = names.twins(headings)
    if clash:
        raise MalformedBody(f"columns {_short(clash[0])} and {_short(clash[1])} differ only in upper and lower case")
    if len(set(headings)) < len(headings):
        twice = next(heading for heading in headings if headings.count(heading) > 1)
        raise MalformedBody(f"there are two columns {_short(twice)}")
    wide = sum(heading.startswith(("features.", "tags.")) for heading in headings)
    if wide > limits.columns:
        raise MalformedBody(f"{wide} features and tags; {limits.columns} are allowed (TIDEGATE_MAX_COLUMNS)")


def nested(flat: Iterable[tuple[str, object]]) -> dict[str, object]:
    """A row as its sender would have written it by itself.

    >>> nested([("prediction", "a"), ("features.x", 1), ("features.y.z", 2)])
    {'prediction': 'a', 'features': {'x': 1, 'y.z': 2}}
    """
    row: dict[str, object] = {}
    groups: dict[str, dict[str, object]] = {}
    for heading, value in flat:
        group, dot, name = heading.partition(".")
        if dot:
            groups.setdefault(group, {})[name] = value
        else:
            row[heading] = value
    return {**row, **groups}


def _short(heading: str) -> str:
    return repr(heading[:80])


def _hint(heading: str, groups: tuple[str, ...]) -> str:
    for group in groups:
        if heading.startswith(names.GROUPS[group]):
            return f"; did you mean {group}.{heading[len(names.GROUPS[group]) :][:80]}?"
    return ""
