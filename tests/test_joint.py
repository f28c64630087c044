import json

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.covariance import ledoit_wolf
from streams import START, predictions

from monitors.baseline.baselines import Baseline, build
from monitors.columns.joint import MOST_COLUMNS, Joint, _shrunk
from monitors.counting.layouts import Layout, from_plain, learn_layout, to_plain
from monitors.counting.profiles import fold
from monitors.statistics.formulas import psi
from monitors.statistics.shares import Pair

ROWS = 10_000


def table_of(features: dict[str, np.ndarray]) -> pa.Table:
    rows = len(next(iter(features.values())))
    times = pa.array((START + np.arange(rows)) * 1_000_000, pa.timestamp("us", "UTC"))
    columns = {f"feature_{name}": pa.array(values) for name, values in features.items()}
    return pa.table({"timestamp": times, "prediction": ["a", "b"] * (rows // 2), **columns})


def pair(bond: float, seed: int, others: int = 3, rows: int = ROWS) -> dict[str, np.ndarray]:
    """Two columns with this correlation, and others that nothing ties."""
    rng = np.random.default_rng(seed)
    x, rest = rng.normal(size=rows), rng.normal(size=rows)
    return {
        "x": x,
        "y": bond * x + np.sqrt(1 - bond**2) * rest,
        **{f"o{i}": rng.normal(size=rows) for i in range(others)},
    }


def learnt(table: pa.Table, **columns: str) -> Layout:
    return learn_layout(table, cuts=[], columns=columns, target="prediction", task="classification")


def moved(before: pa.Table, now: pa.Table) -> dict[str, float]:
    """Population stability index of each column."""
    layout = learnt(before)
    old, new = (sum(fold(layout, table, 86_400).values())[0] for table in (before, now))
    return {
        column.name: float(psi(Pair.smoothed(layout.column_bins(new, c), layout.column_bins(old, c))))
        for c, column in enumerate(layout.columns)
    }


@pytest.mark.parametrize(("was", "is_now"), [(0.8, 0.0), (0.0, 0.8), (0.8, -0.8)])
def test_a_bond_that_breaks_or_appears_moves_joint_and_no_other_column(was, is_now):
    found = moved(table_of(pair(was, 1, others=0)), table_of(pair(is_now, 2, others=0)))
    assert found.pop("joint") > 0.2
    assert max(found.values()) < 0.01


def test_a_bond_that_breaks_shows_among_twenty_columns():
    found = moved(table_of(pair(0.8, 1, others=18)), table_of(pair(0, 2, others=18)))
    assert found.pop("joint") > 0.1
    assert max(found.values()) < 0.01


@pytest.mark.parametrize("bond", [0.0, 0.8])
def test_joint_is_quiet_while_nothing_changes(bond):
    assert moved(table_of(pair(bond, 1)), table_of(pair(bond, 2)))["joint"] < 0.01


def test_independent_columns_stay_independent_however_their_rows_are_permuted():
    rng = np.random.default_rng(3)
    features = pair(0, 1)
    permuted = {name: rng.permutation(values) for name, values in features.items()}
    assert moved(table_of(features), table_of(permuted))["joint"] < 0.01


def test_the_bond_of_a_category_and_a_number_counts_too():
    rng = np.random.default_rng(4)
    size = rng.normal(size=ROWS)
    kind = np.where(size > 0.5, "large", "usual")
    before = table_of({"size": size, "kind": kind})
    found = moved(before, table_of({"size": size, "kind": rng.permutation(kind)}))
    assert found.pop("joint") > 0.1
    assert max(found.values()) < 0.01


@pytest.mark.parametrize(("rows", "features"), [(500, 10), (2_000, 40), (10_000, 70)])
def test_new_rows_of_one_distribution_are_as_far_away_as_the_baselines_own(rows, features):
    before, now = (table_of(pair(0.8, seed, features - 2, n)) for seed, n in ((1, rows), (2, 20_000)))
    layout = learnt(before)
    assert len(layout.joint.columns) <= min(MOST_COLUMNS, (rows / 14) ** (2 / 3))
    means, spreads = [], []
    for table in (before, now):
        total = sum(fold(layout, table, 86_400).values())[0]
        *_, summed, squares = layout.column_extra(total, len(layout.columns) - 1)
        means.append(summed / total[0])
        spreads.append(np.sqrt(squares / total[0] - means[-1] ** 2))
    assert means[0] == pytest.approx(len(layout.joint.columns), rel=0.1)
    assert abs(means[1] - means[0]) < 0.15 * spreads[0]


@settings(max_examples=10, deadline=None)
@given(st.integers(2, 30), st.integers(0, 99))
def test_a_row_has_the_same_value_in_any_batch(features, seed):
    table = table_of(pair(0.9, seed, features - 2, 3_000))
    layout = learnt(table)

    def values(part: pa.Table) -> np.ndarray:
        return layout.joint.values({c.name: c.cells(part) for c in layout.columns if c.derive != "joint"})

    whole = values(table)
    np.testing.assert_array_equal(np.concatenate([values(table.slice(at, 97)) for at in range(0, 3_000, 97)]), whole)
    assert (whole >= 0).all()


def test_values_are_the_squared_distance_by_the_inverse_correlation():
    table = table_of(pair(0.8, 1))
    layout = learnt(table)
    cells = {c.name: c.cells(table) for c in layout.columns if c.derive != "joint"}
    scores = dict(zip(layout.joint.columns, layout.joint.scores, strict=True))
    z = np.stack([np.asarray(of_bins)[cells[name].bins] / 32 for name, of_bins in scores.items()])
    shrunk, _ = ledoit_wolf(z.T, assume_centered=True)
    inverse = np.linalg.inv(shrunk + 1e-3 * np.eye(len(z)))
    np.testing.assert_allclose(layout.joint.values(cells), np.einsum("cn,cd,dn->n", z, inverse, z), rtol=1e-3)


@given(st.integers(2, 8), st.integers(5, 200), st.integers(0, 99))
def test_the_shrinkage_is_that_of_ledoit_and_wolf(columns, rows, seed):
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(columns, rows)) + rng.normal(size=rows)
    np.testing.assert_allclose(_shrunk(z), ledoit_wolf(z.T, assume_centered=True)[0], atol=1e-9)


def test_missing_values_say_nothing_and_columns_that_are_one_do_no_harm():
    x = np.random.default_rng(5).normal(size=ROWS)
    features = {"x": x, "twin": x, "constant": np.ones(ROWS), "flag": x > 0}
    table = table_of(features)
    layout = learnt(table)
    assert layout.joint.columns == ("x", "twin", "flag")
    total = sum(fold(layout, table.select(["timestamp", "prediction"]), 86_400).values())[0]
    assert layout.column_bins(total, len(layout.columns) - 1)[0] == ROWS
    assert np.isfinite(total).all()


def test_it_survives_the_bytes_of_a_baseline():
    table = predictions(900)
    baseline = build(table, model="m", version="1", cuts=[["channel"]], task="classification")
    again = Baseline.from_bytes(baseline.to_bytes())
    assert again.layout.joint.to_plain() == baseline.layout.joint.to_plain()
    np.testing.assert_array_equal(
        sum(fold(again.layout, table, 3_600).values()), sum(fold(baseline.layout, table, 3_600).values())
    )
    plain = json.loads(json.dumps(to_plain(baseline.layout)))
    assert isinstance(from_plain(plain).joint, Joint)


def test_a_feature_of_the_users_keeps_its_name_and_the_policy_can_leave_joint_out():
    features = pair(0.5, 1, others=1, rows=400)

    def names(columns: dict[str, np.ndarray], **overrides: str) -> list[str]:
        return [c.name for c in learnt(table_of(columns), **overrides).columns]

    assert names(features)[-1] == "joint"
    assert names({**features, "joint": features["x"]})[-2:] == ["joint", "joint.features"]
    assert names(features, joint="ignore")[-1] == "o0"
    assert names({"x": features["x"]}) == ["prediction", "x"]
    assert names({name: values[:20] for name, values in features.items()})[-1] == "o0"
