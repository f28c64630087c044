"""Simulated drifts of many kinds, for the benchmark of releases: streams of rows with the labels that are posted."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

ROWS, CHANGE = 7_000, 2_800
BEGIN = 1_767_225_600


@dataclass
class World:
    """One simulated stream. A row's true label follows `weights` of its concept; `posted` is what is sent as label."""

    rng: np.random.Generator
    group: NDArray[np.int64]
    producer: NDArray[np.int64]
    x: NDArray[np.float64]
    weights: NDArray[np.float64]
    noise: NDArray[np.float64]
    wrong: NDArray[np.bool_]
    lost: NDArray[np.bool_]

    @classmethod
    def at_rest(cls, seed: int) -> "World":
        rng = np.random.default_rng(seed)
        groups = 3 + seed % 4
        shares = rng.dirichlet(np.full(groups, 8.0))
        one = rng.normal(size=5)
        return cls(
            rng,
            rng.choice(groups, ROWS, p=shares),
            rng.integers(0, 4, ROWS),
            rng.normal(size=(ROWS, 4)),
            np.tile(one / np.linalg.norm(one) * 3, (ROWS, 1)),
            np.full(ROWS, rng.uniform(0.02, 0.12)),
            np.zeros(ROWS, bool),
            np.zeros(ROWS, bool),
        )

    def table(self) -> tuple[pa.Table, NDArray[np.bool_]]:
        """The rows as they are sent, and their true labels."""
        plane = np.column_stack([self.x, np.ones(ROWS)])
        truth = ((plane * self.weights).sum(axis=1) > 0) ^ (self.rng.random(ROWS) < self.noise)
        micros = ((BEGIN + np.arange(ROWS) * 60) * 1e6).astype("int64")
        shown = np.where(self.lost[:, None] & (np.arange(4) < 2), np.nan, self.x)
        columns = {f"x{i}": pa.array(shown[:, i], from_pandas=True) for i in range(4)}
        return pa.table(
            {
                "timestamp": pa.array(micros, pa.timestamp("us", "UTC")),
                **columns,
                "group": [f"g{g}" for g in self.group.tolist()],
                "producer": [f"p{p}" for p in self.producer.tolist()],
                "label": np.where(truth ^ self.wrong, "yes", "no"),
            }
        ), truth


def _other(world: World) -> NDArray[np.float64]:
    """Another concept: turned by 40 to 140 degrees against the first."""
    now = world.weights[0] / np.linalg.norm(world.weights[0])
    side = world.rng.normal(size=5)
    side -= side @ now * now
    angle = np.deg2rad(world.rng.uniform(40, 140))
    return 3 * (np.cos(angle) * now + np.sin(angle) * side / np.linalg.norm(side))


def _since(row: int, until: int = ROWS) -> NDArray[np.bool_]:
    at = np.arange(ROWS)
    return (at >= row) & (at < until)


def abrupt(world: World) -> None:
    """Another concept from one row on."""
    world.weights[CHANGE:] = _other(world)


def gradual(world: World) -> None:
    """The concept turns over 2,000 rows."""
    part = np.clip((np.arange(ROWS) - CHANGE) / 2_000, 0, 1)[:, None]
    world.weights[:] = (1 - part) * world.weights[0] + part * _other(world)


def covariate(world: World) -> None:
    """Other rows, the same concept, which a line fits less well where they are now."""
    world.x[CHANGE:] += world.rng.normal(size=4) * 1.2
    world.noise[_since(CHANGE) & (world.x[:, 0] > 1)] += 0.15


def prior(world: World) -> None:
    """The boundary moves: one label becomes far more frequent."""
    world.weights[CHANGE:, 4] += world.rng.choice([-1, 1]) * world.rng.uniform(2, 4)


def one_segment(world: World) -> None:
    """Another concept in one segment alone."""
    world.weights[_since(CHANGE) & (world.group == world.rng.integers(0, 3))] = _other(world)


def recurring(world: World) -> None:
    """Two concepts take turns, 1,300 rows each."""
    other = _other(world)
    for begin in range(CHANGE, ROWS, 2_600):
        world.weights[begin : begin + 1_300] = other


def temporary(world: World) -> None:
    """Another concept for as long as it takes to retrain, then the old one again."""
    world.weights[CHANGE : CHANGE + world.rng.integers(700, 1_600)] = _other(world)


def noisy_labels(world: World) -> None:
    """Labels are wrong in 40 % for some 900 rows; then they are right again."""
    burst = _since(CHANGE, CHANGE + world.rng.integers(700, 1_100))
    world.wrong |= burst & (world.rng.random(ROWS) < 0.4)


def turned_labels(world: World) -> None:
    """Labels of one segment are sent the wrong way round for some 900 rows."""
    burst = _since(CHANGE, CHANGE + world.rng.integers(700, 1_100))
    world.wrong |= burst & (world.group == 0)


def poisoned(world: World) -> None:
    """One producer of four sends its labels the wrong way round from a row on."""
    world.wrong |= _since(CHANGE) & (world.producer == 0)


def broken_feed(world: World) -> None:
    """Two columns are lost in most rows for a while; nothing else changes."""
    world.lost |= _since(CHANGE, CHANGE + 900) & (world.rng.random(ROWS) < 0.8)


def change_and_break(world: World) -> None:
    """Another concept, and soon after it a broken feed."""
    abrupt(world)
    world.lost |= _since(CHANGE + 200, CHANGE + 700) & (world.rng.random(ROWS) < 0.8)


KINDS = (abrupt, gradual, covariate, prior, one_segment, recurring, temporary, noisy_labels, turned_labels, poisoned,
         broken_feed, change_and_break)  # fmt: skip
