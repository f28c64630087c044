import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from monitors.counting.layouts import from_plain, learn_layout, to_plain
from monitors.counting.segments import MISSING, OTHER, Cut, assign, find_cut, parents, value_tuples

words = st.text(max_size=4) | st.sampled_from(["other", "missing", "a,b", "a=b", '"', "a", "b", "all", "x" * 5_000])
rows = st.lists(st.tuples(words | st.none(), words | st.none()), min_size=1, max_size=30)
HUGE = "ü" * 5_000_000


def table_of(pairs: list[tuple[str | None, str | None]]) -> pa.Table:
    columns = [pa.array([pair[i] for pair in pairs], pa.string()) for i in (0, 1)]
    return pa.table({"tag_x": columns[0], "tag_y": columns[1]})


def cut_of(table: pa.Table, *names: str, most: int = 50) -> Cut:
    return find_cut(table, names, [f"tag_{name}" for name in names], 1, most)


@settings(deadline=None)
@given(rows, st.integers(1, 5))
def test_no_two_segments_have_the_same_name(pairs, most):
    table = table_of(pairs)
    for names in (["x"], ["x", "y"]):
        said = cut_of(table, *names, most=most).segment_names()
        assert len(set(said)) == len(said) <= most + 1
        assert max(map(len, said)) < 1_500
        assert not any(character < " " for name in said for character in name)


@settings(deadline=None)
@given(rows, rows, st.integers(1, 5))
def test_a_row_is_in_the_segment_of_its_values_or_in_the_tail(pairs, later, most):
    cut = cut_of(table_of(pairs), "x", "y", most=most)
    table = table_of([*pairs, *later])
    tuples, places = value_tuples(table, cut.sources)
    index = {value: cut.first + i for i, value in enumerate(cut.values)}
    expected = [index.get(tuples[place], cut.other) for place in places]
    np.testing.assert_array_equal(assign(table, cut), expected)


@settings(deadline=None)
@given(rows)
def test_value_tuples_are_the_distinct_ones_of_the_rows(pairs):
    table = table_of([(x and x[:40], y and y[:40]) for x, y in pairs])
    tuples, places = value_tuples(table, ["tag_x", "tag_y"])
    said = [tuple(MISSING if v is None else v for v in row.values()) for row in table.to_pylist()]
    assert len(set(tuples)) == len(tuples)
    assert [tuples[place] for place in places] == said


def test_names_are_plain_where_they_can_be_and_quoted_where_they_would_read_as_another():
    values = ["web", "two words", "a,b", "c=d", OTHER, 'say "hi"', "", "é/ü", "line\nbreak"]
    cut = Cut(("channel",), ("tag_channel",), tuple((value,) for value in values), 1)
    assert cut.segment_names() == [
        "channel=web",
        "channel=two words",
        'channel="a,b"',
        'channel="c=d"',
        'channel="other"',
        r'channel="say \"hi\""',
        'channel=""',
        "channel=é/ü",
        r'channel="line\nbreak"',
        "channel=other",
    ]


def test_the_largest_values_are_named_and_the_tail_is_one_segment():
    table = table_of([(name, None) for name in "aaabbc"])
    cut = cut_of(table, "x", most=2)
    assert cut.segment_names() == ["x=a", "x=b", "x=other"]
    assert assign(table, cut).tolist() == [1, 1, 1, 2, 2, 3]
    layout = learn_layout(
        table.append_column("prediction", pa.array(list("ababab"))),
        cuts=[["x"], ["x", "prediction"]],
        columns={},
        target="prediction",
        task="classification",
        most_segments=2,
    )
    assert len(layout.segments) == 1 + 3 + 3


def test_a_column_that_is_null_or_not_sent_is_one_segment():
    table = pa.table({"tag_x": pa.nulls(3), "tag_y": pa.nulls(3, pa.string())})
    for name in "xyz":
        cut = cut_of(table, name)
        assert cut.segment_names() == [f"{name}=missing", f"{name}=other"]
        assert assign(table, cut).tolist() == [1, 1, 1]


def test_values_of_ten_megabytes_have_short_names_and_stay_apart():
    table = table_of([(HUGE + "1", "a"), (HUGE + "2", "a"), (HUGE + "1", None)])
    cut = cut_of(table, "x")
    assert assign(table, cut).tolist() in ([1, 2, 1], [2, 1, 2])
    assert max(map(len, cut.segment_names())) < 300
    plain = to_plain(
        learn_layout(
            table.append_column("prediction", pa.array(list("aba"))),
            cuts=[["x"]],
            columns={},
            target="prediction",
            task="classification",
        )
    )
    assert assign(table, from_plain(plain).cuts[0]).tolist() == assign(table, cut).tolist()


def test_a_parent_has_one_condition_less_in_whatever_order():
    a = Cut(("x",), ("tag_x",), (("1",), ("2",)), 1)
    b = Cut(("y", "x"), ("tag_y", "tag_x"), (("u", "1"), ("u", "3")), 4)
    c = Cut(("x", "y", "z"), ("tag_x", "tag_y", "tag_z"), (("1", "u", "0"), ("9", "u", "0")), 7)
    assert parents([a, b, c]).tolist() == [-1, 0, 0, 0, 1, 0, 0, 4, 0, 0]
    assert parents([]).tolist() == [-1]
