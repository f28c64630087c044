"""A running service, asked over HTTP by the command line."""

import json
import os
import urllib.error
import urllib.parse
import urllib.request
from typing import Any

from service.errors import ServiceError

TIMEOUT_SECONDS = 30


class ServiceUnreachable(ServiceError):
    """No service answers at the address."""


class Refused(ServiceError):
    """The service answered with a problem; the message is its detail."""


class Remote:
    """`url` of the service and the access key (TIDEGATE_KEY), where it asks for one."""

    def __init__(self, url: str) -> None:
        self._url = url.rstrip("/")

    def get(self, *path: str) -> Any:  # noqa: ANN401  whatever JSON the route gives
        """The answer of GET /v1/<path>."""
        return self._ask("GET", path, None)

    def post(self, *path: str, **body: str) -> Any:  # noqa: ANN401  same
        """The answer of POST /v1/<path> with a JSON object."""
        return self._ask("POST", path, json.dumps(body).encode())

    def _ask(self, method: str, path: tuple[str, ...], body: bytes | None) -> Any:  # noqa: ANN401  same
        url = "/".join([self._url, "v1", *(urllib.parse.quote(part, safe="") for part in path)])
        if not url.startswith(("http://", "https://")):
            raise ServiceUnreachable(f"{self._url} is no address of a service: it begins with http:// or https://")
        headers = {"Content-Type": "application/json"}
        if key := os.environ.get("TIDEGATE_KEY"):
            headers["Authorization"] = f"Bearer {key}"
        request = urllib.request.Request(url, body, headers, method=method)  # noqa: S310  http only, checked above
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as answer:  # noqa: S310  same
                return json.loads(answer.read())
        except urllib.error.HTTPError as error:
            raise Refused(_detail(error)) from error
        except (urllib.error.URLError, OSError) as error:
            raise ServiceUnreachable(
                f"no service answers at {self._url} ({error}): start it with `tidegate serve`, or give --url"
            ) from error


def _detail(error: urllib.error.HTTPError) -> str:
    try:
        problem = json.loads(error.read())
    except ValueError:
        return f"the service answered {error.code} {error.reason}"
    return str(problem.get("detail") or problem.get("title") or f"the service answered {error.code}")
