"""What can go wrong while deciding.

PoliciesError
├── PolicyInvalid       a policy file that cannot be taken, with every problem and its place
├── ReadingsMismatch    readings of another model than the policy's
└── HoldoutUnusable     rows on which champion and challenger cannot be compared
"""

from dataclasses import dataclass


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


class HoldoutUnusable(PoliciesError):
    """Rows on which champion and challenger cannot be compared."""
