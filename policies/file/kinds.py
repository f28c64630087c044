"""The kinds of single values in a policy file: each reads, writes and describes itself."""

import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from difflib import get_close_matches
from typing import Any

from policies.file.tree import Node, Notes, RefusedNode, ScalarNode, describe

Plain = Any  # what YAML and JSON hold: nothing, booleans, numbers, texts, lists and dicts of them
Schema = dict[str, Plain]

_UNITS = {"w": 604_800_000, "d": 86_400_000, "h": 3_600_000, "m": 60_000, "s": 1_000, "ms": 1}
_SIZES = {"GB": 10**9, "MB": 10**6, "KB": 1_000, "B": 1}
_SPAN_FORM = r"(\d{1,9}(ms|[wdhms]))+|0"
_SHARE_FORM = r"\d+(\.\d*)?%"
_LONGEST = timedelta(days=3660)


@dataclass(frozen=True)
class Leaf:
    """One kind of single value.

    `allowed` says what may stand there; `convert` makes the value or raises ValueError (empty, or with advice);
    `write` gives the YAML value back; `form` is its JSON Schema.
    """

    allowed: str
    convert: Callable[[ScalarNode], object]
    write: Callable[[Any], Plain]
    form: Mapping[str, Plain]

    def read(self, node: Node, notes: Notes, path: str) -> object:
        """The value, or None after the problem was noted."""
        if isinstance(node, RefusedNode):
            return None
        if isinstance(node, ScalarNode):
            try:
                return self.convert(node)
            except ValueError as problem:
                advice = f"; {problem}" if str(problem) else ""
        else:
            advice = ""
        notes.add(node, path, f"expected {self.allowed}, saw {describe(node)}{advice}")
        return None

    def schema(self) -> Schema:
        return dict(self.form)


def did_you_mean(word: str, allowed: Iterable[str]) -> str:
    """`did you mean "psi"?`, or an empty text where nothing is close."""
    close = get_close_matches(word.lower(), list(allowed), n=1, cutoff=0.6)
    return f'did you mean "{close[0]}"?' if close else ""


def text(allowed: str = "text", form: str = r"[\s\S]{1,500}") -> Leaf:
    pattern = re.compile(form)

    def convert(node: ScalarNode) -> str:
        if node.sort in {"number", "boolean"}:
            raise ValueError("put it in quotes if it is meant as text")
        if node.sort == "nothing" or not pattern.fullmatch(node.text):
            raise ValueError
        return node.text

    return Leaf(allowed, convert, str, {"type": "string", "pattern": f"^(?:{form})$"})


def one_of(*words: str) -> Leaf:
    def convert(node: ScalarNode) -> str:
        if node.text not in words:
            raise ValueError(did_you_mean(node.text, words))
        return node.text

    allowed = words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"
    return Leaf(allowed, convert, str, {"enum": list(words)})


def number(low: float, high: float = math.inf, *, above: bool = False) -> Leaf:
    """A finite number from `low` (not `low` itself where `above`) to `high`."""
    allowed = f"a number {'above' if above else 'of at least'} {low:g}" + (
        f" and at most {high:g}" if high < math.inf else ""
    )

    def convert(node: ScalarNode) -> float:
        return _checked(_finite(node), low, high, above=above)

    bounds: Schema = {"exclusiveMinimum" if above else "minimum": low} | ({"maximum": high} if high < math.inf else {})
    return Leaf(allowed, convert, float, {"type": "number"} | bounds)


def whole(low: int, high: int = 10**9) -> Leaf:
    def convert(node: ScalarNode) -> int:
        if not re.fullmatch(r"[-+]?\d{1,12}", node.text) or node.sort != "number":
            raise ValueError
        return int(_checked(int(node.text), low, high))

    allowed = f"a whole number from {low} to {high}" if high < 10**9 else f"a whole number of at least {low}"
    return Leaf(allowed, convert, int, {"type": "integer", "minimum": low, "maximum": high})


def share(*, above: bool = False) -> Leaf:
    """A share as a number from 0 to 1, or in percent like 5%; above 0 and below 1 where `above`."""

    def convert(node: ScalarNode) -> float:
        percent = re.fullmatch(_SHARE_FORM, node.text)
        value = float(node.text[:-1]) / 100 if percent else _finite(node)
        if above and value == 1:
            raise ValueError
        return _checked(value, 0, 1, above=above)

    allowed = "a share between 0 and 1, like 0.05 or 5%" + (", neither of them" if above else "")
    bounds: Schema = {"exclusiveMinimum": 0, "exclusiveMaximum": 1} if above else {"minimum": 0, "maximum": 1}
    numeric: Schema = {"type": "number"} | bounds
    return Leaf(allowed, convert, float, {"anyOf": [numeric, {"type": "string", "pattern": f"^{_SHARE_FORM}$"}]})


def boolean() -> Leaf:
    def convert(node: ScalarNode) -> bool:
        if node.sort != "boolean":
            raise ValueError
        return node.text.lower() == "true"

    return Leaf("true or false", convert, bool, {"type": "boolean"})


def span(low: timedelta = timedelta(0)) -> Leaf:
    """A duration like 15m, 2d or 1h30m, at least `low` and at most ten years."""

    def convert(node: ScalarNode) -> timedelta:
        total = read_span(node.text)
        if total < low:
            raise ValueError(f"the shortest is {format_span(low)}")
        return total

    allowed = "a duration like 50ms, 15m, 2d or 1h30m"
    forms: list[Plain] = [{"type": "string", "pattern": f"^(?:{_SPAN_FORM})$"}] + ([] if low else [{"const": 0}])
    return Leaf(allowed, convert, format_span, {"anyOf": forms})


def read_span(words: str) -> timedelta:
    """A duration as a policy writes it. Raises ValueError, with advice or empty."""
    if not re.fullmatch(_SPAN_FORM, words):
        raise ValueError
    parts = re.findall(r"(\d+)(ms|[wdhms])", words)
    try:
        total = timedelta(milliseconds=sum(int(count) * _UNITS[unit] for count, unit in parts))
    except OverflowError as error:
        raise ValueError("that is more than ten years") from error
    if total > _LONGEST:
        raise ValueError("that is more than ten years")
    return total


def format_span(value: timedelta) -> str:
    """A duration as a policy writes it, to the millisecond: 90 minutes are `1h30m`."""
    rest = value // timedelta(milliseconds=1)
    if rest <= 0:
        return "0s"
    parts = []
    for unit, size in _UNITS.items():
        if unit != "w" and rest >= size:
            parts.append(f"{rest // size}{unit}")
            rest %= size
    return "".join(parts)


def size() -> Leaf:
    """A size of files like 500MB or 1.5GB, of 1,000 bytes a kilobyte; at least one byte."""

    def convert(node: ScalarNode) -> int:
        found = re.fullmatch(r"(\d{1,9}(?:\.\d{1,3})?)(B|KB|MB|GB)", node.text)
        if not found or float(found[1]) * _SIZES[found[2]] < 1:
            raise ValueError
        return round(float(found[1]) * _SIZES[found[2]])

    form: Schema = {"type": "string", "pattern": r"^\d{1,9}(\.\d{1,3})?(B|KB|MB|GB)$"}
    return Leaf("a size like 500MB or 1.5GB", convert, format_size, form)


def format_size(value: int) -> str:
    """A size as a policy writes it, which reads back the same.

    >>> format_size(500_000_000), format_size(1_234), format_size(1_234_567)
    ('500MB', '1.234KB', '1234.567KB')
    """
    unit = next((unit for unit, bytes_ in _SIZES.items() if value * 1_000 % bytes_ == 0 and value >= bytes_), "B")
    whole, rest = divmod(value * 1_000 // _SIZES[unit], 1_000)
    return f"{whole}{f'.{rest:03}'.rstrip('0') if rest else ''}{unit}"


def moment() -> Leaf:
    """A date (its first instant) or a date and time, in UTC where no zone is given."""
    return Leaf(
        "a date like 2026-12-01 or a time like 2026-12-01T08:00:00Z",
        lambda node: read_moment(node.text),
        format_moment,
        {"type": "string", "pattern": r"^\d{4}-\d{2}-\d{2}"},
    )


def read_moment(words: str) -> datetime:
    if not re.match(r"\d{4}-\d{2}-\d{2}", words):
        raise ValueError
    value = datetime.fromisoformat(words)
    try:
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
    except OverflowError as error:
        raise ValueError("the year is out of range") from error


def format_moment(value: datetime) -> str:
    return value.isoformat().replace("+00:00", "Z")


def _finite(node: ScalarNode) -> float:
    if node.sort != "number":
        raise ValueError
    value = float(node.text.lower().replace(".inf", "inf").replace(".nan", "nan"))
    if not math.isfinite(value):
        raise ValueError("it must be finite")
    return value


def _checked(value: float, low: float, high: float, *, above: bool = False) -> float:
    if not low <= value <= high or (above and value == low):
        raise ValueError
    return value
