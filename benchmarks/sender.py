"""Sends requests and notes each answer: a process of its own, so that its work is nobody else's.

python benchmarks/sender.py JOB.msgpack: a `Job`; the answers are written to its `notes` as a numpy array of `NOTE`.

A template holds the mark `MARK`, which every request replaces by a number of its own: ids and keys are never the same.
With a rate, requests are due at even moments whether earlier ones were answered or not, and a delay is counted from
that moment; without one, each connection sends its next request when it has its answer.
"""

import asyncio
import sys
from collections import deque
from pathlib import Path
from time import perf_counter, time

import msgspec
import numpy as np
import uvloop

MARK = b"#0000000#"
NOTE = np.dtype([("due", "f8"), ("waited", "f8"), ("seconds", "f8"), ("status", "i2")])
"""`due` in unix seconds; `seconds` from then to the answer, of which it `waited` for a free connection; status 0: the
connection ended without an answer.
"""
UNSENT = -1
"""Status of a request that was due while every connection was busy until the end."""
_LINGER_SECONDS = 20.0


class Job(msgspec.Struct):
    """What to send where. It ends after `requests` or `seconds`; `first` is the first number."""

    port: int
    templates: list[bytes]
    notes: str
    connections: int = 8
    requests: int = 0
    seconds: float = 0.0
    rate: float = 0.0
    first: int = 0


def request(path: str, media_type: str, body: bytes, *, keyed: bool = True) -> bytes:
    """A template: the body and, unless told otherwise, an idempotency key, both with the mark."""
    key = b"Idempotency-Key: bench-" + MARK + b"\r\n" if keyed else b""
    return (
        (
            f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: {media_type}\r\nContent-Length: {len(body)}\r\n"
        ).encode()
        + key
        + b"\r\n"
        + body
    )


class Sending:
    """All connections of one job."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.notes: list[tuple[float, float, float, int]] = []
        self.idle: deque[Connection] = deque()
        self.waiting: deque[float] = deque()
        self.connections: list[Connection] = []
        self.unsent = 0
        self.sent = 0
        self.open = 0
        self.done = asyncio.Event()
        self.until = perf_counter() + job.seconds if job.seconds else float("inf")

    def is_over(self) -> bool:
        return (self.job.requests and self.sent >= self.job.requests) or perf_counter() >= self.until

    def free(self, connection: "Connection") -> None:
        """A connection has its answer, or is new."""
        if self.job.rate:
            if self.waiting:
                connection.send(self.waiting.popleft())
            else:
                self.idle.append(connection)
        elif self.is_over():
            connection.close()
        else:
            connection.send(perf_counter())

    def due(self, moment: float) -> None:
        if self.idle:
            self.idle.popleft().send(moment)
        else:
            self.waiting.append(moment)

    async def keep_the_rate(self) -> None:
        begun, count = perf_counter(), 0
        while not self.is_over():
            ahead = int((perf_counter() - begun) * self.job.rate) - count
            for _ in range(ahead):
                self.due(begun + count / self.job.rate)
                count += 1
            await asyncio.sleep(min(0.002, 0.5 / self.job.rate))
        # What no connection was free for is not sent any more; what was sent is waited for.
        self.unsent = len(self.waiting)
        self.waiting.clear()
        late = perf_counter() + _LINGER_SECONDS
        while len(self.idle) < self.open and perf_counter() < late:  # noqa: ASYNC110  a deadline for all together
            await asyncio.sleep(0.01)
        for connection in self.connections:
            connection.close()
        self.done.set()


class Connection(asyncio.Protocol):
    """One connection with at most one request on its way."""

    def __init__(self, sending: Sending) -> None:
        self._sending = sending
        self._buffer = b""
        self._due = 0.0
        self._sent = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._sending.open += 1
        self._sending.connections.append(self)
        self._sending.free(self)

    def send(self, due: float) -> None:
        sending = self._sending
        number = sending.job.first + sending.sent
        sending.sent += 1
        self._due, self._sent = due, perf_counter()
        template = sending.job.templates[number % len(sending.job.templates)]
        self._transport.write(template.replace(MARK, b"#%07d#" % number))

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head = self._buffer.find(b"\r\n\r\n")
        if head < 0:
            return
        start = self._buffer.find(b"content-length: ", 0, head) + 16
        length = int(self._buffer[start : self._buffer.find(b"\r\n", start)])
        if len(self._buffer) < head + 4 + length:
            return
        status = int(self._buffer[9:12])
        self._buffer = b""
        self._note(status)
        self._sending.free(self)

    def connection_lost(self, error: Exception | None) -> None:
        del error
        self._sending.open -= 1
        if self._due:
            self._note(0)
        if not self._sending.open:
            self._sending.done.set()

    def close(self) -> None:
        if self._due:
            self._note(0)
        self._transport.close()

    def _note(self, status: int) -> None:
        now = perf_counter()
        self._sending.notes.append((time() - (now - self._due), self._sent - self._due, now - self._due, status))
        self._due = 0.0


async def send(job: Job) -> np.ndarray:
    """The answers, in the order in which they came."""
    loop, sending = asyncio.get_running_loop(), Sending(job)
    for _ in range(job.connections):
        await loop.create_connection(lambda: Connection(sending), "127.0.0.1", job.port)
    rating = asyncio.create_task(sending.keep_the_rate()) if job.rate else None
    await sending.done.wait()
    if rating is not None:
        await rating
    return np.array(sending.notes + [(0.0, 0.0, 0.0, UNSENT)] * sending.unsent, NOTE)


def main() -> None:
    job = msgspec.msgpack.decode(Path(sys.argv[1]).read_bytes(), type=Job)
    np.save(job.notes, uvloop.run(send(job)))


if __name__ == "__main__":
    main()
