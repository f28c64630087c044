"""What can go wrong while measuring.

MonitorError
├── EmptyBaseline       no rows to build a baseline from
├── BadColumn           a column cannot be read as the kind it was said to be
└── BaselineMismatch    counts or bytes that do not belong to this baseline
    └── BaselineTooNew  a newer build has written it
"""


class MonitorError(Exception):
    """Root of everything that monitors raises."""


class EmptyBaseline(MonitorError):
    """There are no rows to build a baseline from."""


class BadColumn(MonitorError):
    """A column cannot be read as the kind it was said to be."""

    def __init__(self, column: str, problem: str) -> None:
        super().__init__(f"column {column!r}: {problem}")
        self.column = column
        self.problem = problem


class BaselineMismatch(MonitorError):
    """Counts or bytes do not belong to this baseline."""


class BaselineTooNew(BaselineMismatch):
    """A newer build than this one has written the baseline."""
