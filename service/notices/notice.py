"""A notice: one happening, in words for people and in facts for programs."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any


@dataclass(frozen=True)
class Notice:
    """One happening in words. `id` is the same whenever it is told, `kind` one of NOTICE_KINDS, `type` says it finer;
    `facts` are plain values of JSON.
    """

    id: str
    kind: str
    type: str
    model: str
    at: datetime
    title: str
    lines: tuple[str, ...]
    facts: Mapping[str, Any] = field(default_factory=dict)


def identity(model: str, kind: str, key: Sequence[str]) -> str:
    """An id that the same happening always gives; `key` tells it from others of its type.

    A digest, since a model's name may hold full stops, which part a signed webhook's id from its time.
    """
    return "n-" + hashlib.sha256(json.dumps([model, kind, *key]).encode()).hexdigest()[:24]
