"""The line to the service: one POST, its answer read within bounds of time and size, for threads and for asyncio."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import importlib
import logging
import threading
import time
from collections.abc import Mapping

import httpx

from tidegate_client.batches import Batch
from tidegate_client.options import Options
from tidegate_client.replies import Again, Reply, Uncompressed, read_reply

# An answer that tells 1,000 rejected rows has about 200 kB.
_MOST_ANSWER_BYTES = 4 << 20
THREADS = "tidegate-"
"""How the names of the client's own threads begin."""


# What httpx would import when it is first used, in a thread of ours: a fork in that moment would leave an import in the
# child that nobody finishes, and everybody waits for.
for _part in ("httpcore", "certifi", "encodings.idna"):
    with contextlib.suppress(ImportError):
        importlib.import_module(_part)


def _is_news(record: logging.LogRecord) -> bool:
    return not (record.threadName or "").startswith(THREADS)


# A line for each request would be news to nobody: what does not work is said by the client itself.
logging.getLogger("httpx").addFilter(_is_news)


class Line:
    """Posts batches, from any thread. Connects when it is first used."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._compress = options.compress
        # Reading the certificates takes tens of milliseconds, and is for nothing without TLS.
        self._is_safe = options.url.startswith("https:")
        self._opening = threading.Lock()
        self._http: httpx.Client | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._async_http: httpx.AsyncClient | None = None

    def post(self, batch: Batch) -> Reply:
        """What the service says, or why it says nothing; only an error of programming is raised."""
        http = self._open()
        until = time.monotonic() + self._options.timeout_seconds
        parts: list[bytes] = []
        body, headers = self._letter(batch)
        try:
            with http.stream("POST", self._options.route(batch.kind), content=body, headers=headers) as response:
                for part in response.iter_raw():
                    parts.append(part)
                    _check(parts, until)
        except httpx.HTTPError as error:
            return _silence(error, self._options)
        return self._read(response, parts, batch)

    async def post_async(self, batch: Batch) -> Reply:
        """The same in an event loop."""
        http = self._open_async()
        until = time.monotonic() + self._options.timeout_seconds
        parts: list[bytes] = []
        body, headers = self._letter(batch)
        route = self._options.route(batch.kind)
        try:
            async with (
                asyncio.timeout(self._options.timeout_seconds),
                http.stream("POST", route, content=body, headers=headers) as response,
            ):
                async for part in response.aiter_raw():
                    parts.append(part)
                    _check(parts, until)
        except (httpx.HTTPError, TimeoutError) as error:
            return _silence(error, self._options)
        return self._read(response, parts, batch)

    def close(self) -> None:
        """Close the connection; a later post opens another."""
        http, self._http = self._http, None
        if http is not None:
            http.close()

    async def close_async(self) -> None:
        """Close all connections."""
        self.close()
        http, self._async_http = self._async_http, None
        if http is not None and self._loop is asyncio.get_running_loop():
            await http.aclose()

    def _open(self) -> httpx.Client:
        with self._opening:
            if self._http is None:
                self._http = httpx.Client(timeout=self._options.timeout_seconds, verify=self._is_safe)
            return self._http

    def _open_async(self) -> httpx.AsyncClient:
        # Connections belong to the loop that made them; those of one that is over cannot be closed any more.
        loop = asyncio.get_running_loop()
        if self._async_http is None or self._loop is not loop:
            self._loop = loop
            self._async_http = httpx.AsyncClient(timeout=self._options.timeout_seconds, verify=self._is_safe)
        return self._async_http

    def _letter(self, batch: Batch) -> tuple[bytes, Mapping[str, str]]:
        headers = {
            "Content-Type": "application/x-ndjson",
            "Idempotency-Key": batch.key,
            "Accept-Encoding": "identity",
            "User-Agent": "tidegate-client",
        }
        if self._options.key:
            headers["Authorization"] = f"Bearer {self._options.key}"
        if not self._compress:
            return batch.body, headers
        # Without a time in it: the same batch has to be the same bytes whenever it is sent.
        return gzip.compress(batch.body, compresslevel=1, mtime=0), {**headers, "Content-Encoding": "gzip"}

    def _read(self, response: httpx.Response, parts: list[bytes], batch: Batch) -> Reply:
        reply = read_reply(
            response.status_code, response.headers, b"".join(parts), rows=batch.rows, compressed=self._compress
        )
        if isinstance(reply, Uncompressed):
            self._compress = False
        return reply


def _check(parts: list[bytes], until: float) -> None:
    if time.monotonic() > until:
        raise httpx.ReadTimeout("the answer did not end")
    if sum(map(len, parts)) > _MOST_ANSWER_BYTES:
        raise httpx.ReadError(f"the answer has more than {_MOST_ANSWER_BYTES:,} bytes")


def _silence(error: Exception, options: Options) -> Again:
    return Again(f"no answer from {options.url} ({type(error).__name__}: {error})")
