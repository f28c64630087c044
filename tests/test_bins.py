import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from monitors.bins import Lookup, quantile_edges

floats = st.floats(width=32, allow_nan=False)


@given(hnp.arrays(np.float32, st.integers(1, 30), elements=floats), hnp.arrays(np.float32, 50, elements=floats))
def test_the_table_finds_the_same_bins_as_a_binary_search(edges, values):
    edges = np.unique(edges)
    with np.errstate(over="ignore"):  # below the smallest float lies minus infinity, which has its bin too
        values = np.concatenate([values, edges, np.nextafter(edges, np.float32(-np.inf))])
    np.testing.assert_array_equal(Lookup.of(edges).bins(values), np.searchsorted(edges, values, side="right"))


@given(hnp.arrays(np.float32, st.integers(1, 200), elements=st.floats(-1e6, 1e6, width=32)), st.integers(2, 20))
def test_edges_are_strictly_increasing(values, bins):
    edges = quantile_edges(values, bins)
    assert (np.diff(edges) > 0).all()


def test_a_constant_column_shows_a_change_to_either_side():
    lookup = Lookup.of(quantile_edges(np.full(100, 5, np.float32), 10))
    below, same, above = lookup.bins(np.float32([4, 5, 6]))
    assert below < same < above
