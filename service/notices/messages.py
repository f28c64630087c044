"""Notices as their receivers read them: a CloudEvent with the headers of Standard Webhooks, and text for Slack."""

import base64
import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import quote

import msgspec

from service.notices.notice import Notice

CLOUDEVENT = "application/cloudevents+json; charset=utf-8"
SECRET_PREFIX = "whsec_"  # noqa: S105  what every secret begins with
_MOST_CHARACTERS = 400
"""Of a line of text; a trainer's error may be pages long. The event has it whole."""


@dataclass(frozen=True)
class Message:
    """A request to a receiver: its body and its headers."""

    body: bytes
    headers: Mapping[str, str]


def cloud_event(notice: Notice, now: datetime, *, console: str, secret: str) -> Message:
    """The notice as a structured CloudEvent 1.0 (https://github.com/cloudevents/spec), signed where there is a secret.

    The headers are those of Standard Webhooks 1.0.0 (https://www.standardwebhooks.com): `webhook-id` is the event's
    id and the same at every try, `webhook-timestamp` the unix time of this try.
    """
    data = {
        "kind": notice.kind,
        "model": notice.model,
        "title": notice.title,
        "lines": notice.lines,
        "link": link_of(notice, console),
        **notice.facts,
    }
    event = {
        "specversion": "1.0",
        "id": notice.id,
        "source": console or "urn:tidegate",
        "type": notice.type,
        "subject": notice.model,
        "time": notice.at,
        "datacontenttype": "application/json",
        "data": data,
    }
    body, at = msgspec.json.encode(event), str(int(now.timestamp()))
    signed = {"webhook-signature": sign(secret, notice.id, at, body)} if secret else {}
    return Message(body, {"Content-Type": CLOUDEVENT, "webhook-id": notice.id, "webhook-timestamp": at, **signed})


def sign(secret: str, identity: str, at: str, body: bytes) -> str:
    """`v1,` and the base64 of the HMAC-SHA256 over `id.timestamp.body`, by Standard Webhooks.

    >>> sign("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330", b'{"test": 2432232314}')
    'v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE='
    """  # noqa: E501  the example of the specification's reference libraries
    key = base64.b64decode(secret.removeprefix(SECRET_PREFIX))
    digest = hmac.digest(key, f"{identity}.{at}.".encode() + body, hashlib.sha256)
    return f"v1,{base64.b64encode(digest).decode()}"


def slack(notice: Notice, _: datetime, *, console: str) -> Message:
    """The notice as `{"text": …}`, which Slack, Mattermost and Rocket.Chat take at an incoming webhook."""
    lines = [f"*{_plain(notice.title)}*", *map(_plain, notice.lines)]
    if console:
        lines.append(_plain(link_of(notice, console)))
    body = msgspec.json.encode({"text": "\n".join(lines)})
    return Message(body, {"Content-Type": "application/json"})


def link_of(notice: Notice, console: str) -> str:
    """Where the console has the reason; empty where nobody said at which address the console is."""
    if not console:
        return ""
    return f"{console}/?model={quote(notice.model, safe='')}" if notice.model else f"{console}/"


def _plain(line: str) -> str:
    """A line that no value of a segment can turn into a link or a call to everybody."""
    short = line if len(line) <= _MOST_CHARACTERS else line[:_MOST_CHARACTERS] + "…"
    safe = short.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    # Mattermost and Rocket.Chat call everybody at a plain @all: a space without width ends the name before it begins.
    return safe.replace("@", "@\u200b").replace("\n", " ")
