"""Simulated traffic: counts of S segments x C columns, slice by slice, as a fold would give them.

Two columns have ten categories each (the first is the prediction), all others are standard normal numbers on ten
quantile bins. Drawing counts rather than rows makes thousands of segment-months affordable.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from monitors.columns.column import Column
from monitors.counting.layouts import Layout
from monitors.counting.segments import Cut

FloatArray = NDArray[np.float64]
BINS, CATEGORICAL = 10, 2
EDGES = ndtri(np.arange(1, BINS) / BINS)


def layout_of(segments: int, columns: int) -> Layout:
    """A layout with the segments s0, s1, … besides `all` and the tail."""
    values = tuple((f"s{i:05}",) for i in range(segments))
    names = tuple(str(i) for i in range(BINS - 1))
    found = [Column("prediction", "prediction", "category", "", categories=names, known=frozenset(names))]
    found += [
        Column(f"c{i}", f"feature_c{i}", "category", "", categories=names, known=frozenset(names))
        for i in range(1, CATEGORICAL)
    ]
    found += [
        Column(f"x{i}", f"feature_x{i}", "number", "", edges=tuple(EDGES.tolist()))
        for i in range(columns - CATEGORICAL)
    ]
    return Layout("classification", tuple(found), (Cut(("segment",), ("tag_segment",), values, 1),), ())


@dataclass(frozen=True)
class Wobbling:
    """How the traffic breathes, in standard deviations of a number (and of a class's log share)."""

    season: float = 0.0
    daily: float = 0.0
    hourly: float = 0.0


@dataclass
class Traffic:
    """Hourly counts of `rows` rows a segment.

    With `shift` [S, C] numbers move (in standard deviations); with `prior` [S] the first class gains that share.
    """

    layout: Layout
    rows: int
    wobbling: Wobbling
    rng: np.random.Generator
    hour: int = 0
    shift: FloatArray = field(init=False)
    prior: FloatArray = field(init=False)

    def __post_init__(self) -> None:
        self._segments, self._columns = len(self.layout.segments) - 2, len(self.layout.columns)
        shape = (self._segments, self._columns)
        self.shift, self.prior = np.zeros(shape), np.zeros(self._segments)
        self._phase = self.rng.uniform(0, 24, shape)
        self._today = np.zeros(shape)

    def slices(self, hours: int) -> Iterator[tuple[int, FloatArray]]:
        """The next slices: start (unix seconds) and profile [S, width]."""
        for _ in range(hours):
            yield self.hour * 3600, self._profile()
            self.hour += 1

    def _profile(self) -> FloatArray:
        shape = (self._segments, self._columns)
        if self.hour % 24 == 0:
            self._today = self.rng.normal(0, 1, shape) * self.wobbling.daily
        wave = self.wobbling.season * np.sqrt(2) * np.sin((self.hour - self._phase) * (np.pi / 12))
        level = wave + self._today + self.rng.normal(0, 1, shape) * self.wobbling.hourly + self.shift
        shares = np.empty((*shape, BINS))
        below = ndtr(EDGES - level[:, CATEGORICAL:, None])
        shares[:, CATEGORICAL:] = np.diff(below, axis=-1, prepend=0.0, append=1.0)
        odds = np.full((self._segments, CATEGORICAL, BINS), 1 / BINS)
        odds[..., 0] *= np.exp(level[:, :CATEGORICAL])
        odds /= odds.sum(axis=-1, keepdims=True)
        # The first class gains `prior` of the traffic, all others give it in proportion.
        odds[:, 0] *= (1 - self.prior / (1 - odds[:, 0, 0]))[:, None]
        odds[:, 0, 0] = 1 - odds[:, 0, 1:].sum(axis=-1)
        shares[:, :CATEGORICAL] = odds
        counts = self.rng.multinomial(self.rows, shares)
        profile = np.zeros((self._segments + 2, self.layout.width))
        profile[1:-1, 0] = self.rows
        for c, offset in enumerate(self.layout.offsets[:-1]):
            profile[1:-1, offset : offset + BINS] = counts[:, c]
        profile[0] = profile[1:].sum(axis=0)
        return profile
