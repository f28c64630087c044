"""Demo traffic: the support assistant of AwesomeShoes as a seeded story, for `tidegate demo`.

Customers write by web, app and email; what they want is `fit`, `returns` or `shipping`. The story: a quiet history,
a stable time, then the programme "instant exchange" (see `service.demo.phrases`), after which the old model's
`returns` are often wrong while its `fit` and `shipping` stay right; then a broken feed, in which texts are cut and
order values go missing though nothing has changed; then the feed again as it was, in the new world.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa

from service.demo.phrases import AMBIGUOUS, CLOSINGS, INSTANT_EXCHANGE, OPENINGS, PHRASES, SLOTS

INTENTS = ("fit", "returns", "shipping")
CHANNELS = ("web", "app", "email")
MARKETS = ("DE", "FR", "NL", "SE", "UK")

AMBIGUOUS_SHARE = 0.06
INSTANT_SHARE = 0.22
CUT_SHARE = 0.25
EMPTY_SHARE = 0.15
LOST_ORDER_SHARE = 0.5
TYPO_SHARE = 0.08
_SCHEMA = pa.schema(
    {
        "prediction_id": pa.string(),
        "timestamp": pa.timestamp("us", tz="UTC"),
        "feature_text": pa.string(),
        "feature_channel": pa.string(),
        "feature_order_value": pa.float64(),
        "feature_customer_tenure_days": pa.float64(),
        "tag_market": pa.string(),
        "label": pa.string(),
    }
)
_SLOT = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True)
class Phase:
    """What the world is like for a while: whether instant exchange is offered, and whether the feed is broken."""

    offers_instant_exchange: bool
    is_broken: bool


PHASES = {
    "history": Phase(offers_instant_exchange=False, is_broken=False),
    "stable": Phase(offers_instant_exchange=False, is_broken=False),
    "drift": Phase(offers_instant_exchange=True, is_broken=False),
    "broken": Phase(offers_instant_exchange=True, is_broken=True),
    "recovered": Phase(offers_instant_exchange=True, is_broken=False),
}


@dataclass(frozen=True)
class Chapter:
    """A stretch of the story: its phase, how many customers write, and one sentence for the person who watches."""

    phase: str
    rows: int
    says: str


STORY = (
    Chapter("history", 4_000, "Labelled history trains the first model and is its baseline."),
    Chapter("stable", 2_000, "Quiet days: nothing changes, and nothing should happen."),
    Chapter("drift", 690, "Instant exchange starts: customers use the words of returns for other wishes."),
    Chapter("broken", 500, "Then the feed breaks: texts are cut, order values are missing. A fault, not drift."),
    Chapter("recovered", 2_400, "The feed is whole again, in the new world. What drift asked for may be done."),
)


def story(
    start: datetime,
    *,
    step: timedelta = timedelta(minutes=2),
    seed: int = 7,
    chapters: Sequence[Chapter] = STORY,
) -> Iterator[tuple[Chapter, pa.Table]]:
    """Each chapter with its rows (see `rows`), one after the other in time; the same for the same seed."""
    for place, chapter in enumerate(chapters):
        yield chapter, rows(chapter.phase, chapter.rows, start, step, np.random.default_rng([seed, place]))
        start += chapter.rows * step


def rows(phase: str, n: int, start: datetime, step: timedelta, rng: np.random.Generator) -> pa.Table:
    """What `n` customers write in a phase, one every `step` from `start` (aware) on.

    Columns: prediction_id, timestamp, feature_text, feature_channel, feature_order_value (euro, null where lost),
    feature_customer_tenure_days, tag_market, and `label`, what the customer really wants. There is no prediction yet.
    """
    world = PHASES[phase]
    wishes = [INTENTS[i] for i in rng.choice(3, n, p=(0.34, 0.33, 0.33))]
    channels = [CHANNELS[i] for i in rng.choice(3, n, p=(0.5, 0.35, 0.15))]
    texts = [_text(wish, channel, world, rng) for wish, channel in zip(wishes, channels, strict=True)]
    values = np.round(rng.lognormal(4.3 + 0.15 * (np.asarray(wishes) == "returns"), 0.45), 2)
    lost = rng.random(n) < (LOST_ORDER_SHARE if world.is_broken else 0.01)
    begin = int(start.astimezone(UTC).timestamp() * 1_000_000)
    moments = begin + np.arange(n) * int(step.total_seconds() * 1_000_000)
    return pa.table(
        {
            "prediction_id": [f"{key:016x}" for key in rng.integers(0, 2**63, n).tolist()],
            "timestamp": pa.array(moments, pa.timestamp("us", tz="UTC")),
            "feature_text": _broken(texts, rng) if world.is_broken else texts,
            "feature_channel": channels,
            "feature_order_value": pa.array(values, pa.float64(), mask=lost),
            "feature_customer_tenure_days": np.floor(rng.exponential(420, n)),
            "tag_market": [MARKETS[i] for i in rng.choice(5, n, p=(0.35, 0.25, 0.15, 0.1, 0.15))],
            "label": wishes,
        },
        schema=_SCHEMA,
    )


def _text(wish: str, channel: str, world: Phase, rng: np.random.Generator) -> str:
    draw = rng.random()
    if draw < AMBIGUOUS_SHARE:
        phrases: Sequence[str] = AMBIGUOUS
    elif world.offers_instant_exchange and draw < AMBIGUOUS_SHARE + INSTANT_SHARE:
        phrases = INSTANT_EXCHANGE[wish]
    else:
        phrases = PHRASES[wish]
    text = _SLOT.sub(lambda slot: _one(SLOTS[slot[1]], rng), _one(phrases, rng))
    text = _one(OPENINGS, rng) + text + _one(CLOSINGS, rng)
    if channel == "email":
        code, city = _one(SLOTS["code"], rng), _one(SLOTS["city"], rng)
        text = f"Dear AwesomeShoes, {text}. My order is {code}. Kind regards from {city}"
    return _typo(text, rng) if rng.random() < TYPO_SHARE else text


def _one(choices: Sequence[str], rng: np.random.Generator) -> str:
    return choices[int(rng.integers(len(choices)))]


def _typo(text: str, rng: np.random.Generator) -> str:
    """Two neighbouring letters change places."""
    at = int(rng.integers(max(len(text) - 1, 1)))
    return text[:at] + text[at + 1 : at + 2] + text[at : at + 1] + text[at + 2 :]


def _broken(texts: Sequence[str], rng: np.random.Generator) -> list[str]:
    draws, lengths = rng.random(len(texts)), rng.integers(3, 12, len(texts))
    cut = EMPTY_SHARE + CUT_SHARE
    return [
        "" if draw < EMPTY_SHARE else text[:length] if draw < cut else text
        for text, draw, length in zip(texts, draws, lengths.tolist(), strict=True)
    ]
