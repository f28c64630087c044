"""A receiver of notices on loopback that answers as it was told to, for tests."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass(frozen=True)
class Got:
    """A request as it came."""

    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Receiver:
    """`answers` are given one after the other, the last again and again: a status, `(status, headers)`, `hang`, which
    says nothing until the test is over, or `drip`, which never comes to the end of its headers.
    """

    answers: list[int | tuple[int, dict[str, str]] | str]
    got: list[Got] = field(default_factory=list)
    is_over: threading.Event = field(default_factory=threading.Event)
    url: str = ""

    def next(self) -> int | tuple[int, dict[str, str]] | str:
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


@contextmanager
def receiving(*answers: int | tuple[int, dict[str, str]] | str) -> Iterator[Receiver]:
    receiver = Receiver(list(answers) or [200])

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            receiver.got.append(Got(self.path, {k.lower(): v for k, v in self.headers.items()}, body))
            answer = receiver.next()
            if answer == "hang":
                receiver.is_over.wait()
            elif answer == "drip":
                self.send_response_only(200)
                self.flush_headers()
                while not receiver.is_over.wait(0.02):
                    self.wfile.write(b"x: y\r\n")
            else:
                status, headers = (answer, {}) if isinstance(answer, int) else answer
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(b"whatever it says")

        def do_GET(self) -> None:
            receiver.got.append(Got(self.path, {}, b""))
            self.send_error(500)

        def log_message(self, *_: object) -> None:
            """Keep the test's output quiet."""

    class Server(ThreadingHTTPServer):
        def handle_error(self, *_: object) -> None:
            """Who posts may be gone before it is answered."""

    with Server(("127.0.0.1", 0), Handler) as server:
        receiver.url = f"http://127.0.0.1:{server.server_port}"
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        try:
            yield receiver
        finally:
            receiver.is_over.set()
            server.shutdown()
