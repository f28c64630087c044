import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from monitors.columns.bins import Lookup, quantile_edges

RNG = np.random.default_rng(0)
floats = st.floats(width=32, allow_nan=False)
patterns = (
    st.integers(0, 2**32 - 1).map(lambda bits: np.uint32(bits).view(np.float32)).filter(lambda x: not np.isnan(x))
)
far = st.builds(
    lambda base, steps: np.float32(base) + np.float32(np.spacing(np.float32(base))) * np.asarray(steps, np.float32),
    st.floats(1, 2.0**100, width=32) | st.floats(-(2.0**100), -1, width=32),
    st.lists(st.integers(-100_000, 100_000), min_size=1, max_size=12),
)
edges_of_any_kind = st.one_of(
    hnp.arrays(np.float32, st.integers(0, 30), elements=floats),
    hnp.arrays(np.float32, st.integers(0, 30), elements=patterns),
    far,
).map(np.unique)
EVERY_RANGE = np.concatenate(
    [
        ((np.arange(65_536, dtype=np.uint32) << 16) | low).view(np.float32)
        for low in (0, 1, 0x7FFF, 0x8000, 0xFFFE, 0xFFFF)
    ]
)
EVERY_RANGE = EVERY_RANGE[~np.isnan(EVERY_RANGE)]
COLUMNS = {
    "normal": RNG.normal(size=10_000),
    "far from zero": RNG.normal(290, 10, 10_000),
    "far below zero": RNG.normal(-1e6, 3, 10_000),
    "prices": np.round(RNG.lognormal(3, 1, 10_000), 2),
    "a few prices": RNG.choice([9.99, 19.99, 29.99, -4.99], 10_000),
    "flags": RNG.integers(0, 2, 10_000),
    "counts": RNG.poisson(3, 10_000),
    "mostly zero": np.where(RNG.random(10_000) < 0.5, 0, RNG.exponential(size=10_000)),
    "years": RNG.integers(1990, 2025, 10_000),
    "seconds": RNG.uniform(1.7e9, 1.71e9, 10_000),
}


def around(edges: np.ndarray) -> np.ndarray:
    """The edges and their neighbours."""
    with np.errstate(over="ignore"):  # beyond the largest floats lie the infinities, which have their bins too
        ends = [np.nextafter(edges, np.float32(way)) for way in (-np.inf, np.inf)]
    return np.concatenate([edges, *ends])


@given(edges_of_any_kind, hnp.arrays(np.float32, 50, elements=floats | patterns))
def test_the_table_finds_the_same_bins_as_a_binary_search(edges, values):
    values = np.concatenate([values, around(edges), np.float32([0.0, -0.0, np.inf, -np.inf])])
    np.testing.assert_array_equal(Lookup.of(edges).bins(values), np.searchsorted(edges, values, side="right"))


@settings(max_examples=30, deadline=None)
@given(edges_of_any_kind)
def test_so_it_does_in_every_range_of_the_table(edges):
    found = Lookup.of(edges).bins(EVERY_RANGE)
    np.testing.assert_array_equal(found, np.searchsorted(edges, EVERY_RANGE, side="right"))


def test_more_bins_than_a_byte_counts_are_found():
    edges = np.unique(RNG.normal(size=1_000).astype(np.float32))
    values = np.concatenate([EVERY_RANGE, around(edges)])
    np.testing.assert_array_equal(Lookup.of(edges).bins(values), np.searchsorted(edges, values, side="right"))


@given(hnp.arrays(np.float32, st.integers(1, 200), elements=st.floats(-1e6, 1e6, width=32)), st.integers(2, 20))
def test_edges_are_strictly_increasing(values, bins):
    edges = quantile_edges(values, bins)
    assert (np.diff(edges) > 0).all()


@pytest.mark.parametrize("values", COLUMNS.values(), ids=COLUMNS)
def test_no_bin_holds_much_more_than_its_share_but_for_a_single_value(values):
    values = values.astype(np.float32)
    edges = quantile_edges(values, 10)
    held = np.searchsorted(edges, values, side="right")
    for number in range(len(edges) + 1):
        inside = values[held == number]
        most = np.unique(inside, return_counts=True)[1].max(initial=0)
        assert len(inside) - most <= 0.1 * 1.15 * len(values)


@pytest.mark.parametrize("name", COLUMNS)
def test_few_rows_are_searched_and_none_of_a_column_around_zero(name):
    values = COLUMNS[name].astype(np.float32)
    lookup = Lookup.of(quantile_edges(values, 10))
    searched = lookup.table[(values - lookup.centre).view(np.uint32) >> 16] == lookup.mark
    assert searched.mean() <= (0.2 if lookup.centre else 0)


def test_a_constant_column_shows_a_change_to_either_side():
    lookup = Lookup.of(quantile_edges(np.full(100, 5, np.float32), 10))
    below, same, above = lookup.bins(np.float32([4, 5, 6]))
    assert below < same < above
