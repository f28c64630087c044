"""Notices as their receivers read them: a CloudEvent with the headers of Standard Webhooks, and text for Slack."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import quote

import msgspec

from service.notices.notice import Notice
from service.signatures import sign

CLOUDEVENT = "application/cloudevents+json; charset=utf-8"
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
    return signed(msgspec.json.encode(event), notice.id, now, secret=secret)


def signed(body: bytes, identity: str, now: datetime, *, secret: str, media_type: str = CLOUDEVENT) -> Message:
    """A body with the headers of Standard Webhooks, sent now; the signature only where there is a secret."""
    at = str(int(now.timestamp()))
    signature = {"webhook-signature": sign(secret, identity, at, body)} if secret else {}
    return Message(body, {"Content-Type": media_type, "webhook-id": identity, "webhook-timestamp": at, **signature})


def slack(notice: Notice, _: datetime, *, console: str) -> Message:
    """The notice as `{"text": …}`, which Slack, Mattermost and Rocket.Chat take at an incoming webhook."""
    lines = [f"*{_plain(notice.title)}*", *map(_plain, notice.lines)]
    if console:
        lines.append(_plain(link_of(notice, console)))
    body = msgspec.json.encode({"text": "\n".join(lines)})
    return Message(body, {"Content-Type": "application/json"})


def link_of(notice: Notice, console: str) -> str:
    """Where the reason is: the model report of a retraining that was judged, else the console. Empty where nobody said
    at which address the console is.
    """
    if not console:
        return ""
    if "retraining" in notice.facts and notice.facts.get("gate"):
        return f"{console}/v1/retrainings/{quote(str(notice.facts['retraining']), safe='')}/report"
    return f"{console}/?model={quote(notice.model, safe='')}" if notice.model else f"{console}/"


def _plain(line: str) -> str:
    """A line that no value of a segment can turn into a link or a call to everybody."""
    short = line if len(line) <= _MOST_CHARACTERS else line[:_MOST_CHARACTERS] + "…"
    safe = short.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    # Mattermost and Rocket.Chat call everybody at a plain @all: a space without width ends the name before it begins.
    return safe.replace("@", "@\u200b").replace("\n", " ")
