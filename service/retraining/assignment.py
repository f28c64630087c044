"""Assignment: which version serves whom while a challenger is on trial. The same unit always gets the same one."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from threading import Lock
from time import monotonic

from service.house import House
from service.retraining.seeing import CANARY

FRESH_SECONDS = 2.0
"""How long a process trusts what it read: a trial that has ended is routed to at most this much longer."""
_MOST_MODELS = 1_000


@dataclass(frozen=True)
class Split:
    """How a model's traffic is shared out now. `trial` names the trial, empty where there is none; `challenger` gets
    `share` of the units until about `until`. A uri is where a model that is not held here lies, else empty.
    """

    model: str
    champion: str
    champion_uri: str = ""
    trial: str = ""
    mode: str = ""
    challenger: str = ""
    challenger_uri: str = ""
    share: float = 0.0
    until: datetime | None = None

    def version_for(self, unit: str) -> str:
        """The version that serves a unit: a customer, a session or a request, whatever is to see one model only.

        >>> split = Split("m", "1", trial="r-1", challenger="2", share=0.25)
        >>> served = [split.version_for(f"customer {n}") for n in range(1000)]
        >>> served == [split.version_for(f"customer {n}") for n in range(1000)], 200 < served.count("2") < 300
        (True, True)
        """
        # Another trial is for other units: nobody is always the one who tries.
        drawn = hashlib.sha256(f"{self.trial}\0{unit}".encode()).digest()
        is_tried = self.trial and int.from_bytes(drawn[:8]) < self.share * 2**64
        return self.challenger if is_tried else self.champion

    def uri_of(self, version: str) -> str:
        return self.challenger_uri if version == self.challenger else self.champion_uri


def read_split(house: House, model: str) -> Split:
    """The split as it is stored now."""
    champion = house.ledger.champion(model)
    released = next((r for r in reversed(house.ledger.releases(model)) if r.version == champion), None)
    uri, tried = released.uri if released else "", house.ledger.trying(model)
    if tried is None or tried.trial is None or tried.champion != champion:
        return Split(model, champion, uri)
    trial = tried.trial
    share = trial.share if trial.mode == CANARY else 0.0
    return Split(model, champion, uri, tried.id, trial.mode, tried.version, tried.uri, share, trial.until)


class Splits:
    """Splits of all models from memory, read again every `FRESH_SECONDS`; threads may use it."""

    def __init__(self, house: House, seconds: Callable[[], float] = monotonic) -> None:
        self._house = house
        self._seconds = seconds
        self._known: dict[str, tuple[float, Split]] = {}
        self._lock = Lock()

    def fresh(self, model: str) -> Split | None:
        """What is remembered and still trusted; reads nothing."""
        read_at, split = self._known.get(model, (0.0, None))
        return split if split is not None and self._seconds() < read_at + FRESH_SECONDS else None

    def read(self, model: str) -> Split:
        """What is trusted, or else what is stored. Raises StoreError."""
        known = self.fresh(model)
        if known is not None:
            return known
        split = read_split(self._house, model)
        with self._lock:
            if len(self._known) >= _MOST_MODELS:
                self._known.clear()
            self._known[model] = (self._seconds(), split)
        return split
