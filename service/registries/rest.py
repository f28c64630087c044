"""MLflow's REST API: one question at a time, within its time, by the standard library.

The client of MLflow brings 40 packages for what are ten questions here.

ServiceError
├── MlflowAway       it does not answer now, or not as MLflow does
└── MlflowRefused    it answered no
"""

import base64
import json
from collections.abc import Mapping
from http.client import HTTPException
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import quote, urlencode
from urllib.request import Request, urlopen

from service.errors import ServiceError

SECONDS = 10.0
_AGAIN = frozenset({408, 425, 429})
_ROOT = "api/2.0/mlflow"
_MOST_BYTES = 16 << 20


class MlflowAway(ServiceError):
    """MLflow does not answer now, or not as it should; it is asked again later."""

    def __init__(self, address: str, problem: str) -> None:
        super().__init__(f"MLflow at {address} cannot be asked: {problem}; releases go on, and are registered later")


class MlflowRefused(ServiceError):
    """MLflow answered no. `code` is its own error code."""

    def __init__(self, asked: str, status: int, code: str, message: str) -> None:
        super().__init__(f"MLflow refused {asked} with {status} {code}: {message[:500]}")
        self.status = status
        self.code = code


class Rest:
    """An MLflow server. `token` goes along as a bearer's, or as user and password where it holds a colon.

    Proxies are those of the environment. Every question raises MlflowAway and MlflowRefused.
    """

    def __init__(self, address: str, token: str = "", *, seconds: float = SECONDS) -> None:
        self.address = address.rstrip("/")
        self._seconds = seconds
        self._headers = {"User-Agent": "tidegate"} | _authorization(token)

    def get(self, path: str, **asked: object) -> dict[str, Any]:
        """What is there."""
        return self._ask("GET", f"{_ROOT}/{path}?{urlencode(asked)}", None, {})

    def post(self, path: str, said: Mapping[str, Any]) -> dict[str, Any]:
        """What comes of it."""
        return self._send("POST", path, said)

    def delete(self, path: str, said: Mapping[str, Any]) -> dict[str, Any]:
        """What comes of it."""
        return self._send("DELETE", path, said)

    def put_artifact(self, path: str, content: bytes) -> None:
        """Store a file where MLflow keeps artifacts itself; `path` is that of a `mlflow-artifacts:` address."""
        headers = {"Content-Type": "application/octet-stream"}
        self._ask("PUT", f"api/2.0/mlflow-artifacts/artifacts/{quote(path)}", content, headers)

    def _send(self, method: str, path: str, said: Mapping[str, Any]) -> dict[str, Any]:
        body = json.dumps(said).encode()
        return self._ask(method, f"{_ROOT}/{path}", body, {"Content-Type": "application/json"})

    def _ask(self, method: str, path: str, body: bytes | None, headers: Mapping[str, str]) -> dict[str, Any]:
        address = f"{self.address}/{path}"
        asked = Request(address, body, {**self._headers, **headers}, method=method)  # noqa: S310  http(s) by the settings
        try:
            with urlopen(asked, timeout=self._seconds) as answer:  # noqa: S310  as above
                found = json.loads(answer.read(_MOST_BYTES) or b"{}")
        except HTTPError as error:
            raise self._refusal(f"{method} {path.partition('?')[0]}", error) from error
        except (URLError, OSError, HTTPException) as error:
            raise MlflowAway(self.address, str(getattr(error, "reason", error)) or type(error).__name__) from error
        except ValueError as error:
            raise MlflowAway(self.address, f"it does not answer as MLflow does: {error}") from error
        if not isinstance(found, dict):
            raise MlflowAway(self.address, "it does not answer as MLflow does")
        return found

    def _refusal(self, asked: str, error: HTTPError) -> ServiceError:
        with error:
            said = error.read(_MOST_BYTES)
        if error.code >= 500 or error.code in _AGAIN:
            return MlflowAway(self.address, f"{asked} gave {error.code} {error.reason}")
        try:
            found = json.loads(said)
            return MlflowRefused(asked, error.code, str(found["error_code"]), str(found.get("message", "")))
        except (ValueError, TypeError, KeyError):
            return MlflowRefused(asked, error.code, str(error.reason), said.decode(errors="replace"))


def _authorization(token: str) -> dict[str, str]:
    if not token:
        return {}
    kind, sent = ("Basic", base64.b64encode(token.encode()).decode()) if ":" in token else ("Bearer", token)
    return {"Authorization": f"{kind} {sent}"}
