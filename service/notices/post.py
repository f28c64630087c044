"""One POST to a receiver: within its time, without following it elsewhere, without reading what it says."""

import socket
import ssl
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from email.message import Message as Headers
from email.utils import parsedate_to_datetime
from functools import partial
from http.client import HTTPConnection, HTTPException, HTTPMessage, HTTPResponse, HTTPSConnection
from threading import Event, Thread
from typing import IO, Any
from urllib.error import HTTPError, URLError
from urllib.request import HTTPHandler, HTTPRedirectHandler, HTTPSHandler, Request, build_opener

from service.notices.messages import Message

SECONDS = 10.0
"""How long a receiver may take to reply, whole."""
_LOOK_SECONDS = 0.2
_AGAIN = frozenset({408, 425, 429})


@dataclass(frozen=True)
class Reply:
    """What a receiver answered: its status, None where none came; `text` is that in words, `words` the beginning of
    what it said itself, where that was asked for.
    """

    status: int | None
    text: str
    retry_after: timedelta | None = None
    words: bytes = b""

    @property
    def is_taken(self) -> bool:
        return self.status is not None and 200 <= self.status < 300

    @property
    def is_final(self) -> bool:
        """Whether the same again would be answered the same."""
        return self.status is not None and self.status < 500 and self.status not in _AGAIN


class Stopped(Exception):
    """The process ends; whether the receiver got it is not known."""


def post(
    url: str,
    message: Message,
    *,
    seconds: float = SECONDS,
    goes_on: Callable[[], bool] = lambda: True,
    most_words: int = 0,
) -> Reply:
    """What the receiver answers; where it says no, with so many bytes of why. Proxies are those of the environment
    (HTTPS_PROXY, NO_PROXY).

    Raises:
        Stopped: `goes_on` said no meanwhile.
    """
    call = _Call(url, message, seconds, most_words)
    call.start()
    until = time.monotonic() + seconds
    try:
        while not call.done.wait(_LOOK_SECONDS):
            if time.monotonic() >= until:
                return _silent(seconds)
            if not goes_on():
                raise Stopped
    finally:
        call.cut()
    return call.reply


class _Call(Thread):
    """A thread of its own, which a name server or a receiver that drips may hold up, and nobody waits for."""

    def __init__(self, url: str, message: Message, seconds: float, most_words: int) -> None:
        super().__init__(name="notice", daemon=True)
        headers = {**message.headers, "User-Agent": "tidegate"}
        self._request = Request(url, message.body, headers, method="POST")  # noqa: S310  http(s) by the settings
        self._seconds = seconds
        self._most_words = most_words
        self._line: HTTPConnection | None = None
        self.done = Event()
        self.reply = Reply(None, "no answer")

    def run(self) -> None:
        opener = build_opener(_Plain(self._keep), _Secure(self._keep), _Nowhere())
        try:
            with opener.open(self._request, timeout=self._seconds) as response:
                self.reply = _reply(response.status, response.reason, response.headers)
        except HTTPError as error:
            self.reply = _reply(error.code, error.reason, error.headers)
            if self._most_words:
                with suppress(OSError, HTTPException):
                    self.reply = replace(self.reply, words=error.read(self._most_words))
            error.close()
        except TimeoutError:
            self.reply = _silent(self._seconds)
        except URLError as error:
            self.reply = Reply(None, f"it cannot be reached: {error.reason}")
        except (OSError, HTTPException, ValueError) as error:
            self.reply = Reply(None, f"it cannot be reached: {type(error).__name__}: {error}")
        self.done.set()

    def cut(self) -> None:
        """End the connection, where it still is: the thread ends with it."""
        line = self._line.sock if self._line else None
        if line is not None:
            with suppress(OSError):
                line.shutdown(socket.SHUT_RDWR)

    def _keep(self, kind: type[HTTPConnection], host: str, **options: Any) -> HTTPConnection:  # noqa: ANN401  of http.client
        self._line = kind(host, **options)
        return self._line


class _Plain(HTTPHandler):
    def __init__(self, make: Callable[..., HTTPConnection]) -> None:
        super().__init__()
        self._make = make

    def http_open(self, req: Request) -> HTTPResponse:
        return self.do_open(partial(self._make, HTTPConnection), req)


class _Secure(HTTPSHandler):
    def __init__(self, make: Callable[..., HTTPConnection]) -> None:
        super().__init__()
        self._make = make

    def https_open(self, req: Request) -> HTTPResponse:
        return self.do_open(partial(self._make, HTTPSConnection), req, context=ssl.create_default_context())


class _Nowhere(HTTPRedirectHandler):
    """A redirect is a reply: what is signed for one address is for no other."""

    def redirect_request(
        self, req: Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> Request | None:
        del req, fp, code, msg, headers, newurl
        return None


def _silent(seconds: float) -> Reply:
    return Reply(None, f"no answer within {seconds:g} s")


def _reply(status: int, reason: str, headers: Headers) -> Reply:
    said = f"{status} {str(reason)[:100]}".strip()
    if 300 <= status < 400:
        said += "; redirects are not followed"
    return Reply(status, said, _retry_after(headers.get("Retry-After", "")))


def _retry_after(text: str) -> timedelta | None:
    """Seconds, or a date by this machine's clock (RFC 9110)."""
    if text.isascii() and text.isdecimal() and len(text) < 9:
        return timedelta(seconds=int(text))
    try:
        at = parsedate_to_datetime(text)
    except ValueError:
        return None
    at = at if at.tzinfo else at.replace(tzinfo=UTC)
    return max(timedelta(0), at - datetime.now(UTC))
