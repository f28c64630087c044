"""Large bodies, received to a file that has no name: whole within their bounds, or gone."""

import asyncio
import hashlib
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import BinaryIO, cast

from starlette.requests import ClientDisconnect, Request

from service.launching.uploads import Sent
from service.settings import Settings
from service.web.routes.refusals import BadRequest, BodyTooSlow, Crowded, UploadTooLarge

SECONDS = 600.0
"""How long one may take: 256 MiB at half a MiB a second."""
MOST_AT_ONCE = 4
_at_once = 0


@asynccontextmanager
async def received(request: Request, settings: Settings) -> AsyncIterator[tuple[BinaryIO, Sent]]:
    """The body as an open file, and its digest; gone when the block ends.

    Raises:
        UploadTooLarge: it has more bytes than allowed, by its Content-Length or by what arrived.
        BodyTooSlow: it did not arrive in time.
        Crowded: as many as may are being received.
    """
    global _at_once  # noqa: PLW0603  one event loop counts, and nothing waits between looking and counting
    limit, declared = settings.max_upload_bytes, request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > limit:
        raise UploadTooLarge(limit)
    if _at_once >= MOST_AT_ONCE:
        raise Crowded
    _at_once += 1
    try:
        settings.data_dir.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=settings.data_dir) as file:
            body = cast("BinaryIO", file)
            sent = await _fill(body, request, limit)
            body.seek(0)
            yield body, sent
    finally:
        _at_once -= 1


async def _fill(file: BinaryIO, request: Request, limit: int) -> Sent:
    digest, size = hashlib.sha256(), 0
    try:
        async with asyncio.timeout(SECONDS):
            async for chunk in request.stream():
                size += len(chunk)
                if size > limit:
                    raise UploadTooLarge(limit)
                digest.update(chunk)
                file.write(chunk)
    except TimeoutError:
        raise BodyTooSlow(SECONDS, size) from None
    except ClientDisconnect as error:
        raise BadRequest("the connection was closed before the body was complete") from error
    return Sent(digest.hexdigest(), size)
