"""What can go wrong while deciding.

PoliciesError
├── PolicyInvalid       a policy file that cannot be taken, with every problem and its place
├── ReadingsMismatch    readings of another model than the policy's
├── SegmentUnknown      a segment that the readings do not have
└── HoldoutUnusable     rows on which champion and challenger cannot be compared
"""

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches


class PoliciesError(Exception):
    """Root of everything that policies raises."""


@dataclass(frozen=True)
class Problem:
    """One thing to mend in a policy file: where (1-based), at which key, what was seen, what to do.

    `path` is dotted from the top of the file, like `drift.columns.prediction.threshold`; empty for the whole file.
    """

    source: str
    line: int
    column: int
    path: str
    seen: str
    message: str

    def __str__(self) -> str:
        where = f"{self.source}:{self.line}:{self.column}"
        return f"{where}: {self.path}: {self.message}" if self.path else f"{where}: {self.message}"


class PolicyInvalid(PoliciesError):
    """A policy file that cannot be taken; `problems` holds all of them, in the order of the file."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = problems


class ReadingsMismatch(PoliciesError):
    """Readings of another model than the policy's."""

    def __init__(self, expected: str, seen: str) -> None:
        super().__init__(f"the policy is for model {expected!r}, the readings are of {seen!r}: pair them by model")
        self.expected = expected
        self.seen = seen


class SegmentUnknown(PoliciesError):
    """A segment that the readings do not have; `near` are those with a similar name."""

    def __init__(self, segment: str, known: Sequence[str]) -> None:
        self.segment = segment
        self.near = tuple(get_close_matches(segment, known, n=3, cutoff=0.5))
        meant = f"did you mean {' or '.join(self.near)}?" if self.near else f"there are: {', '.join(known[:20])}"
        super().__init__(f"there is no segment {segment[:200]!r}; {meant}")


class HoldoutUnusable(PoliciesError):
    """Rows on which champion and challenger cannot be compared."""
