import json
from datetime import UTC, datetime

import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from service.errors import MalformedBody, TooManyRows
from service.intake.bodies import checks, wire
from service.intake.bodies.limits import Limits

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
GOOD = {
    "prediction_id": "b7",
    "timestamp": "2026-11-22T10:00:00Z",
    "model_version": "7",
    "prediction": "returns",
    "scores": {"fit": 0.1, "returns": 0.8, "shipping": 0.1},
    "features": {"text": "where do I send these back?", "order_value": 89.9, "channel": "web", "is_new": True},
    "tags": {"market": "DE"},
}
FLAT = {
    "prediction_id": "b7",
    "timestamp": datetime(2026, 11, 22, 10, tzinfo=UTC),
    "model_version": "7",
    "prediction": "returns",
    "confidence": 0.8,
    "score_fit": 0.1,
    "score_returns": 0.8,
    "score_shipping": 0.1,
    "feature_text": "where do I send these back?",
    "feature_order_value": 89.9,
    "feature_channel": "web",
    "feature_is_new": True,
    "tag_market": "DE",
}


def read(rows, task="classification", form="json", now=NOW) -> wire.Batch:
    text = json.dumps(rows) if form == "json" else "\n".join(json.dumps(row) for row in rows)
    return wire.predictions(text.encode(), form, task, now)


def row_text(**fields) -> dict:
    return {**GOOD, **fields}


@pytest.mark.parametrize("form", ["json", "ndjson"])
def test_a_prediction_becomes_flat_columns(form):
    batch = read([GOOD], form=form)
    assert batch.table.to_pylist() == [FLAT]
    assert batch.table.schema.field("timestamp").type == pa.timestamp("us", "UTC")
    assert not batch.rejected


def test_the_smallest_prediction_is_enough():
    batch = read([{"prediction_id": "1", "prediction": "a"}])
    expected = {"prediction_id": "1", "timestamp": NOW, "model_version": None, "prediction": "a", "confidence": None}
    assert batch.table.to_pylist() == [expected]


BAD = {
    "no id": ({"prediction_id": None}, "prediction_id", "missing"),
    "an empty id": ({"prediction_id": ""}, "prediction_id", "missing"),
    "an id that is a list": ({"prediction_id": [1]}, "prediction_id", "wrong_type"),
    "an id of a kilobyte": ({"prediction_id": "x" * 1024}, "prediction_id", "too_long"),
    "no prediction": ({"prediction": None}, "prediction", "missing"),
    "a prediction that is an object": ({"prediction": {"a": 1}}, "prediction", "nested"),
    "a time that is none": ({"timestamp": "yesterday"}, "timestamp", "timestamp"),
    "a time that is a number": ({"timestamp": 1700000000}, "timestamp", "timestamp"),
    "a time before 1970": ({"timestamp": "1969-12-31T23:59:59Z"}, "timestamp", "timestamp"),
    "a time of next week": ({"timestamp": "2026-11-29T10:00:00Z"}, "timestamp", "timestamp"),
    "a month that is none": ({"timestamp": "2026-13-01T00:00:00Z"}, "timestamp", "timestamp"),
    "a version with a slash": ({"model_version": "../7"}, "model_version", "name"),
    "a version that is an object": ({"model_version": {}}, "model_version", "wrong_type"),
    "a nested feature": ({"features": {"a": {"b": 1}}}, "features.a", "nested"),
    "a list as tag": ({"tags": {"a": [1, 2]}}, "tags.a", "nested"),
    "a list of lists": ({"features": {"a": [[1]]}}, "features.a", "nested"),
    "a list of numbers and text": ({"features": {"a": [1, "x"]}}, "features.a", "nested"),
    "a list with a gap": ({"features": {"a": [1, None]}}, "features.a", "nested"),
    "a list of truth values": ({"features": {"a": [True, False]}}, "features.a", "nested"),
    "an empty list": ({"features": {"a": []}}, "features.a", "missing"),
    "a list of 5,000 numbers": ({"features": {"a": [0.5] * 5000}}, "features.a", "too_long"),
    "a list beyond 32-bit floats": ({"features": {"a": [1e39]}}, "features.a", "number_range"),
    "features that are a list": ({"features": [1]}, "features", "wrong_type"),
    "tags that are text": ({"tags": "DE"}, "tags", "wrong_type"),
    "a feature without a name": ({"features": {"": 1}}, "features.", "name"),
    "a feature with a line end in its name": ({"features": {"a\nb": 1}}, "features.a\nb", "name"),
    "a very long name": ({"features": {"n" * 200: 1}}, "features." + "n" * 128, "name"),
    "NUL in a feature": ({"features": {"a": "x\0y"}}, "features.a", "text"),
    "NUL in an id": ({"prediction_id": "x\0y"}, "prediction_id", "text"),
    "a text of 65 kB": ({"features": {"a": "x" * 66_000}}, "features.a", "too_long"),
    "an integer beyond 64 bits": ({"features": {"a": 2**64}}, "features.a", "number_range"),
    "a negative integer beyond 64 bits": ({"features": {"a": -(2**63) - 1}}, "features.a", "number_range"),
    "a score that is text": ({"scores": {"fit": "high"}}, "scores.fit", "wrong_type"),
    "a confidence of 2": ({"scores": None, "confidence": 2}, "confidence", "number_range"),
    "too many columns": ({"features": {f"f{n}": 1 for n in range(3000)}}, "features", "too_many_columns"),
    "names that differ in case only": ({"features": {"Text": "a", "text": "b"}}, "features.text", "name"),
}


@pytest.mark.parametrize("what", BAD)
@pytest.mark.parametrize("place", [0, 30])
def test_a_bad_row_is_named_and_the_others_are_taken(what, place):
    fields, field, reason = BAD[what]
    rows = [row_text(prediction_id=f"good{n}") for n in range(40)]
    rows.insert(place, row_text(**fields))
    if what == "names that differ in case only":
        rows = [{**row, "features": row["features"] if n == place else {}} for n, row in enumerate(rows)]
    batch = read(rows)
    assert [(each.row, each.field, each.reason) for each in batch.rejected] == [(place, field, reason)]
    assert batch.rejected[0].problem
    assert batch.table.column("prediction_id").to_pylist() == [f"good{n}" for n in range(40)]


def test_every_reason_is_listed():
    assert {reason for _, _, reason in BAD.values()} | {"malformed", "uncountable"} == set(checks.REASONS)


@pytest.mark.parametrize("word", ["NaN", "Infinity", "-Infinity"])
def test_numbers_that_json_does_not_have_are_refused_with_advice(word):
    line = f'{{"prediction_id": "1", "prediction": "a", "features": {{"x": {word}}}}}'.encode()
    good = b'{"prediction_id": "2", "prediction": "a"}'
    for body, form in ((b"[" + line + b" , " + good + b"]", "json"), (line + b"\n" + good, "ndjson")):
        batch = wire.predictions(body, form, "classification", NOW)
        assert batch.table.column("prediction_id").to_pylist() == ["2"]
        assert f"{word} at byte" in batch.rejected[0].problem
        assert "send null" in batch.rejected[0].problem


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"12",
        b'[{"prediction_id": "1"',
        b"[" * 100_000,
        b'[{"features": ' + b"[" * 100_000 + b"]" * 100_000 + b"}]",
        b'\xff\xfe["a"]',
    ],
)
def test_a_body_that_is_no_array_of_rows_is_malformed(body):
    with pytest.raises(MalformedBody):
        wire.predictions(body, "json", "classification", NOW)


@pytest.mark.parametrize("value", [b"1e999", b"-1e999", b'"\xff"', b"[" * 500 + b"]" * 500])
def test_what_cannot_be_read_costs_its_own_row_only(value):
    good = b'{"prediction_id": "2", "prediction": "a"}'
    bad = b'{"prediction_id": "1", "prediction": "a", "features": {"x": ' + value + b"}}"
    for body, form in ((good + b"\n\n" + bad, "ndjson"), (b"[" + good + b"," + bad + b"]", "json")):
        batch = wire.predictions(body, form, "classification", NOW)
        assert batch.table.num_rows == 1
        assert [each.row for each in batch.rejected] == [1]


def test_half_a_surrogate_costs_its_line():
    body = b'{"prediction_id": "\\ud800x", "prediction": "a"}\n{"prediction_id": "2", "prediction": "a"}'
    assert wire.predictions(body, "ndjson", "classification", NOW).table.num_rows == 1


def test_rows_that_are_no_objects_are_rejected():
    batch = wire.predictions(b'[1, null, "a", []]', "json", "classification", NOW)
    assert [each.reason for each in batch.rejected] == ["wrong_type"] * 4
    assert batch.table.num_rows == 0


def test_more_rows_than_allowed_are_refused_whole():
    with pytest.raises(TooManyRows, match="TIDEGATE_MAX_BATCH_ROWS"):
        wire.predictions(json.dumps([GOOD] * 4).encode(), "json", "classification", NOW, Limits(rows=3))


def test_times_are_read_in_their_zone_and_are_utc_without_one():
    times = ["2026-11-22T10:00:00", "2026-11-22T10:00:00+05:30", "2026-11-22T10:00:00.5Z"]
    for rows in ([row_text(timestamp=each) for each in times], [row_text(timestamp=each) for each in times] + [1]):
        read_back = read(rows).table.column("timestamp").to_pylist()
        assert [each.isoformat() for each in read_back] == [
            "2026-11-22T10:00:00+00:00",
            "2026-11-22T04:30:00+00:00",
            "2026-11-22T10:00:00.500000+00:00",
        ]


@pytest.mark.parametrize(("value", "text"), [(True, "true"), (1, "1"), (0.5, "0.5"), ("x", "x")])
def test_a_classification_predicts_text(value, text):
    assert read([row_text(prediction=value)]).table.column("prediction").to_pylist() == [text]


def test_a_regression_predicts_numbers():
    batch = read([row_text(prediction=each) for each in (1, 2.5, "3", True)], task="regression")
    assert batch.table.column("prediction").to_pylist() == [1.0, 2.5]
    assert [each.row for each in batch.rejected] == [2, 3]


def test_a_column_of_numbers_and_text_becomes_text():
    values = [1, 2.5, "three", None, True]
    table = read([row_text(features={"x": each}) for each in values]).table
    assert table.column("feature_x").to_pylist() == ["1", "2.5", "three", None, "true"]


def test_a_column_without_any_value_is_a_column_of_numbers():
    assert read([row_text(features={"x": None})]).table.schema.field("feature_x").type == pa.float64()


def test_beyond_64_classes_only_the_confidence_is_kept():
    scores = {f"c{n}": 0.001 for n in range(70)} | {"best": 0.9}
    table = read([row_text(scores=scores)]).table
    assert table.column("confidence").to_pylist() == [0.9]
    assert not [name for name in table.column_names if name.startswith("score_")]


def test_scores_that_are_no_probabilities_give_no_confidence():
    for rows in ([row_text(scores={"a": 3.5, "b": -1.0})], [row_text(scores={"a": 3.5, "b": -1.0}), 7]):
        assert read(rows).table.column("confidence").to_pylist() == [None]


def test_names_in_any_script_are_columns():
    assert "feature_größe des 靴" in read([row_text(features={"größe des 靴": 1})]).table.column_names


@pytest.mark.parametrize("rest", [[], [7]])
def test_a_feature_may_be_a_list_of_numbers_of_any_length(rest):
    vectors = [[0.5, 1, -2.25], None, [3]]
    table = read([*(row_text(features={"e": vector}) for vector in vectors), *rest]).table
    assert table.schema.field("feature_e").type == pa.list_(pa.float32())
    assert table.column("feature_e").to_pylist() == vectors


def test_a_list_among_single_values_is_refused_for_its_row_only_and_the_other_way_round():
    for values, problem in (([1, [1.0], 2], "is a list"), ([[1.0], 1, [2.0]], "is a single value")):
        batch = read([row_text(features={"e": value}) for value in values])
        (refused,) = batch.rejected
        assert (refused.row, refused.field, refused.reason) == (1, "features.e", "wrong_type")
        assert problem in refused.problem
        assert batch.table.num_rows == 2


VECTORS = st.lists(
    st.one_of(st.floats(allow_nan=False, allow_infinity=False), st.integers(-(2**70), 2**70), st.booleans(), st.none()),
    max_size=3,
)
VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**70), 2**70), st.floats(allow_nan=False, allow_infinity=False), st.text()
)
ROWS = st.fixed_dictionaries(
    {"prediction_id": st.one_of(st.text(), st.integers(), st.none()), "prediction": VALUES},
    optional={
        "timestamp": st.sampled_from(["2026-11-22T10:00:00", "2026-11-20T10:00:00+01:00", "?", None]),
        "model_version": st.sampled_from(["1", "a/b", None, 3]),
        "confidence": st.one_of(st.floats(-1, 2), st.none()),
        "scores": st.dictionaries(st.sampled_from("ab"), st.floats(-1, 2), max_size=2),
        "features": st.dictionaries(st.sampled_from(["x", "y", "Y", "z"]), st.one_of(VALUES, VECTORS), max_size=3),
        "tags": st.dictionaries(st.sampled_from("tu"), VALUES, max_size=2),
    },
)


@settings(max_examples=200, deadline=None)
@example(
    [{"prediction_id": 0, "prediction": -(2**63) - 1}, {"prediction_id": 0, "prediction": 0.0}],
    "classification",
    "json",
)
@given(
    st.lists(ROWS, min_size=1, max_size=20),
    st.sampled_from(["classification", "regression"]),
    st.sampled_from(["json", "ndjson"]),
)
def test_the_fast_path_gives_what_the_slow_path_gives(rows, task, form):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(wire, "_SMALL_BYTES", 0)
        batch = read(rows, task, form)
        patch.setattr(wire, "_SMALL_BYTES", 1 << 40)
        slow = read(rows, task, form)
    assert batch.table.num_rows + len(batch.rejected) == len(rows)
    batch.table.validate(full=True)
    assert slow.rejected == batch.rejected
    assert slow.table.equals(batch.table)


def wide(number: int, **features) -> dict:
    return row_text(prediction_id=f"p{number}", features={"x": number / 3, **features})


@pytest.mark.parametrize("form", ["json", "ndjson"])
def test_columns_that_begin_late_or_are_rare_stay_on_the_fast_path(form, monkeypatch):
    rows = [
        wide(n, **({f"rare{n}": "text"} if n in (40, 70) else {}), sparse=None if n < 30 else "text") for n in range(99)
    ]
    expected = read(rows, form=form)
    monkeypatch.setattr(wire._Reading, "_one_by_one", None)
    assert read(rows, form=form).table.equals(expected.table)
    assert {"feature_rare40", "feature_rare70", "feature_sparse"} <= set(expected.table.column_names)


def test_bad_rows_are_found_without_a_look_at_all_others(monkeypatch):
    rows = [wide(n) for n in range(200)]
    rows[7]["features"], rows[90]["prediction_id"], rows[150]["timestamp"] = [1], None, "soon"
    monkeypatch.setattr(wire._Reading, "_one_by_one", None)
    batch = read(rows)
    assert [each.row for each in batch.rejected] == [7, 90, 150]
    assert batch.table.num_rows == 197


LINE = b'{"prediction_id":"%d","prediction":"a","features":{"x":%d.5}}'


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (LINE % (1, 1) + b" " + LINE % (2, 2), "malformed"),
        (LINE % (1, 1) + b"," + LINE % (2, 2), "malformed"),
        (b'{"prediction_id":"1","prediction"\n:"a"}', "malformed"),
        (LINE % (1, 1) + b" " + (LINE % (2, 2)).replace(b",", b",\n", 1), "malformed"),
        (b'"text"', "wrong_type"),
    ],
)
@pytest.mark.parametrize("small", [0, 1 << 40])
def test_a_line_is_one_row(line, reason, small, monkeypatch):
    monkeypatch.setattr(wire, "_SMALL_BYTES", small)
    body = b"\n".join([*(LINE % (n, n) for n in range(10, 40)), line, *(LINE % (n, n) for n in range(40, 70))])
    batch = wire.predictions(body, "ndjson", "classification", NOW)
    assert batch.table.num_rows == 60
    assert {each.reason for each in batch.rejected} == {reason}
    assert [each.row for each in batch.rejected] == list(range(30, 31 + line.count(b"\n")))


def test_bodies_of_many_pieces_keep_their_order():
    rows = [wide(n) for n in range(5_000)]
    rows[3_333]["prediction"] = None
    for form in ("json", "ndjson"):
        batch = read(rows, form=form)
        expected = [f"p{n}" for n in range(5_000) if n != 3_333]
        assert batch.table.column("prediction_id").to_pylist() == expected
        assert [each.row for each in batch.rejected] == [3_333]


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=60))
def test_no_body_breaks_the_reader(body):
    for form in ("json", "ndjson"):
        for read_body in (wire.predictions, wire.labels):
            try:
                batch = read_body(body, form, "classification", NOW)
                assert batch.table.num_rows + len(batch.rejected) >= 0
            except MalformedBody:
                pass


@pytest.mark.parametrize("form", ["json", "ndjson"])
def test_labels_are_read_with_their_outcome(form):
    rows = [
        {"prediction_id": "1", "label": "fit", "outcome": {"resolved": True}, "timestamp": "2026-11-22T09:00:00Z"},
        {"prediction_id": 2, "label": True},
        {"prediction_id": "3"},
        {"prediction_id": "4", "label": "a", "outcome": "done"},
        {"prediction_id": "5", "label": "a\0"},
    ]
    text = json.dumps(rows) if form == "json" else "\n".join(json.dumps(row) for row in rows)
    batch = wire.labels(text.encode(), form, "classification", NOW)
    assert batch.table.to_pylist() == [
        {
            "prediction_id": "1",
            "label": "fit",
            "timestamp": datetime(2026, 11, 22, 9, tzinfo=UTC),
            "outcome": '{"resolved":true}',
        },
        {"prediction_id": "2", "label": "true", "timestamp": NOW, "outcome": None},
    ]
    expected = [(2, "label", "missing"), (3, "outcome", "wrong_type"), (4, "label", "text")]
    assert [(each.row, each.field, each.reason) for each in batch.rejected] == expected


def test_labels_of_a_regression_are_numbers():
    body = json.dumps([{"prediction_id": "1", "label": 3}, {"prediction_id": "2", "label": "x"}]).encode()
    batch = wire.labels(body, "json", "regression", NOW)
    assert batch.table.column("label").to_pylist() == [3.0]
    assert [each.row for each in batch.rejected] == [1]
    whole = wire.labels(b'[{"prediction_id": 1, "label": 3}]', "json", "regression", NOW)
    assert whole.table.to_pylist()[0]["label"] == 3.0
