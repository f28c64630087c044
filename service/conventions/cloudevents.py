"""CloudEvents of inference loggers: KServe's agent sends them in binary mode, brokers also in structured mode."""

import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import unquote

import msgspec

from service.conventions.unusable import Unusable
from service.intake.bodies.checks import MOST_ID_BYTES

STRUCTURED = "application/cloudevents+json"
# KServe says org.kubeflow.serving.inference.request, Seldon io.seldon.serving.inference.request.
_TYPE = re.compile(r"[a-z.]+\.inference\.(request|response)")
_LONGEST_SUFFIX = 12  # of a row's place behind the id


@dataclass(frozen=True)
class Event:
    """One half of an exchange. `model` names the inference service, `tags` are logged headers of the request."""

    id: str
    half: Literal["request", "response"]
    model: str
    at: str | None = None
    tags: dict[str, str] = field(default_factory=dict)
    data: bytes = field(default=b"", repr=False)


def read_event(headers: Mapping[str, str], body: bytes) -> Event:
    """The event of a request to us; `headers` by their names in small letters.

    Raises:
        Unusable: it is no event, not of CloudEvents 1.0 or 0.3, or not one half of an inference.
    """
    if headers.get("content-type", "").partition(";")[0].strip().lower() == STRUCTURED:
        told, data = _structured(body)
    else:
        told = {name.removeprefix("ce-"): _text(value) for name, value in headers.items() if name.startswith("ce-")}
        data = body
    if str(told.get("specversion", "")) not in {"1.0", "0.3"}:
        raise Unusable("event", "it is no CloudEvent of version 1.0: ce-specversion, ce-id and ce-type are needed")
    half = _TYPE.fullmatch(str(told.get("type", "")))
    if half is None:
        kind = str(told.get("type", ""))[:80]
        raise Unusable("event", f"the event's type {kind!r} is neither …inference.request nor …inference.response")
    identity, model = str(told.get("id", "")), str(told.get("inferenceservicename", ""))
    if not 0 < len(identity.encode()) <= MOST_ID_BYTES - _LONGEST_SUFFIX:
        raise Unusable("event", f"the event's id must have 1 to {MOST_ID_BYTES - _LONGEST_SUFFIX} bytes")
    if not model:
        raise Unusable("event", "the event does not say ce-inferenceservicename, which names the model")
    side: Literal["request", "response"] = "request" if half[1] == "request" else "response"
    at = told.get("time")
    return Event(identity, side, model, str(at) if at else None, _tags(told.get("metadata")), data)


def _structured(body: bytes) -> tuple[dict[str, Any], bytes]:
    try:
        told = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
        data = bytes(told.pop("data", b""))
        if "data_base64" in told:
            data = base64.b64decode(msgspec.json.decode(told.pop("data_base64"), type=str), validate=True)
        return {name: msgspec.json.decode(value) for name, value in told.items()}, data
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, binascii.Error) as error:
        raise Unusable("unreadable", f"the body is no CloudEvent in JSON: {error}") from error


def _text(header: str) -> str:
    """A header's value: servers read its bytes as Latin-1, and senders write UTF-8."""
    try:
        return header.encode("latin-1").decode()
    except UnicodeError:
        return header


def _tags(metadata: object) -> dict[str, str]:
    """The headers of the request that the logger was told to pass on, the first value of each."""
    if not isinstance(metadata, str):
        return {}
    try:
        # The specification asks for percent-encoding, which the agent's library does not do.
        text = metadata if metadata.startswith("{") else unquote(metadata)
        told = msgspec.json.decode(text, type=dict[str, list[str]] | None) or {}
    except (msgspec.DecodeError, RecursionError):
        return {}
    return {name: values[0] for name, values in told.items() if values}
