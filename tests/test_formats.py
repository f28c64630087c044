"""Bodies of every form: the same rows give the same batch, and a bad value costs its row only."""

import gzip
import json
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from bodies import (
    COLUMNS_OF_GOOD,
    GOOD,
    LABELS,
    NAMES,
    NOW,
    arrow,
    bodies,
    columnar,
    columns_of,
    read,
    same,
    stream_of,
    told,
    with_one,
    zipped,
)
from houses import client_of, counted, open_shop
from hypothesis import given, settings
from hypothesis import strategies as st

from service.errors import MalformedBody
from service.intake.bodies import wire
from service.storage.embedded import Embedded

NUMBERS = st.one_of(st.floats(-1e6, 1e6), st.floats(allow_nan=False, allow_infinity=False))
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=4)
COLUMNS = st.sampled_from(
    [
        NUMBERS,
        st.integers(-(2**63), 2**63 - 1),
        TEXTS,
        st.booleans(),
        st.lists(NUMBERS, max_size=2),
        st.one_of(NUMBERS, TEXTS),
    ]
)
TIMES = [
    "2026-11-22T10:00:00Z",
    "2026-11-22T10:00:00.123Z",
    "2026-11-21T10:00:00+05:30",
    "2026-11-22T10:00:00",
    "2026-11-22T10:00:00.1234565Z",
    "2026-11-22T10:00:00.123456789Z",
    "2026-11-22 10:00:00z",
    "2026-13-01T00:00:00Z",
    "2026-11-22T10:00Z",
    "2030-01-01T00:00:00Z",
    "1969-12-31T23:59:59.9999999Z",
    "2026-11-22T1O:00:00Z",
    "soon",
]


@st.composite
def tables(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Rows whose columns mostly hold one kind of value each, as those of real senders do."""
    count = draw(st.integers(1, 12))
    kinds: dict[tuple[str, str], Any] = {}
    for group, names in NAMES.items():
        for name in draw(st.sets(st.sampled_from(names))):
            kinds[group, name] = draw(COLUMNS) if group != "scores" else st.floats(-0.5, 1.5)
    ids = draw(st.sampled_from([TEXTS, st.text("ab", min_size=1), st.integers(0, 2**40), NUMBERS, st.booleans()]))
    values = draw(
        st.sampled_from([st.sampled_from("ab"), NUMBERS, st.integers(-(2**63), 2**63 - 1), st.booleans(), TEXTS])
    )
    times = draw(st.sampled_from([TIMES[:1], TIMES[:2], TIMES[1:2], TIMES[3:4], TIMES[:5], TIMES]))
    versions = draw(
        st.sampled_from([st.just("7"), st.sampled_from(["7", "../7"]), st.integers(0, 9), NUMBERS, st.none()])
    )
    rows = []
    for _ in range(count):
        row: dict[str, Any] = {
            "prediction_id": draw(ids),
            "prediction": draw(values),
            "timestamp": draw(st.sampled_from(times)),
        }
        row |= {"model_version": draw(versions), "confidence": draw(st.one_of(st.none(), st.floats(-0.1, 1.1)))}
        for (group, name), kind in kinds.items():
            row.setdefault(group, {})[name] = draw(kind) if draw(st.integers(0, 9)) else None
        if not draw(st.integers(0, 9)):
            row[draw(st.sampled_from(["prediction_id", "prediction", "timestamp"]))] = None
        rows.append(row)
    return rows


@settings(max_examples=150, deadline=None)
@given(tables(), st.sampled_from(["classification", "regression"]), st.booleans())
def test_the_same_rows_give_the_same_batch_in_every_form(rows, task, by_columns):
    small = wire._SMALL_BYTES
    exact = None
    try:
        wire._SMALL_BYTES = 1 << 40  # every row through the exact check
        exact = read("ndjson", "\n".join(map(json.dumps, rows)).encode(), task)
        wire._SMALL_BYTES = 0 if by_columns else small
        for form, body in bodies(rows):
            batch = read(form, body, task)
            batch.table.validate(full=True)
            same(batch, exact)
    finally:
        wire._SMALL_BYTES = small
    assert exact.table.num_rows + len(exact.rejected) == len(rows)


BAD_VALUES = {
    "no id": ("prediction_id", None, "missing"),
    "an empty id": ("prediction_id", "", "missing"),
    "a long id": ("prediction_id", "x" * 600, "too_long"),
    "NUL in an id": ("prediction_id", "a\0b", "text"),
    "no prediction": ("prediction", None, "missing"),
    "a long text": ("features.channel", "x" * 70_000, "too_long"),
    "NUL in a text": ("features.channel", "a\0b", "text"),
}


@pytest.mark.parametrize("what", BAD_VALUES)
@pytest.mark.parametrize("make", [columnar, arrow])
def test_a_bad_value_in_a_column_costs_its_row_only(what, make):
    column, value, reason = BAD_VALUES[what]
    batch = read("json" if make is columnar else "arrow", make(**with_one(column, value)))
    assert told(batch) == [(30, column, reason)]
    assert batch.table.num_rows == 59
    assert batch.rejected[0].problem


@pytest.mark.parametrize(
    ("value", "reason", "says"),
    [
        ("NaN", "malformed", "NaN is not JSON"),
        ("-Infinity", "malformed", "send null"),
        ("1e999", "number_range", "range"),
        ("18446744073709551616", "number_range", "64 bits"),
        ("[1]", "wrong_type", "a list"),
        ("{}", "nested", "an object"),
    ],
)
def test_what_a_column_of_numbers_cannot_hold_costs_its_row_only(value, reason, says):
    body = columnar().replace(b"4.285714285714286", value.encode(), 1)
    (refused,) = (batch := read("json", body)).rejected
    assert (refused.row, refused.field, refused.reason) == (30, "features.x", reason)
    assert says in refused.problem
    same(wire.Batch(batch.table), wire.Batch(read("json", columnar()).table.filter(np.arange(60) != 30)))


def test_words_within_texts_are_texts():
    values = {"features.channel": ["NaN", 'a "NaN" \\ Infinity'] * 30, **with_one("features.x", float("nan"))}
    assert told(read("json", columnar(**values))) == [(30, "features.x", "malformed")]
    assert not read("json", columnar(**{**values, "features.x": [1.5] * 60})).rejected


def test_text_that_is_not_utf8_costs_its_row_only():
    for body in (columnar(), json.dumps(GOOD).encode()):
        assert [each.row for each in read("json", body.replace(b'"p30"', b'"p\xff"', 1)).rejected] == [30]


WRONG_COLUMNS = {
    "a short column": ({"features.x": [1.0]}, "'features.x' has 1 values, prediction_id has 60"),
    "a column that is none": ({"features.x": 1.0}, "not a JSON array of rows, nor .*Expected `array`"),
    "the name under which it is kept": ({"feature_x": [1.0] * 60}, "did you mean features.x"),
    "a name of nothing": ({"predicted": [1.0] * 60}, "'predicted' is not one of prediction_id"),
    "a group without a name": ({"features.": [1.0] * 60}, "its name must be 1 to 128"),
    "a name with a line end": ({"features.a\nb": [1.0] * 60}, "its name must be 1 to 128"),
    "names that differ in case": ({"features.X": [1.0] * 60}, "differ only in upper and lower case"),
    "a label among predictions": ({"label": ["a"] * 60}, "'label' is not one of"),
}


@pytest.mark.parametrize("what", WRONG_COLUMNS)
def test_a_wrong_column_is_refused_whole_by_its_name(what):
    changed, says = WRONG_COLUMNS[what]
    with pytest.raises(MalformedBody, match=says):
        read("json", columnar(**changed))
    if "column" not in what:
        with pytest.raises(MalformedBody, match=says):
            read("arrow", arrow(**changed))


@pytest.mark.parametrize("needed", ["prediction_id", "prediction"])
def test_columns_that_rows_must_have_must_be_there(needed):
    rest = {name: column for name, column in COLUMNS_OF_GOOD.items() if name != needed}
    for form, body in (("json", json.dumps({"columns": rest}).encode()), ("arrow", stream_of(rest))):
        with pytest.raises(MalformedBody, match=f"no column {needed}"):
            read(form, body)


@pytest.mark.parametrize(
    "body",
    [
        b'{"prediction_id": "1", "prediction": "a"}',
        b'{"columns": 1}',
        b'{"columns": {}, "x": 1}',
        b"{",
        b'{"columns": {"a": [',
    ],
)
def test_an_object_that_is_no_columns_is_told_both_forms(body):
    with pytest.raises(MalformedBody, match=r'not a JSON array of rows, nor {"columns"'):
        read("json", body)


def test_columns_without_rows_are_no_rows():
    for form, body in (
        ("json", b'{"columns": {"prediction_id": [], "prediction": []}}'),
        ("arrow", stream_of({"prediction_id": pa.array([], pa.string()), "prediction": pa.array([], pa.string())})),
    ):
        assert read(form, body).table.num_rows == 0


def test_labels_and_their_outcomes_are_the_same_in_every_form():
    first = wire.labels(json.dumps(LABELS[:1]).encode(), "json", "classification", NOW)
    assert first.table.num_rows == 1
    expected = wire.labels("\n".join(map(json.dumps, LABELS)).encode(), "ndjson", "classification", NOW)
    assert expected.table.column("outcome").to_pylist()[1] == '{"resolved":false,"note":"ü"}'
    texts = {
        **columns_of(LABELS),
        "outcome": [
            row["outcome"] and json.dumps(row["outcome"], separators=(",", ":"), ensure_ascii=False) for row in LABELS
        ],
    }
    for form, body in [*bodies(LABELS), ("arrow", stream_of(texts))]:
        same(wire.labels(body, form, "classification", NOW), expected)


def test_an_outcome_that_is_no_object_costs_its_row_only():
    columns = {**columns_of(LABELS), "outcome": ['{"a":1}', "done", "[1]", None] * 15}
    batch = wire.labels(stream_of(columns), "arrow", "classification", NOW)
    assert {(each.field, each.reason) for each in batch.rejected} == {("outcome", "wrong_type")}
    assert len(batch.rejected) == 30


# over HTTP

PREDICTIONS, LABELS_ROUTE = "/v1/models/shop/predictions", "/v1/models/shop/labels"
TYPES = {"json": "application/json", "ndjson": "application/x-ndjson", "arrow": "application/vnd.apache.arrow.stream"}


def test_every_form_is_taken_plain_and_compressed(server: Embedded, tmp_path):
    with open_shop(server, tmp_path) as house, client_of(house) as client:
        posted = 0
        for route, rows in ((PREDICTIONS, GOOD), (LABELS_ROUTE, LABELS)):
            for form, body in bodies(rows):
                for coding in ("identity", "gzip", "zstd"):
                    headers = {"Content-Type": TYPES[form], "Content-Encoding": coding}
                    content = body if coding == "identity" else zipped(body, coding)
                    answer = client.post(route, content=content, headers=headers)
                    assert (answer.status_code, answer.json().get("accepted")) == (202, 60), answer.text
                    posted += 60 * (route == PREDICTIONS)
        assert counted(house) == posted


def test_a_body_compressed_anew_is_the_same_body(server: Embedded, tmp_path):
    body = json.dumps(GOOD).encode()
    with open_shop(server, tmp_path) as house, client_of(house) as client:
        headers = {"Content-Type": "application/json", "Idempotency-Key": "k"}
        first = client.post(PREDICTIONS, content=body, headers=headers).json()
        for coding, level in (("gzip", 1), ("gzip", 9)):
            again = gzip.compress(body, level, mtime=level)
            assert (
                client.post(PREDICTIONS, content=again, headers={**headers, "Content-Encoding": coding}).json() == first
            )
        assert counted(house) == 60


def test_what_cannot_be_unpacked_is_a_clear_problem(server: Embedded, tmp_path):
    with open_shop(server, tmp_path, max_body_bytes=100_000) as house, client_of(house) as client:
        for content, coding, status, slug, says in (
            (
                zipped(b"[" + b" " * 200_000 + b"]", "gzip"),
                "gzip",
                413,
                "body-too-large",
                "unpacks to more than the 100000",
            ),
            (zipped(b"[" + b" " * 200_000 + b"]", "zstd"), "zstd", 413, "body-too-large", "TIDEGATE_MAX_BODY_BYTES"),
            (b"[]", "zstd", 400, "bad-body", "cannot be unpacked as zstd"),
            (b"[]", "gzip, zstd", 415, "wrong-type", "One of them, once"),
            (b"[]", "br", 415, "wrong-type", "'br' is not read here"),
        ):
            headers = {"Content-Type": "application/json", "Content-Encoding": coding}
            answer = client.post(PREDICTIONS, content=content, headers=headers)
            assert (answer.status_code, answer.json()["type"]) == (status, f"/problems#{slug}")
            assert says in answer.json()["detail"]
        assert counted(house) == 0


def test_openapi_tells_every_form(server: Embedded, tmp_path):
    with open_shop(server, tmp_path) as house, client_of(house) as client:
        paths = client.get("/openapi.json").json()["paths"]
        for route, needed in (("predictions", "prediction"), ("labels", "label")):
            content = paths[f"/v1/models/{{model}}/{route}"]["post"]["requestBody"]["content"]
            assert set(content) == set(TYPES.values())
            rows, columns = content["application/json"]["schema"]["oneOf"]
            assert rows["items"]["required"] == ["prediction_id", needed]
            assert columns["properties"]["columns"]["required"] == ["prediction_id", needed]
