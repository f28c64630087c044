"""What was sent under a convention and cannot be read as rows, with a reason that is counted."""

from service.errors import ServiceError

# Labels of `tidegate_rejected_rows_total`, beside those of single rows.
REASONS = ("unreadable", "tensors", "too_many_rows", "conflict", "unpaired")


class Unusable(ServiceError):
    """An event, an exchange or a line of a log that gives no rows.

    `reason` is one of `REASONS`, or `event` where nobody can say of which model.
    """

    def __init__(self, reason: str, problem: str) -> None:
        super().__init__(problem)
        self.reason = reason
