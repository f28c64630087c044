"""Which version of a model serves whom while another is tried, known without ever waiting for it."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from dataclasses import dataclass
from urllib.parse import quote

import httpx

from tidegate_client.errors import BadOption
from tidegate_client.line import THREADS
from tidegate_client.options import Options

ASK_SECONDS = 5.0
"""An answer is asked for again when it is older."""
_TIMEOUT_SECONDS = 2.0


@dataclass(frozen=True)
class Assignment:
    """What the service said last. While a `trial` lasts, `challenger` serves `share` of the units; else it is None."""

    champion: str | None
    challenger: str | None = None
    trial: str | None = None
    share: float = 0.0

    def version_for(self, unit: str) -> str | None:
        """The version that serves a unit, as the service itself draws it.

        >>> Assignment("1", "2", "r-1", share=0.1).version_for("customer 1")
        '2'
        """
        if self.challenger is None or self.trial is None:
            return self.champion
        drawn = hashlib.sha256(f"{self.trial}\0{unit}".encode()).digest()
        return self.challenger if int.from_bytes(drawn[:8], "big") < self.share * 2**64 else self.champion


class Assignments:
    """Asks `url` which version of `model` serves whom, every few seconds for as long as it is used.

    No call waits and none fails: what was said last counts while the service does not answer, and `default` before the
    first answer. A thread asks for each answer and ends.

    Raises:
        BadOption: an address, a name or a key cannot be used.
    """

    def __init__(self, url: str, model: str, *, key: str = "", default: str | None = None) -> None:
        options = Options(url=url, model=model, key=key)
        if default is not None and not default:
            raise BadOption("default is empty; it is a version, or None")
        self._route = f"{options.url.rstrip('/')}/v1/models/{quote(options.model, safe='')}/assignment"
        self._headers = {"Authorization": f"Bearer {options.key}"} if options.key else {}
        self._known = Assignment(default)
        self._asked_at = -ASK_SECONDS

    @property
    def known(self) -> Assignment:
        """What was said last; asks anew where that is older than `ASK_SECONDS`."""
        if time.monotonic() - self._asked_at >= ASK_SECONDS:
            self._asked_at = time.monotonic()
            threading.Thread(target=self.ask, name=f"{THREADS}assignment", daemon=True).start()
        return self._known

    def version_for(self, unit: str) -> str | None:
        """The version that serves a customer, a session or a request: the same one for as long as a trial lasts."""
        return self.known.version_for(unit)

    def ask(self) -> bool:
        """Ask now, and wait up to two seconds; whether an answer came."""
        try:
            answer = httpx.get(self._route, headers=self._headers, timeout=_TIMEOUT_SECONDS)
            answer.raise_for_status()
            said = json.loads(answer.content)
            self._known = Assignment(said["champion"], said["challenger"], said["trial"], float(said["share"]))
        except (httpx.HTTPError, ValueError, KeyError, TypeError):
            return False
        return True
