"""What shadow policies said, in documents of their own: nobody who decides, retrains or releases reads them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import msgspec

from service.storage import keys
from service.storage.store import Store

KEPT = 10_000
"""Decisions that are kept of a shadow; it is an experiment, and the ledger is elsewhere."""


@dataclass(frozen=True)
class Ask:
    """One retraining that a shadow would have opened, by the champion whose change it was.

    `ended_at` is when that change was over, by another champion or by itself: from then on it may ask again.
    """

    id: str
    champion: str
    opened_at: datetime
    reasons: tuple[str, ...]
    segments: tuple[str, ...]
    ended_at: datetime | None = None


@dataclass(frozen=True)
class Shadow:
    """What the last evaluation of a shadow left for the next, and for whoever looks.

    `problem` says why nothing was evaluated, where that is so; `asks` are its would-be retrainings, oldest first.
    """

    name: str
    policy: str = ""
    version: str = ""
    at: datetime | None = None
    action: str = ""
    missing: tuple[str, ...] = ()
    runs: Mapping[str, int] = field(default_factory=dict)
    asks: tuple[Ask, ...] = ()
    summary: str = ""
    kept_at: datetime | None = None
    problem: str = ""


@dataclass(frozen=True)
class Side:
    """What one of the two policies said: its action, what asked for it, and what was missing for a retraining."""

    action: str
    triggers: tuple[str, ...]
    missing: tuple[str, ...]


@dataclass(frozen=True)
class ShadowDecision:
    """What a shadow would have done, beside what the policy `in_force` did of the same counts."""

    at: datetime
    version: str
    policy: str
    action: str
    triggers: tuple[str, ...]
    missing: tuple[str, ...]
    in_force: Side
    reasons: Sequence[Mapping[str, Any]]


class ShadowLedger:
    """The documents of all shadows of all models."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def shadows(self, model: str) -> dict[str, Shadow]:
        """Name → what its last evaluation left, also of shadows whose file is gone."""
        found = self._store.do("HGETALL", _key(model, "shadows"))
        pairs = zip(found[::2], found[1::2], strict=True)
        return {name.decode(): msgspec.json.decode(state, type=Shadow) for name, state in pairs}

    def record(self, model: str, shadow: Shadow, decision: ShadowDecision | None, *, counted: bool) -> None:
        """One evaluation, at once: its state, the decision where it is worth keeping, its action among the counts."""
        names = [_key(model, "shadows"), _key(model, "shadow-counts"), _key(model, "shadow-decisions", shadow.name)]
        kept = msgspec.json.encode(decision) if decision else b""
        field_name = f"{shadow.name}:{shadow.action}" if counted else ""
        self._store.run("shadow", names, [shadow.name, msgspec.json.encode(shadow), field_name, kept, KEPT])

    def decisions(self, model: str, name: str, newest: int = 100) -> list[ShadowDecision]:
        """The newest kept decisions of a shadow, newest first."""
        found = self._store.do("LRANGE", _key(model, "shadow-decisions", name), -newest, -1)
        return [msgspec.json.decode(each, type=ShadowDecision) for each in reversed(found)]

    def counts(self, model: str) -> dict[tuple[str, str], int]:
        """(name, action) → evaluations that ended so."""
        found = self._store.do("HGETALL", _key(model, "shadow-counts"))
        parted = [(*key.decode().rpartition(":")[::2], int(n)) for key, n in zip(found[::2], found[1::2], strict=True)]
        return {(name, action): n for name, action, n in parted}


def _key(model: str, *parts: str) -> str:
    return keys.key(f"m:{model}", *parts)
