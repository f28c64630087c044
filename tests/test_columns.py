import json
import os
from datetime import UTC, datetime, timedelta, timezone
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from streams import START

from monitors.baseline.baselines import build
from monitors.columns.column import from_plain, to_plain
from monitors.columns.inference import infer
from monitors.columns.kinds import infer_kind
from monitors.columns.numeric import numbers
from monitors.columns.texts import split
from monitors.columns.times import read_times
from monitors.columns.topics import NONE, learn_topics
from monitors.columns.values import LONGEST_BYTES, text_of
from monitors.counting.profiles import add, fold
from monitors.errors import BadColumn

STREAMS = Path(os.environ.get("TIDEGATE_STREAMS", Path(__file__).parents[2] / "shared" / "data"))
SUBJECTS = ["shoe", "parcel", "refund", "garden"]
D = 16


def text_about(rng: np.random.Generator, subject: str) -> str:
    return " ".join([*(f"{subject}{n}" for n in rng.integers(0, 15, 4)), "please"])


def vectors(rng: np.random.Generator, places: np.ndarray) -> pa.Array:
    """Vectors around four places, as lists."""
    flat = np.random.default_rng(99).normal(size=(4, D))[places] * 3 + rng.normal(size=(len(places), D))
    return pa.FixedSizeListArray.from_arrays(pa.array(flat.ravel().astype(np.float32)), D).cast(pa.list_(pa.float32()))


def all_kinds(rows: int = 600, seed: int = 0, subjects=(0.25, 0.25, 0.25, 0.25), step: int = 3600) -> pa.Table:
    """A column of every kind; subjects and places of the vectors follow the shares given."""
    rng = np.random.default_rng(seed)
    about = rng.choice(4, rows, p=subjects)
    moments = pa.array((START + np.arange(rows) * step) * 1_000_000, pa.timestamp("us", "UTC"))
    score = rng.uniform(size=rows)
    return pa.table(
        {
            "prediction_id": [f"{seed}-{i}" for i in range(rows)],
            "timestamp": moments,
            "prediction": np.where(score > 0.3, "yes", "no").tolist(),
            "confidence": np.maximum(score, 1 - score),
            "score_no": 1 - score,
            "score_yes": score,
            "feature_price": rng.lognormal(size=rows),
            "feature_code": pa.array(rng.integers(0, 5, rows)),
            "feature_shop": rng.choice(["web", "app"], rows).tolist(),
            "feature_member": pa.array(rng.random(rows) > 0.5),
            "feature_ordered": moments,
            "feature_due": [f"{2026 + i % 2}-01-0{1 + i % 7}T{i % 24:02d}:00:00Z" for i in range(rows)],
            "feature_text": [text_about(rng, SUBJECTS[k]) for k in about],
            "feature_vector": vectors(rng, about),
            "feature_empty": pa.nulls(rows),
        }
    )


TABLE = all_kinds()
BASELINE = build(TABLE, model="m", version="1", cuts=[["shop"]], task="classification")
LAYOUT = BASELINE.layout
NAMES = [column.name for column in LAYOUT.columns]
COLUMNS = infer(TABLE, {}, "classification")


def counted(table: pa.Table) -> np.ndarray:
    return sum(fold(LAYOUT, table, 3600).values())


def shares(table: pa.Table, name: str) -> dict[str, float]:
    """Share of each category of a column, of the rows of a batch."""
    place = NAMES.index(name)
    bins = LAYOUT.column_bins(counted(table), place)[0]
    return dict(zip(LAYOUT.columns[place].categories, bins / bins.sum(), strict=False))


def extra(table: pa.Table, name: str) -> np.ndarray:
    return LAYOUT.column_extra(counted(table), NAMES.index(name))[0]


def replaced(name: str, values) -> pa.Table:
    place = TABLE.column_names.index(f"feature_{name}")
    return TABLE.set_column(place, f"feature_{name}", values)


def of(values, kind: str = "", task: str = "classification", rows: int = 300) -> list:
    """What is inferred of one feature `x`."""
    table = pa.table({"prediction": ["a"] * rows, "feature_x": values})
    return [c for c in infer(table, {"x": kind} if kind else {}, task) if c.source == "feature_x"]


def missing_of(cells) -> list[bool]:
    return (cells.codes == 3 * cells.size).tolist()


def wrong_of(cells) -> list[bool]:
    return (cells.codes == 3 * cells.size + 1).tolist()


def unseen_of(cells) -> list[bool]:
    return ((cells.codes >= 2 * cells.size) & cells.counted).tolist()


def test_columns_of_every_kind_are_counted():
    expected = [
        *("prediction", "confidence", "score.no", "price", "code", "shop", "member"),
        *("ordered.hour", "ordered.weekday", "due.hour", "due.weekday"),
        *("text.length", "text.unseen_words", "text.topic"),
        *("vector.projection_1", "vector.projection_2", "vector.projection_3", "vector.distance", "vector.cluster"),
    ]
    assert [column.name for column in COLUMNS] == NAMES[: len(expected)] == expected


@settings(max_examples=15, deadline=None)
@given(st.lists(st.integers(0, 600), max_size=4))
def test_any_split_gives_the_same_counts_for_every_kind(cuts):
    whole = fold(LAYOUT, TABLE, 86_400)
    merged: dict[int, np.ndarray] = {}
    for a, b in pairwise([0, *sorted(cuts), 600]):
        add(merged, fold(LAYOUT, TABLE.slice(a, b - a), 86_400))
    for start, counts in whole.items():
        np.testing.assert_allclose(merged[start], counts, rtol=1e-6)


GARBAGE = [
    pa.nulls(600),
    pa.array(["oops"] * 599 + [None]),
    pa.array([1.5] * 599 + [float("inf")]),
    pa.array([True] * 600),
    pa.array([2**62 + 1] * 600),
    pa.array([[1.0, None]] * 599 + [None]),
    pa.array([[float("nan")] * D] * 600, pa.list_(pa.float64())),
    pa.array([["a"], []] * 300),
    pa.array([{"a": 1}] * 600),
    pa.array([b"\xff"] * 600),
    pa.array([datetime(2026, 1, 1, tzinfo=UTC)] * 600),
    pa.array(["x" * 100_000] * 600).dictionary_encode(),
]


@pytest.mark.parametrize("values", GARBAGE, ids=lambda values: str(values.type))
def test_whatever_comes_every_row_is_counted_or_missing_or_of_wrong_type(values):
    for name in [name for name in TABLE.column_names if name.startswith("feature_")]:
        table = replaced(name.removeprefix("feature_"), values)
        for column in [column for column in COLUMNS if column.source == name]:
            cells = column.cells(table)
            is_null = np.asarray(values.is_null().to_numpy(zero_copy_only=False))
            assert np.asarray(missing_of(cells))[is_null].all()
            assert cells.codes.max() < 3 * cells.size + 2
            assert cells.size == column.bins
            assert np.isfinite(cells.values).all()
        assert counted(table)[0, 0] == 600


@pytest.mark.parametrize("values", GARBAGE[5:9], ids=lambda values: str(values.type))
def test_lists_and_objects_are_of_the_wrong_type_wherever_they_do_not_belong(values):
    for name in ("price", "shop", "ordered", "text", "vector"):
        column = next(column for column in COLUMNS if column.source == f"feature_{name}")
        cells = column.cells(replaced(name, values))
        assert wrong_of(cells) == [not m for m in missing_of(cells)]
        assert any(wrong_of(cells))


def test_columns_survive_json_and_what_they_share_is_written_once():
    plain = to_plain(COLUMNS)
    assert sum("learnt" in column for column in plain) == 2
    again = from_plain(json.loads(json.dumps(plain)))
    for one, other in zip(COLUMNS, again, strict=True):
        np.testing.assert_array_equal(one.cells(TABLE).codes, other.cells(TABLE).codes)
    assert build(TABLE, model="m", version="1", cuts=[["shop"]], task="classification").fingerprint == (
        BASELINE.fingerprint
    )


def test_a_batch_is_read_once_for_all_columns_of_a_source():
    read: dict = {}
    for column in COLUMNS:
        again, alone = column.cells(TABLE, read), column.cells(TABLE)
        np.testing.assert_array_equal(again.codes, alone.codes)
    assert sorted(read) == ["feature_due", "feature_ordered", "feature_text", "feature_vector"]


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (pa.array([1, 2]), "number"),
        (pa.array([True, False]), "category"),
        (pa.array(["a", "b"]), "category"),
        (pa.array(["a", "b"]).dictionary_encode(), "category"),
        (pa.array([f"where is order {n}" for n in range(50)]), "text"),
        (pa.array(["2026-01-01", "2026-01-02T10:00:00.123+01:00", None]), "time"),
        (pa.array([datetime(2026, 1, 1, tzinfo=UTC)]), "time"),
        (pa.array([[0.5, 1.5]]), "embedding"),
        (pa.array([[1, 2]], pa.list_(pa.int64(), 2)), "embedding"),
    ],
)
def test_kinds_are_inferred(values, kind):
    assert infer_kind(pa.chunked_array([values])) == kind


BAD = {
    "an all-null column that is said to be a number": (pa.nulls(300), "number", "holds no value in 300 rows"),
    "a text said to be a number": (pa.array(["hello there"] * 300), "number", "300 of 300 .* like 'hello there'"),
    "a number said to be a time": (pa.array([1.5] * 300), "time", "said to be a time"),
    "a number said to be an embedding": (pa.array([1.5] * 300), "embedding", "takes lists of numbers"),
    "an embedding of mixed lengths": (pa.array([[1.0], [1.0, 2.0]] * 150), "embedding", "one length"),
    "lists of mixed lengths": (pa.array([[1.0], [1.0, 2.0]] * 150), "", "set it to ignore"),
    "an embedding that is too long": (pa.array([[0.5] * 5000] * 300), "", "4096 allowed"),
    "an embedding said to be a category": (pa.array([[1.0]] * 300), "category", "lists to embedding"),
    "an object": (pa.array([{"a": 1}] * 300), "", "set it to ignore"),
    "a kind that is none": (pa.array([1.5] * 300), "sound", "allowed: number"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_column_that_cannot_be_counted_is_named_with_what_to_do(case):
    values, kind, said = BAD[case]
    with pytest.raises(BadColumn, match=f"column 'x'.*{said}"):
        of(values, kind)
    assert of(values, "ignore") == []


def test_a_few_values_of_another_kind_do_not_hinder_a_baseline():
    (column,) = of(pa.array([str(n) for n in range(299)] + ["n/a"]), "number")
    assert len(column.edges) == 9
    several = of(pa.array([[1.0, 2.0]] * 298 + [[1.0], None]), "embedding")
    assert {c.name for c in several} >= {"x.distance", "x.cluster"}


def test_values_are_what_they_say_they_are_in_any_type():
    table = pa.table({"a": pa.array(["1.5", " 2 ", "1e400", "nan", "three", None])})
    values, missing, wrong = numbers(table, "a")
    assert values[:3].tolist() == [1.5, 2.0, np.inf]
    assert missing.tolist() == [False, False, False, True, False, True]
    assert wrong.tolist() == [False, False, False, False, True, False]
    assert numbers(pa.table({"a": [1e300, -1e300]}), "a")[0].tolist() == [np.float32(3.4e38), np.float32(-3.4e38)]


def test_codes_are_numbers_unless_the_policy_says_category():
    codes = pa.array([10, 20, 30] * 100)
    assert [c.kind for c in of(codes)] == ["number"]
    (column,) = of(codes, "category")
    assert column.categories == ("10", "20", "30")
    assert unseen_of(column.cells(pa.table({"feature_x": [20.0, 99.0]}))) == [False, True]


def test_a_category_of_ten_megabytes_costs_a_baseline_nothing():
    long = ["x" * 10_000_000, "x" * 10_000_000 + "y", "short"]
    (column,) = of(pa.DictionaryArray.from_arrays(pa.array([0, 1, 2] * 100), pa.array(long)))
    assert max(len(value.encode()) for value in column.categories) <= LONGEST_BYTES
    cells = column.cells(pa.table({"feature_x": [*long, "x" * 10_000_000 + "z"]}))
    assert len(set(cells.bins.tolist())) == 4
    assert unseen_of(cells) == [False, False, False, True]


@given(st.text(max_size=600), st.text(max_size=600))
def test_two_values_are_the_same_category_only_if_they_are_equal(one, other):
    found = text_of(pa.table({"a": [one, other]}), "a").to_pylist()
    assert (found[0] == found[1]) == (one == other)


def test_of_thousands_of_values_a_baseline_knows_how_many_new_ones_to_expect():
    def rare(seed: int) -> pa.Table:
        rng = np.random.default_rng(seed)
        values = [f"v{v}" for v in rng.zipf(1.5, 4000)]
        moments = pa.array((START + np.arange(4000)) * 1_000_000, pa.timestamp("us", "UTC"))
        return pa.table({"timestamp": moments, "prediction": ["a"] * 4000, "feature_x": values})

    built = build(rare(1), model="m", version="1", cuts=[], task="classification")
    expected = built.layout.column_extra(built.counts, 1)[0, 1] / 4000
    seen = built.layout.column_extra(sum(fold(built.layout, rare(2), 3600).values()), 1)[0, 1] / 4000
    assert expected > 0.05
    assert seen == pytest.approx(expected, abs=0.02)


ZONES = [UTC, timezone(timedelta(hours=5, minutes=30)), timezone(timedelta(hours=-9))]
MOMENTS = st.builds(
    datetime.fromtimestamp,
    st.floats(-8e9, 8e9).map(lambda second: round(second, 6)),
    st.sampled_from(ZONES),
)


@given(st.lists(MOMENTS, min_size=1, max_size=5), st.booleans())
def test_times_are_read_with_fractions_and_offsets(moments, broken):
    texts = [m.isoformat() for m in moments] + ["soon"] * broken
    found = read_times(pa.chunked_array([texts]))
    utc = [m.astimezone(UTC) for m in moments]
    assert found.numbers["hour"].tolist() == [m.hour for m in utc] + [0] * broken
    assert found.codes["weekday"][: len(utc)].tolist() == [m.weekday() for m in utc]
    assert found.wrong_type.tolist() == [False] * len(utc) + [True] * broken


def test_the_weekday_is_counted_once_the_baseline_has_seen_two_weeks():
    short = all_kinds(step=60)
    assert "ordered.weekday" not in [c.name for c in infer(short, {}, "classification")]
    assert sum(shares(TABLE, "ordered.weekday").values()) == pytest.approx(1)


def test_words_are_split_in_any_script():
    found = split(pa.array(["Don't PANIC", "Größe  42!", "", "返品したい", "नमस्ते दुनिया", "…"]))
    words = [found.words.to_pylist()[a:b] for a, b in pairwise(found.offsets.tolist())]
    assert words == [
        ["don", "t", "panic"],
        ["größe", "42"],
        [],
        ["返", "品", "し", "た", "い"],
        ["नमस्ते", "दुनिया"],
        [],
    ]


def test_a_shift_of_subjects_shows_in_topics_and_clusters_and_nowhere_else():
    quiet, moved = all_kinds(seed=1), all_kinds(seed=1, subjects=(0.7, 0.1, 0.1, 0.1))
    for name in ("text.topic", "vector.cluster"):
        usual = shares(TABLE, name)
        assert all(abs(share - usual[v]) < 0.1 for v, share in shares(quiet, name).items())
        assert max(abs(share - usual[v]) for v, share in shares(moved, name).items()) > 0.15
    assert extra(moved, "text.unseen_words")[4] < 10


def test_texts_of_new_words_are_about_nothing_known():
    lost = replaced("text", pa.array(["quixotic zephyr"] * 300 + [" "] * 200 + [None] * 100))
    assert shares(lost, "text.topic")[NONE] == 1
    unseen = extra(lost, "text.unseen_words")
    assert unseen[0] == 300  # missing
    assert unseen[4] == 300  # the sum of shares: every word of every text


def test_vectors_far_from_the_baseline_are_far_and_broken_ones_are_of_wrong_type():
    far = replaced("vector", pa.array([[50.0] * D] * 600, pa.list_(pa.float32())))
    place = NAMES.index("vector.distance")
    bins = LAYOUT.column_bins(counted(far), place)[0]
    assert bins[-1] == 600
    broken = [[1.0] * (D - 1)] * 100 + [[float("nan")] * D] * 100 + [None] * 100 + [[0.0] * D] * 300
    found = extra(replaced("vector", pa.array(broken, pa.list_(pa.float32()))), "vector.cluster")
    assert found[0] == 100
    assert found[3] == 200


@pytest.mark.parametrize("length", [64, 700])
def test_new_vectors_and_texts_look_like_the_baseline_learned_from_few(length):
    """What is fitted too closely sees drift in every new row."""
    rng = np.random.default_rng(3)
    flat = rng.normal(size=(2500, length)) @ rng.normal(size=(length, length))
    lists = pa.array(flat.tolist(), pa.list_(pa.float32()))
    texts = [" ".join(f"w{w}" for w in rng.zipf(1.3, 12) if w < 10_000) + " w1" for _ in range(2500)]
    moments = pa.array((START + np.arange(2500)) * 1_000_000, pa.timestamp("us", "UTC"))
    table = pa.table({"timestamp": moments, "prediction": ["a"] * 2500, "feature_e": lists, "feature_t": texts})
    columns = {"e": "embedding", "t": "text"}
    built = build(table.slice(0, 500), model="m", version="1", cuts=[], task="classification", columns=columns)
    fresh = sum(fold(built.layout, table.slice(500), 3600).values())
    names = [column.name for column in built.layout.columns]
    assert {"e.projection_1", "e.distance", "e.cluster", "t.unseen_words"} < set(names)
    for place, name in enumerate(names):
        before, now = (built.layout.column_bins(counts, place)[0] + 0.5 for counts in (built.counts, fresh))
        p, q = before / before.sum(), now / now.sum()
        from_chance = (len(p) - 1) * (1 / 500 + 1 / 2000)
        assert ((q - p) * np.log(q / p)).sum() < from_chance + 0.06, name


def test_constant_vectors_and_a_single_one_make_a_baseline():
    for rows in (1, 300):
        columns = of(pa.array([[1.0] * 8] * rows), rows=rows)
        table = pa.table({"feature_x": [[1.0] * 8, [2.0] * 8]})
        assert all(np.isfinite(c.cells(table).values).all() for c in columns)


def test_scores_are_counted_of_the_most_frequent_classes_and_not_read_out_of_fold():
    classes = [f"c{n:02d}" for n in range(12)]
    rng = np.random.default_rng(0)
    prediction = [*np.repeat(classes, 20), *classes[2:]]
    scored = {f"score_{c}": rng.uniform(size=len(prediction)) for c in classes}
    rows = pa.table({"timestamp": TABLE["timestamp"][: len(prediction)], "prediction": prediction, **scored})
    built = build(rows, model="m", version="1", cuts=[], task="classification", out_of_fold=True)
    names = [c.name for c in built.layout.columns]
    assert names == ["prediction", *(f"score.{c}" for c in classes[2:])]
    assert built.unread == tuple(names[1:])


def test_topics_of_clinc150_see_what_is_asked_for_and_stay_quiet_otherwise():
    file = STREAMS / "clinc150_stream.parquet"
    if not file.exists():
        pytest.skip(f"{file.name} is not beside the project (TIDEGATE_STREAMS names its folder)")
    texts = pq.read_table(file, columns=["text"]).column("text")
    learnt = learn_topics(texts[:4000])
    found = learnt.read(texts)
    codes, bins = found.codes["topic"], len(learnt.categories)

    def change(first: int, last: int) -> float:
        """Chi-square of these rows against the 4,000 learned from, over its expectation."""
        rows = np.arange(first, last)[~found.missing[first:last]]
        both = np.stack([np.bincount(codes[part], minlength=bins) for part in (rows, np.arange(4000))])
        both = both[:, both.sum(axis=0) > 0]
        expected = both.sum(axis=1, keepdims=True) * both.sum(axis=0) / both.sum()
        return float(((both - expected) ** 2 / expected).sum() / (both.shape[1] - 1))

    assert max(change(4000, 6000), change(8000, 9500)) < 2.5
    assert change(6000, 8000) > 5  # one domain has 2.5 times its share
    assert change(9500, 12_000) > 5  # new intents
