from functools import reduce
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from streams import predictions

from monitors.baseline.baselines import Baseline, build
from monitors.counting.labelled import fold_labelled
from monitors.counting.layouts import Layout, learn_layout
from monitors.counting.profiles import add, fold
from monitors.errors import BadColumn, BaselineMismatch, EmptyBaseline

ROWS = 900
TABLE = predictions(ROWS, missing=0.05)
CUTS = [["prediction"], ["channel"], ["prediction", "channel"], ["group"]]
BASELINE = build(TABLE, model="m", version="1", cuts=CUTS, task="classification")
LAYOUT = BASELINE.layout


def with_every_kind(table: pa.Table) -> pa.Table:
    """The batch with columns of all other kinds, each with missing values."""
    rng = np.random.default_rng(1)
    rows = table.num_rows
    gone = rng.random(rows) < 0.1
    columns = {
        "score_fit": pa.array(rng.random(rows), mask=gone),
        "feature_far": pa.array(rng.normal(290, 10, rows), mask=gone),
        "feature_count": pa.array(rng.poisson(2, rows), mask=gone),
        "feature_flag": pa.array(rng.random(rows) < 0.3, mask=gone),
        "feature_at": pa.array(rng.integers(0, 10**9, rows), pa.timestamp("s", "UTC"), mask=gone),
        "feature_city": pa.array([f"c{i}" for i in rng.geometric(0.05, rows)], mask=gone).dictionary_encode(),
        "feature_vector": pa.array(list(rng.normal(size=(rows, 3)))),
        "tag_market": pa.array(rng.choice(["DE", "other", "missing", "a,b=c"], rows), mask=gone),
    }
    for name, values in columns.items():
        table = table.append_column(name, values)
    return table


WIDE = with_every_kind(TABLE)
WIDE_CUTS = [*CUTS, ["market"], ["market", "group", "flag"], ["flag"], ["city"]]
WIDE_LAYOUT = learn_layout(
    WIDE, cuts=WIDE_CUTS, columns={}, target="prediction", task="classification", most_segments=7
)
BROKEN = {
    "not sent": lambda _: None,
    "null": lambda column: pa.nulls(len(column), column.type),
    "null without a type": lambda column: pa.nulls(len(column)),
    "text": lambda column: pa.array(["oops" if i % 3 else "1.5" for i in range(len(column))]),
    "infinite": lambda column: pa.array([(np.inf, -np.inf, 1e300, np.nan, 0.5)[i % 5] for i in range(len(column))]),
    "lists": lambda column: pa.array([[float(i)] for i in range(len(column))]),
    "truth": lambda column: pa.array([i % 2 == 0 for i in range(len(column))]),
    "times": lambda column: pa.array(range(len(column)), pa.timestamp("s")),
}
broken = st.dictionaries(
    st.sampled_from([n for n in WIDE.column_names if n.startswith(("feature_", "tag_", "score_", "conf"))]),
    st.sampled_from(list(BROKEN)),
    max_size=4,
)


def damaged(table: pa.Table, how: dict[str, str]) -> pa.Table:
    for name, kind in how.items():
        values = BROKEN[kind](table.column(name))
        place = table.column_names.index(name)
        table = table.remove_column(place) if values is None else table.set_column(place, name, values)
    return table


def sums_of(layout: Layout) -> np.ndarray:
    """Which floats of a profile are sums, and not counts of rows."""
    found = np.zeros(layout.width, dtype=bool)
    for c in range(len(layout.columns)):
        layout.column_extra(found, c)[4:] = True
    return found


def test_the_stream_has_columns_of_every_kind():
    assert {c.source for c in WIDE_LAYOUT.columns} >= {n for n in WIDE.column_names if n.startswith("feature_")}
    assert {"number", "category"} == {c.kind for c in WIDE_LAYOUT.columns}
    assert {"confidence", "score.fit", "at.hour", "text.length", "joint"} <= {c.name for c in WIDE_LAYOUT.columns}


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.integers(0, ROWS), max_size=6),
    st.randoms(use_true_random=False),
    broken,
    st.sampled_from([3_600, 86_400]),
)
def test_any_split_order_and_merge_gives_the_same_counts(cuts, random, how, seconds):
    rows = list(range(ROWS))
    random.shuffle(rows)
    table, counting = random.choice([(damaged(WIDE, how).take(rows), fold), (WIDE, fold), (WIDE, fold_labelled)])
    parts = [table.slice(a, b - a) for a, b in pairwise([0, *sorted(cuts), ROWS])]
    random.shuffle(parts)
    whole = counting(WIDE_LAYOUT, table, seconds)
    merged = reduce(add, (counting(WIDE_LAYOUT, part, seconds) for part in parts), {})
    assert whole.keys() == merged.keys()
    exact = ~sums_of(WIDE_LAYOUT) if counting is fold else np.zeros(WIDE_LAYOUT.labelled_width, dtype=bool)
    for start, counts in whole.items():
        np.testing.assert_array_equal(merged[start][:, exact], counts[:, exact])
        np.testing.assert_allclose(merged[start], counts, rtol=1e-9, atol=1e-6)


@settings(max_examples=40, deadline=None)
@given(broken)
def test_every_row_is_in_one_bin_or_missing_or_of_wrong_type_in_every_segment(how):
    total = sum(fold(WIDE_LAYOUT, damaged(WIDE, how), 3600).values())
    assert np.isfinite(total).all()
    for c, column in enumerate(WIDE_LAYOUT.columns):
        extra = WIDE_LAYOUT.column_extra(total, c)
        placed = WIDE_LAYOUT.column_bins(total, c).sum(axis=1) + extra[:, 0] + extra[:, 3]
        np.testing.assert_array_equal(placed, total[:, 0], err_msg=column.name)


@settings(max_examples=40, deadline=None)
@given(broken)
def test_segments_of_a_cut_add_up_to_all_and_children_are_parts_of_their_parents(how):
    total = sum(fold(WIDE_LAYOUT, damaged(WIDE, how), 3600).values())
    counts = total[:, ~sums_of(WIDE_LAYOUT)]
    for cut in WIDE_LAYOUT.cuts:
        np.testing.assert_array_equal(counts[cut.first : cut.other + 1].sum(axis=0), counts[0])
        np.testing.assert_allclose(total[cut.first : cut.other + 1].sum(axis=0), total[0], rtol=1e-9)
    assert total[0, 0] == ROWS
    assert (counts[1:] <= counts[WIDE_LAYOUT.parents[1:]]).all()


def test_a_long_file_in_any_order_counts_as_its_parts_do():
    rows, rng = 70_000, np.random.default_rng(2)
    times = pa.array(rng.integers(0, 700 * 3_600, rows), pa.timestamp("s", "UTC"))
    table = pa.table(
        {"timestamp": times, "prediction": rng.choice(["a", "b"], rows), "feature_x": rng.normal(size=rows)}
    )
    table = table.append_column("tag_t", pa.array(rng.choice([f"t{i}" for i in range(60)], rows)))
    layout = learn_layout(
        table, cuts=[["t"], ["t", "prediction"]], columns={}, target="prediction", task="classification"
    )
    parts = [table.slice(at, 10_000) for at in range(0, rows, 10_000)]
    merged = reduce(add, (fold(layout, part, 3_600) for part in parts), {})
    for ordered in (table, table.sort_by("timestamp")):
        whole = fold(layout, ordered, 3_600)
        assert whole.keys() == merged.keys()
        assert all(np.allclose(counts, merged[start], rtol=1e-9) for start, counts in whole.items())


def test_the_counts_are_those_of_a_plain_loop():
    counted = sum(fold(LAYOUT, TABLE, 3600).values())
    channel = next(i for i, c in enumerate(LAYOUT.columns) if c.name == "channel")
    segment = LAYOUT.segments.index("prediction=returns,channel=app")
    rows = [r for r in TABLE.to_pylist() if r["prediction"] == "returns" and r["feature_channel"] == "app"]
    assert counted[segment, 0] == len(rows)
    assert LAYOUT.column_bins(counted, channel)[segment].tolist() == [len(rows), 0, 0]
    labelled = sum(fold_labelled(LAYOUT, TABLE, 3600).values())
    assert labelled[segment, 1] == sum(r["label"] == "returns" for r in rows)


def test_values_of_another_type_are_counted_and_harm_nothing():
    index = TABLE.column_names.index("feature_x1")
    broken = TABLE.set_column(index, "feature_x1", pa.array(["oops"] * 450 + ["1.5"] * 450))
    counted = sum(fold(LAYOUT, broken, 3600).values())
    x1 = next(i for i, c in enumerate(LAYOUT.columns) if c.name == "x1")
    assert LAYOUT.column_extra(counted, x1)[0, 3] == 450
    assert LAYOUT.column_bins(counted, x1)[0].sum() == 450


def test_a_column_that_is_not_sent_is_missing_and_an_infinite_value_is_out_of_range():
    gone = TABLE.drop_columns(["feature_x1"])
    index = gone.column_names.index("feature_x2")
    gone = gone.set_column(index, "feature_x2", pa.array([np.inf] * 900))
    counted = sum(fold(LAYOUT, gone, 3600).values())
    names = [c.name for c in LAYOUT.columns]
    assert LAYOUT.column_extra(counted, names.index("x1"))[0, 0] == 900
    assert LAYOUT.column_extra(counted, names.index("x2"))[0, 2] == 900
    assert np.isfinite(counted).all()


def test_a_baseline_survives_bytes_and_keeps_its_fingerprint():
    again = Baseline.from_bytes(BASELINE.to_bytes())
    assert again.fingerprint == BASELINE.fingerprint
    assert again.layout.segments == LAYOUT.segments
    np.testing.assert_array_equal(sum(fold(again.layout, TABLE, 3600).values()), BASELINE.counts)


def test_errors_say_what_to_do():
    with pytest.raises(EmptyBaseline, match="no rows"):
        build(TABLE.slice(0, 0), model="m", version="1", cuts=[], task="classification")
    with pytest.raises(BadColumn, match=r"x1.*allowed"):
        build(TABLE, model="m", version="1", cuts=[], task="classification", columns={"x1": "sound"})
    with pytest.raises(BaselineMismatch, match="build it again"):
        Baseline.from_bytes(b"\0\0\0\2{}nonsense")


def test_tags_and_ignored_columns_are_not_counted_but_cut():
    overrides = {"channel": "tag", "x2": "ignore"}
    built = build(TABLE, model="m", version="1", cuts=[["channel"]], task="classification", columns=overrides)
    names = [c.name for c in built.layout.columns]
    assert names == ["prediction", "confidence", "x1", "text.length", "text.unseen_words", "joint"]
    assert built.layout.segments == ("all", "channel=app", "channel=web", "channel=other")
