"""Where notices go: what the operator set, each with what it reads."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import partial

from service.notices.messages import Message, cloud_event, slack
from service.notices.notice import Notice
from service.settings import Settings

VARIABLES = {"webhook": "TIDEGATE_NOTICE_URL", "slack": "TIDEGATE_SLACK_URL"}
"""Receiver → the setting that says its address."""


@dataclass(frozen=True)
class Receiver:
    """`name` is webhook or slack; the address may hold a secret, and is neither shown nor logged."""

    name: str
    url: str
    message: Callable[[Notice, datetime], Message]

    def __repr__(self) -> str:
        return f"Receiver({self.name})"


def receivers_of(settings: Settings) -> dict[str, Receiver]:
    """The receivers that the settings name, by name."""
    console = settings.public_url
    known = [
        Receiver("webhook", settings.notice_url, partial(cloud_event, console=console, secret=settings.notice_secret)),
        Receiver("slack", settings.slack_url, partial(slack, console=console)),
    ]
    return {each.name: each for each in known if each.url}
