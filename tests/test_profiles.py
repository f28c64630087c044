from functools import reduce
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from streams import predictions

from monitors.baselines import Baseline, build
from monitors.errors import BadColumn, BaselineMismatch, EmptyBaseline
from monitors.labelled import fold_labelled
from monitors.profiles import add, fold

TABLE = predictions(900, missing=0.05)
CUTS = [["prediction"], ["channel"], ["prediction", "channel"], ["group"]]
BASELINE = build(TABLE, model="m", version="1", cuts=CUTS, task="classification")
LAYOUT = BASELINE.layout


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 900), max_size=6), st.randoms(use_true_random=False))
def test_any_split_order_and_merge_gives_the_same_counts(cuts, random):
    bounds = [0, *sorted(cuts), 900]
    parts = [TABLE.slice(a, b - a) for a, b in pairwise(bounds)]
    random.shuffle(parts)
    for counting in (fold, fold_labelled):
        whole = counting(LAYOUT, TABLE, 3600)
        merged = reduce(add, (counting(LAYOUT, part, 3600) for part in parts), {})
        assert whole.keys() == merged.keys()
        for start, counts in whole.items():
            np.testing.assert_allclose(merged[start], counts, rtol=1e-9, atol=1e-9)


def test_every_row_is_in_one_bin_or_missing_or_of_wrong_type_in_every_segment():
    total = sum(fold(LAYOUT, TABLE, 3600).values())
    for c, column in enumerate(LAYOUT.columns):
        extra = LAYOUT.column_extra(total, c)
        placed = LAYOUT.column_bins(total, c).sum(axis=1) + extra[:, 0] + extra[:, 3]
        np.testing.assert_array_equal(placed, total[:, 0], err_msg=column.name)


def test_each_cut_partitions_the_rows():
    total = sum(fold(LAYOUT, TABLE, 3600).values())
    for cut in LAYOUT.cuts:
        assert total[cut.first : cut.other + 1, 0].sum() == total[0, 0] == 900


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
    assert names == ["prediction", "confidence", "x1", "text.length", "text.unseen_words"]
    assert built.layout.segments == ("all", "channel=app", "channel=web", "channel=other")
