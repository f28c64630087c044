"""Rules: what an error must be like to belong to a category, as plain values with a name and an id that hold still."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

Kind = Literal["fault", "new_vocabulary", "out_of_scope", "confusion", "segment", "other"]
KINDS: tuple[Kind, ...] = ("fault", "new_vocabulary", "out_of_scope", "confusion", "segment", "other")

IS, RANGE, MISSING, UNREADABLE, WORD, NEW_WORDS, NEW_VALUES, UNUSUAL, FAULTY = TESTS = (
    "is", "range", "missing", "unreadable", "word", "new_words", "new_values", "unusual", "faulty",
)  # fmt: skip
HIGH, LOW = "high", "low"
"""A regression's two ways to be wrong."""

_FAULTS = {MISSING, UNREADABLE, FAULTY}
_NEW = {NEW_WORDS, NEW_VALUES}
_NAMES_TOLD = 3
_MOST_CHARACTERS = 60


@dataclass(frozen=True)
class Condition:
    """One demand on a row. `column` is the name people know, `source` the column of a batch.

    `test` is one of `TESTS`: the value is among `values`; it is in [`low`, `high`), by what `derive` reads of it; it is
    missing, or unreadable as a number; the text has one of the words of `values` (new words and new values are those
    that the baseline never had); the row's columns are `unusual` together, by [`low`, infinity) of their distance; its
    slice is marked `faulty`.
    """

    column: str
    source: str
    test: str
    values: tuple[str, ...] = ()
    low: float | None = None
    high: float | None = None
    derive: str = ""

    @property
    def text(self) -> str:
        """It in words: `channel=web`, `order_value below 20`."""
        named = _named(self.values)
        told = {
            IS: f"{self.column}={named}",
            WORD: f'{self.column} with the word "{named}"',
            NEW_WORDS: f"new words in {self.column}",
            NEW_VALUES: f"new values of {self.column}",
            UNUSUAL: "columns unusual together",
            FAULTY: "slices with a broken feed",
        }
        what = f"{self.derive} of {self.column}" if self.derive else self.column
        return told.get(self.test) or f"{what} {_range(self.low, self.high) if self.test == RANGE else self.test}"

    @property
    def identity(self) -> list[Any]:
        """What tells it from others: of new words and values, which there are today does not."""
        values = () if self.test in _NEW else self.values
        return [self.source, self.test, values, self.low, self.high, self.derive]


@dataclass(frozen=True)
class Rule:
    """What an error must be like: every condition of `where` holds, and a confusion is between these two classes.

    `actual` was taken for `predicted`; of a regression `predicted` says only whether it was too `high` or too `low`.
    `kind` follows from the rest (`kind_of`), but for `other`, which every error meets.
    """

    kind: Kind
    where: tuple[Condition, ...] = ()
    predicted: str | None = None
    actual: str | None = None

    @property
    def is_confusion(self) -> bool:
        return self.predicted is not None

    @property
    def id(self) -> str:
        """The same today and tomorrow, and under another version of the model.

        >>> web = Condition("channel", "feature_channel", "is", ("web",))
        >>> Rule("segment", (web,)).id == Rule("segment", (web,)).id, Rule("segment", (web,)).id[:2]
        (True, 'f-')
        """
        where = sorted(json.dumps(each.identity) for each in self.where)
        said = json.dumps([self.kind == "other", where, self.predicted, self.actual])
        return "f-" + hashlib.sha256(said.encode()).hexdigest()[:10]

    @property
    def name(self) -> str:
        """It in words, for people.

        >>> web = Condition("channel", "feature_channel", "is", ("web",))
        >>> Rule("confusion", (web,), predicted="shipping", actual="returns").name
        'returns taken for shipping, in channel=web'
        """
        if self.kind == "other":
            return "all other errors"
        labels = [each for each in self.where if each.source == "label"]
        places = [each.text for each in self.where if each.source != "label"]
        parts = [_mistaken(self.predicted, self.actual)] if self.predicted is not None else []
        parts += [_label_told(self.kind, each) for each in labels]
        if not parts:
            return f"{'in ' if self.kind == 'segment' else ''}{' and '.join(places)}"
        return ", in ".join([*parts, " and ".join(places)] if places else parts)


OTHER_RULE = Rule("other")


def kind_of(where: tuple[Condition, ...], *, is_confusion: bool = False) -> Kind:
    """The kind that a rule of these conditions is: what its most telling condition says."""
    tests = {each.test for each in where}
    if tests & _FAULTS:
        return "fault"
    if tests & _NEW:
        return "new_vocabulary"
    if "unusual" in tests:
        return "out_of_scope"
    return "confusion" if is_confusion or any(each.source == "label" for each in where) else "segment"


def to_plain(rule: Rule) -> dict[str, Any]:
    """The rule as values that JSON can hold; read back with `from_plain`."""
    return asdict(rule)


def from_plain(data: Mapping[str, Any]) -> Rule:
    """The rule that `to_plain` gave."""
    where = tuple(Condition(**{**each, "values": tuple(each["values"])}) for each in data["where"])
    return Rule(data["kind"], where, data["predicted"], data["actual"])


def _mistaken(predicted: str, actual: str | None) -> str:
    if actual is None:
        return f"predicted too {predicted}"
    return f"{_cut(actual)} taken for {_cut(predicted)}"


def _label_told(kind: Kind, label: Condition) -> str:
    if kind != "out_of_scope":
        return f"{_named(label.values)} not recognised"
    if label.test == NEW_VALUES:
        return "further labels that were never learnt"
    return f"{_named(label.values)}, a label that was never learnt"


def _named(values: tuple[str, ...]) -> str:
    told = ", ".join(_cut(value) for value in values[:_NAMES_TOLD])
    return f"{told} and {len(values) - _NAMES_TOLD} more" if len(values) > _NAMES_TOLD else told


def _cut(value: str) -> str:
    return value if len(value) <= _MOST_CHARACTERS else f"{value[: _MOST_CHARACTERS - 1]}…"


def _range(low: float | None, high: float | None) -> str:
    if low is None:
        return f"below {high:g}"
    return f"from {low:g}" if high is None else f"from {low:g} to below {high:g}"
