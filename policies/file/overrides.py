"""Segments that are judged otherwise: what an override may say; what it leaves out, the policy says."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from json import JSONDecodeError, loads

from policies.file.kinds import boolean, number, share, text, whole
from policies.file.shapes import Part, Shorthand, Table, about

_CONDITION = re.compile(r'(?:"(?:[^"\\]|\\.)*"|[^",])+')
_WILD = re.compile(r"[*?\[]")
ALL = "all"


@dataclass(frozen=True)
class ColumnOverride:
    """Another threshold for one column of the segment, or none at all; the statistic is the policy's."""

    threshold: float | None = field(
        default=None, metadata=about(number(0), "The smallest size of interest for this column, in this segment.")
    )
    ignore: bool | None = field(
        default=None, metadata=about(boolean(), "Whether the drift of this column is never looked at, in this segment.")
    )


@dataclass(frozen=True)
class DriftOverride:
    """What counts as a change in the segment."""

    threshold: float | None = field(
        default=None, metadata=about(number(0), "The smallest size of interest in this segment.")
    )
    columns: tuple[tuple[str, ColumnOverride], ...] = field(
        default=(),
        metadata=about(
            Table(Shorthand({"ignore": ColumnOverride(ignore=True)}, Part(ColumnOverride))),
            "Columns that differ in this segment, by name or pattern, before those of the policy.",
        ),
    )


@dataclass(frozen=True)
class PerformanceOverride:
    """What counts as a loss of quality in the segment."""

    max_drop: float | None = field(
        default=None, metadata=about(share(), "The smallest loss of interest in this segment.")
    )


@dataclass(frozen=True)
class QualityOverride:
    """What counts as broken input in the segment; traffic is judged as a whole."""

    missing: float | None = field(
        default=None, metadata=about(share(), "Missing values, and values of another type, in this segment.")
    )
    unseen: float | None = field(
        default=None, metadata=about(share(), "Categories that the baseline never had, in this segment.")
    )
    out_of_range: float | None = field(
        default=None, metadata=about(share(), "Numbers outside the baseline's range, in this segment.")
    )


@dataclass(frozen=True)
class RequiresOverride:
    """What the segment has to have before it may start a retraining."""

    labelled_rows: int | None = field(
        default=None, metadata=about(whole(0), "Rows of this segment with a label after the change; taken as it is.")
    )


@dataclass(frozen=True)
class GateOverride:
    """What a new model has to show in the segment."""

    max_segment_drop: float | None = field(
        default=None, metadata=about(share(), "The most that this segment may lose.")
    )
    min_segment_labels: int | None = field(
        default=None, metadata=about(whole(1), "Fewer labels than this settle nothing about this segment.")
    )


@dataclass(frozen=True)
class Override:
    """What differs in the segments of one name or pattern. What is absent is as the policy says."""

    segment: str = field(metadata=about(text(), "A segment, or a pattern like intent=returns*."))
    drift: DriftOverride | None = field(
        default=None, metadata=about(Part(DriftOverride), "What counts as a change there.")
    )
    performance: PerformanceOverride | None = field(
        default=None, metadata=about(Part(PerformanceOverride), "What counts as a loss of quality there.")
    )
    data_quality: QualityOverride | None = field(
        default=None, metadata=about(Part(QualityOverride), "What counts as broken input there.")
    )
    persist: int | None = field(
        default=None, metadata=about(whole(1), "Evaluations in a row before something counts there.")
    )
    requires: RequiresOverride | None = field(
        default=None, metadata=about(Part(RequiresOverride), "What it has to have before it may start a retraining.")
    )
    gate: GateOverride | None = field(
        default=None, metadata=about(Part(GateOverride), "What a new model has to show there.")
    )


def place_of(overrides: Sequence[Override], segment: str) -> int | None:
    """Which override a segment has: the one of its exact name, else the first whose pattern it fits, else None."""
    names = [override.segment for override in overrides]
    if segment in names:
        return names.index(segment)
    return next((at for at, name in enumerate(names) if fnmatchcase(segment, name)), None)


def problems_of(overrides: Sequence[Override], cuts: Sequence[tuple[str, ...]]) -> Iterable[str]:
    """Why an override can never apply: it comes twice, or no segment of these cuts can have that name.

    >>> list(problems_of([Override("chanel=web")], [("channel",)]))
    ['no cut has the column "chanel" of the segment "chanel=web"; the cuts have: channel']
    """
    names = [override.segment for override in overrides]
    for name in dict.fromkeys(names):
        if names.count(name) > 1:
            yield f'the segment "{name}" has two overrides: keep one of them'
        yield from _misnamed(name, cuts)


def _misnamed(segment: str, cuts: Sequence[tuple[str, ...]]) -> Iterable[str]:
    conditions = [condition.partition("=") for condition in _CONDITION.findall(segment)]
    columns = tuple(_plain(name) for name, _, _ in conditions)
    known = list(dict.fromkeys(name for cut in cuts for name in cut))
    if fnmatchcase(ALL, segment):
        return
    if not all(equals for _, equals, _ in conditions):
        # A star may stand for anything, an equals sign among it.
        if not _WILD.search(segment):
            yield f'expected `all`, a segment like column=value or a pattern, saw "{segment}"'
        return
    for name in columns:
        if not any(fnmatchcase(column, name) for column in known):
            yield (
                f'no cut has the column "{name}" of the segment "{segment}"; '
                + (f"the cuts have: {', '.join(known)}" if known else "`segments` makes no cut")
            )
            return
    if not _WILD.search(segment) and columns not in cuts:
        shown = ", ".join(f"[{', '.join(cut)}]" for cut in cuts)
        yield f'the segment "{segment}" is of the cut [{", ".join(columns)}]; the cuts are: {shown}'


def _plain(name: str) -> str:
    try:
        return str(loads(name)) if name.startswith('"') else name
    except JSONDecodeError:
        return name
