"""Request bodies, read within bounds: of bytes, of time, and of all bodies at once."""

import asyncio
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import TypeVar

import anyio
import msgspec
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from service.intake.bodies.compressed import CODECS
from service.intake.bodies.rows import explain
from service.web.routes.refusals import BadRequest, BodyTooLarge, BodyTooSlow, Crowded, WrongType

JSON = "application/json"
NDJSON = "application/x-ndjson"
ARROW = "application/vnd.apache.arrow.stream"
SMALL_BYTES = 64 * 1024
"""What a wish of a person may need."""

_LARGE_AT_ONCE = 8
_LINGER_SECONDS, _LINGER_BYTES = 2.0, 8 << 20
_KEY = re.compile(r"[!-~]{1,255}")

Form = TypeVar("Form")


class BodyReader:
    """Reads bodies. All of them together may hold eight bodies of the largest size; used in one event loop."""

    def __init__(self, most_bytes: int, seconds: float) -> None:
        self.most_bytes = most_bytes
        self._seconds = seconds
        self._held = 0

    @asynccontextmanager
    async def take(self, request: Request, most_bytes: int | None = None) -> AsyncIterator[bytes]:
        """The whole body; its room is free again when the block ends.

        Raises:
            BodyTooLarge: it has more than `most_bytes` bytes, by its Content-Length or by what arrived.
            BodyTooSlow: it did not arrive in time.
            Crowded: other bodies hold all the room there is.
        """
        limit = self.most_bytes if most_bytes is None else min(most_bytes, self.most_bytes)
        declared = request.headers.get("content-length", "")
        if declared.isdecimal() and int(declared) > limit:
            raise BodyTooLarge(limit)
        body = bytearray()
        try:
            await self._fill(body, request, limit)
            yield bytes(body)
        finally:
            self._held -= len(body)

    async def _fill(self, body: bytearray, request: Request, limit: int) -> None:
        try:
            async with asyncio.timeout(self._seconds):
                async for chunk in request.stream():
                    if len(body) + len(chunk) > limit:
                        raise BodyTooLarge(limit)
                    if self._held + len(chunk) > _LARGE_AT_ONCE * self.most_bytes:
                        raise Crowded
                    self._held += len(chunk)
                    body += chunk
        except TimeoutError:
            raise BodyTooSlow(self._seconds, len(body)) from None
        except ClientDisconnect as error:
            # Nobody hears the answer; it keeps this out of the log of unexpected errors.
            raise BadRequest("the connection was closed before the body was complete") from error


class LastWord(Response):
    """A response to a body that is still being sent. What comes is thrown away for a while before the connection ends:
    ended at once, the sender's system would drop the response with it.
    """

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send all of it, then listen until the sender stops, at most for two seconds and 8 MiB."""
        del scope
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        await send({"type": "http.response.body", "body": bytes(self.body), "more_body": True})
        left = _LINGER_BYTES
        with anyio.move_on_after(_LINGER_SECONDS):
            while left > 0:
                message = await receive()
                if not message.get("more_body"):
                    break
                left -= len(message.get("body", b""))
        await send({"type": "http.response.body", "body": b"", "more_body": False})


def check_type(request: Request, allowed: Sequence[str]) -> str:
    """The body's media type, one of `allowed`. Raises WrongType, for a compressed body too."""
    if coding_of(request):
        hint = "Compressed bodies are read only where predictions and labels are posted"
        raise WrongType("Content-Encoding", request.headers["content-encoding"], ["identity"], hint)
    return type_of(request, allowed)


def type_of(request: Request, allowed: Sequence[str]) -> str:
    """The media type of what the body holds, one of `allowed`. Raises WrongType."""
    seen = request.headers.get("content-type", "")
    media_type = seen.partition(";")[0].strip().lower()
    if media_type not in allowed:
        raise WrongType("Content-Type", seen, allowed)
    return media_type


def coding_of(request: Request) -> str:
    """How the body is compressed, one of `CODECS`; empty where it is not. Raises WrongType."""
    codings = [value.strip().lower() for value in ",".join(request.headers.getlist("content-encoding")).split(",")]
    found = [coding for coding in codings if coding not in {"", "identity"}]
    if len(found) > 1 or any(coding not in CODECS for coding in found):
        raise WrongType("Content-Encoding", ", ".join(found), ["gzip", "zstd", "identity"], "One of them, once")
    return found[0] if found else ""


def idempotency_key(request: Request) -> str | None:
    """The Idempotency-Key header. Raises BadRequest where it cannot be one."""
    key = request.headers.get("idempotency-key")
    if key is not None and not _KEY.fullmatch(key):
        raise BadRequest(
            "Idempotency-Key must be 1 to 255 visible ASCII characters, the same for every try of one body"
        )
    return key


def decode(body: bytes, form: type[Form]) -> Form:
    """The body as JSON of this form. Raises BadRequest."""
    try:
        return msgspec.json.decode(body, type=form)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise BadRequest(f"the body cannot be used: {explain(error, body)}") from error
