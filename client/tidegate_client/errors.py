"""What can go wrong, for who asks for an answer. `log` and `label` raise none of these unless the client is strict.

ClientError
├── BadOption     the client cannot be made like this
├── BadRow        a row cannot be sent like this
├── ShelfFull     there is no room for rows that wait
└── NotTaken      the service has not said that it took the rows
    ├── Refused   it will not take them, whenever they are sent
    └── Away      it did not answer in time, or cannot take them now
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tidegate_client.replies import Rejection


class ClientError(Exception):
    """Root of the client's errors."""


class BadOption(ClientError, ValueError):
    """The client cannot be made like this."""


class BadRow(ClientError, ValueError):
    """A row cannot be sent like this."""


class ShelfFull(ClientError):
    """There is no room for rows that wait."""


class NotTaken(ClientError):
    """The service has not said that it took the rows. With the same `key` and rows they may be sent again safely."""

    def __init__(self, message: str, key: str) -> None:
        super().__init__(message)
        self.key = key


class Refused(NotTaken):
    """The service will not take the rows, whenever they are sent; `rejected` says why, as far as it told."""

    def __init__(self, message: str, key: str, rejected: tuple[Rejection, ...] = ()) -> None:
        super().__init__(message, key)
        self.rejected = rejected


class Away(NotTaken):
    """The service did not answer in time, or cannot take the rows now. It may have taken them all the same."""
