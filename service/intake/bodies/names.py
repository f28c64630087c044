"""Names of columns: `features.x` as a sender writes them, `feature_x` as they are kept."""

from collections.abc import Iterable

from service.intake.bodies.limits import Limits

GROUPS = {"scores": "score_", "features": "feature_", "tags": "tag_"}
"""What a row calls a group of columns, and how the names of its columns begin."""


def kept(name: str) -> str:
    """The name under which a column is kept.

    >>> kept("features.order.value"), kept("prediction")
    ('feature_order.value', 'prediction')
    """
    group, dot, rest = name.partition(".")
    return GROUPS[group] + rest if dot else name


def told(name: str) -> str:
    """The name of a kept column as its sender knows it.

    >>> told("feature_order_value")
    'features.order_value'
    """
    start, _, rest = name.partition("_")
    return f"{start}s.{rest}"


def problem_of(name: str, limits: Limits) -> str:
    """Why the name of a feature, tag or class cannot be one; empty where it can."""
    if 0 < len(name) <= limits.name_characters and name.isprintable():
        return ""
    return f"its name must be 1 to {limits.name_characters} printable characters (TIDEGATE_MAX_NAME_CHARACTERS)"


def twins(names: Iterable[str]) -> tuple[str, str] | None:
    """Two names that differ only in case: readers of Parquet take them for one.

    >>> twins(["Text", "x", "text"])
    ('Text', 'text')
    """
    seen: dict[str, str] = {}
    for name in names:
        if seen.setdefault(name.lower(), name) != name:
            return seen[name.lower()], name
    return None
