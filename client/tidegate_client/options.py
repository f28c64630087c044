"""What the user chose: checked once, frozen, passed down."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, urlsplit

from tidegate_client.errors import BadOption
from tidegate_client.replies import Rejection

# The service's own rule for names of models.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


@dataclass(frozen=True)
class Options:
    """Every option of a client; `connect` says what each does.

    Raises:
        BadOption: a value cannot be used; the message says what is allowed.
    """

    url: str
    model: str
    key: str = ""
    model_version: str | None = None
    batch_rows: int = 500
    batch_bytes: int = 1 << 20
    batch_seconds: float = 1.0
    queue_rows: int = 10_000
    memory_bytes: int = 16 << 20
    spool: Path | None = None
    spool_bytes: int = 256 << 20
    fsync: bool = False
    timeout_seconds: float = 10.0
    retry_seconds: float = 30.0
    exit_seconds: float = 5.0
    compress: bool = False
    strict: bool = False
    on_rejected: Callable[[Rejection], object] | None = None

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise BadOption(f"url is {self.url!r}; it is an address like http://tidegate:8321, or TIDEGATE_URL is set")
        if not _NAME.fullmatch(self.model):
            raise BadOption(
                f"model is {self.model[:80]!r}; a model's name has 1 to 128 letters, digits and . _ -, and begins with "
                "a letter or digit"
            )
        if not self.key.isascii() or not self.key.isprintable() or " " in self.key:
            raise BadOption("key holds characters that no access key has: take it as `tidegate keys create` printed it")
        for name in ("batch_rows", "batch_bytes", "batch_seconds", "queue_rows", "memory_bytes", "spool_bytes"):
            self._check(name, above=0)
        for name in ("timeout_seconds", "retry_seconds"):
            self._check(name, above=0)
        self._check("exit_seconds", above=-1)

    def _check(self, name: str, above: int) -> None:
        if not getattr(self, name) > above:
            raise BadOption(f"{name} is {getattr(self, name)!r}; it must be {'above 0' if above == 0 else '0 or more'}")

    def route(self, kind: str) -> str:
        """The address that takes rows of this kind."""
        return f"{self.url.rstrip('/')}/v1/models/{quote(self.model, safe='')}/{kind}"

    @property
    def spool_folder(self) -> Path | None:
        """The spool's folder for this service and model: what lies there is never sent to another."""
        if self.spool is None:
            return None
        target = f"{self.url.rstrip('/')}\n{self.model}".encode()
        return self.spool / f"{self.model}-{hashlib.blake2b(target, digest_size=4).hexdigest()}"


def default_spool() -> Path:
    """TIDEGATE_SPOOL, else `tidegate/spool` in the user's folder for state."""
    if chosen := os.environ.get("TIDEGATE_SPOOL"):
        return Path(chosen)
    state = os.environ.get("XDG_STATE_HOME")
    return (Path(state) if state else Path(os.path.expanduser("~/.local/state"))) / "tidegate" / "spool"  # noqa: PTH111  Path.home raises where a container has no home
