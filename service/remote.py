"""A running service, asked over HTTP by the command line."""

import json
import os
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from typing import Any

from service.errors import ServiceError

TIMEOUT_SECONDS = 30
MOST_TRIES = 20
"""How often a body of rows is sent again while the service asks to wait."""


class ServiceUnreachable(ServiceError):
    """No service answers at the address."""


class Refused(ServiceError):
    """The service answered with a problem; the message is its detail, `facts` the whole document."""

    def __init__(self, detail: str, facts: Mapping[str, Any]) -> None:
        super().__init__(detail)
        self.facts = facts


class Busy(Refused):
    """The service asks to come back later."""

    def __init__(self, detail: str, facts: Mapping[str, Any], retry_after_seconds: int) -> None:
        super().__init__(detail, facts)
        self.retry_after_seconds = retry_after_seconds


class Remote:
    """`url` of the service and the access key (TIDEGATE_KEY), where it asks for one."""

    def __init__(self, url: str, timeout_seconds: float = TIMEOUT_SECONDS) -> None:
        self._url = url.rstrip("/")
        self._timeout_seconds = timeout_seconds

    def get(self, *path: str, **query: str | int) -> Any:  # noqa: ANN401  whatever JSON the route gives
        """The answer of GET /v1/<path> with a query."""
        return json.loads(self._read("GET", path, None, query=query))

    def get_bytes(self, *path: str, **query: str) -> bytes:
        """The body of GET /v1/<path> with a query, byte for byte."""
        return self._read("GET", path, None, query=query)

    def get_lines(self, *path: str, **query: int) -> list[bytes]:
        """The lines of GET /v1/<path> with a query, byte for byte."""
        return self._read("GET", path, None, query=query).split(b"\n")[:-1]

    def post(self, *path: str, **body: str | float) -> Any:  # noqa: ANN401  same
        """The answer of POST /v1/<path> with a JSON object."""
        return self._ask("POST", path, json.dumps(body).encode())

    def delete(self, *path: str, **query: str) -> Any:  # noqa: ANN401  same
        """The answer of DELETE /v1/<path> with a query."""
        return json.loads(self._read("DELETE", path, None, query=query))

    def post_lines(self, *path: str, body: bytes, key: str) -> Any:  # noqa: ANN401  same
        """The answer of POST with a row a line; sent again under its key while the service asks to wait.

        A body of which no row can be taken is answered with what the problem says of its rows.
        """
        headers = {"Content-Type": "application/x-ndjson", "Idempotency-Key": key}
        for _ in range(MOST_TRIES):
            try:
                return self._ask("POST", path, body, headers)
            except Busy as busy:
                time.sleep(busy.retry_after_seconds)
            except Refused as refused:
                if "rejected" not in refused.facts:
                    raise
                return refused.facts
        return self._ask("POST", path, body, headers)

    def _ask(
        self, method: str, path: tuple[str, ...], body: bytes | None, more: Mapping[str, str] | None = None
    ) -> Any:  # noqa: ANN401  same
        return json.loads(self._read(method, path, body, more))

    def _read(
        self,
        method: str,
        path: tuple[str, ...],
        body: bytes | None,
        more: Mapping[str, str] | None = None,
        query: Mapping[str, str | int] | None = None,
    ) -> bytes:
        url = "/".join([self._url, "v1", *(urllib.parse.quote(part, safe="") for part in path)])
        url += f"?{urllib.parse.urlencode(query)}" if query else ""
        if not url.startswith(("http://", "https://")):
            raise ServiceUnreachable(f"{self._url} is no address of a service: it begins with http:// or https://")
        headers = {"Content-Type": "application/json", **(more or {})}
        if key := os.environ.get("TIDEGATE_KEY"):
            headers["Authorization"] = f"Bearer {key}"
        request = urllib.request.Request(url, body, headers, method=method)  # noqa: S310  http only, checked above
        try:
            with urllib.request.urlopen(request, timeout=self._timeout_seconds) as answer:  # noqa: S310  same
                found: bytes = answer.read()
                return found
        except urllib.error.HTTPError as error:
            raise _refused(error) from error
        except (urllib.error.URLError, OSError) as error:
            raise ServiceUnreachable(
                f"no service answers at {self._url} ({error}): start it with `tidegate serve`, or give --url"
            ) from error


def _refused(error: urllib.error.HTTPError) -> Refused:
    try:
        problem = json.loads(error.read())
    except ValueError:
        problem = {}
    detail = problem.get("detail") or problem.get("title") or f"the service answered {error.code} {error.reason}"
    wait = error.headers.get("Retry-After", "")
    if error.code in {429, 503} and wait.isdecimal():
        return Busy(str(detail), problem, int(wait))
    return Refused(str(detail), problem)
