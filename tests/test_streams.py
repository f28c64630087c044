"""Arrow streams: what JSON has not, what is not plain, and what is damaged."""

import math
import os
from contextlib import suppress
from datetime import UTC, date, datetime

import numpy as np
import pyarrow as pa
import pytest
from bodies import COLUMNS_OF_GOOD, NOW, arrow, read, same, stream_of, told, written
from hypothesis import given, settings
from hypothesis import strategies as st

from service.errors import BadBody, MalformedBody, UnpackedTooLarge
from service.intake.bodies import wire

# what Arrow has and JSON has not


@pytest.mark.parametrize(
    "values",
    [
        pa.array([n / 4 for n in range(60)], pa.float32()),
        pa.array([n / 4 for n in range(60)], pa.float16()),
        pa.array([n / 4 for n in range(60)]).dictionary_encode(),
        pa.array([n / 4 if n else None for n in range(60)]),
        pa.array([n / 4 if n else float("nan") for n in range(60)]),
        pa.array(range(60), pa.int8()),
        pa.array(range(60), pa.uint64()),
        pa.nulls(60),
    ],
    ids=lambda value: str(value.type),
)
def test_numbers_of_any_width_are_numbers(values):
    found = read("arrow", arrow(**{"features.x": values})).table.column("feature_x")
    assert found.type == pa.float64()
    expected = [None if value is None or math.isnan(value) else float(value) for value in values.to_pylist()]
    assert found.to_pylist() == expected


@pytest.mark.parametrize(
    "values",
    [pa.array(["a", None, "b"] * 20, kind) for kind in (pa.string(), pa.large_string())]
    + [pa.array(["a", None, "b"] * 20).dictionary_encode()],
    ids=lambda value: str(value.type)[:12],
)
def test_text_of_any_kind_is_text(values):
    table = pa.table({**COLUMNS_OF_GOOD, "features.x": values})
    for body in (
        written(table),
        written(table, chunk=7),
        written(pa.concat_tables([table.slice(0, 30), table.slice(30)])),
    ):
        assert read("arrow", body).table.column("feature_x").to_pylist() == ["a", None, "b"] * 20


@pytest.mark.parametrize(
    ("values", "micro"),
    [
        (pa.array([1_795_341_600_123_457] * 60, pa.timestamp("us")), 123_457),
        (pa.array([1_795_341_600_123_456_500] * 60, pa.timestamp("ns", "Europe/Berlin")), 123_457),
        (pa.array([1_795_341_600_123] * 60, pa.timestamp("ms", "UTC")), 123_000),
        (pa.array([1_795_341_600] * 60, pa.timestamp("s")), 0),
        (pa.array(["2026-11-22T10:00:00.123457Z"] * 60), 123_457),
    ],
    ids=lambda value: str(getattr(value, "type", "")),
)
def test_times_of_any_unit_are_microseconds(values, micro):
    found = read("arrow", arrow(timestamp=values)).table.column("timestamp").to_pylist()
    assert found == [datetime(2026, 11, 22, 10, 0, 0, micro, tzinfo=UTC)] * 60


def test_dates_are_midnight_and_gaps_are_now():
    for kind in (pa.date32(), pa.date64()):
        found = read("arrow", arrow(timestamp=pa.array([date(2026, 11, 21), None] * 30, kind))).table.column(
            "timestamp"
        )
        assert found.to_pylist()[:2] == [datetime(2026, 11, 21, tzinfo=UTC), NOW]


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
@pytest.mark.parametrize("count", [2**63 - 1, -(2**63) + 1, -1])
def test_a_time_that_no_clock_shows_costs_its_row_only(unit, count):
    good = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}[unit] * 1_795_341_600
    values = pa.array([good] * 30 + [count] + [good] * 29, pa.timestamp(unit, "UTC"))
    if unit == "ns" and count == -1:
        return  # rounds to 1970
    assert told(read("arrow", arrow(timestamp=values))) == [(30, "timestamp", "timestamp")]


@pytest.mark.parametrize(
    "kind", [pa.list_(pa.float32()), pa.list_(pa.float64()), pa.large_list(pa.float64()), pa.list_(pa.int32(), 2)]
)
def test_lists_of_numbers_are_embeddings(kind):
    table = read("arrow", arrow(**{"features.e": pa.array([[1, 2], None, [3, 4]] * 20, kind)})).table
    assert table.schema.field("feature_e").type == pa.list_(pa.float32())
    assert table.column("feature_e").to_pylist() == [[1.0, 2.0], None, [3.0, 4.0]] * 20


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ([], "missing"),
        ([1.0, None], "nested"),
        ([float("inf")], "number_range"),
        ([1e39], "number_range"),
        ([0.0] * 5_000, "too_long"),
    ],
)
def test_a_bad_list_costs_its_row_only(value, reason):
    values = pa.array([[1.0, 2.0]] * 30 + [value] + [[1.0]] * 29, pa.list_(pa.float64()))
    assert told(read("arrow", arrow(**{"features.e": values}))) == [(30, "features.e", reason)]


def test_an_infinite_number_costs_its_row_only():
    for kind in (pa.float32(), pa.float64()):
        values = pa.array([1.0] * 30 + [float("-inf")] + [float("nan")] * 29, kind)
        assert told(read("arrow", arrow(**{"features.x": values}))) == [(30, "features.x", "number_range")]


def test_groups_may_be_structs():
    whole = stream_of(
        {
            "prediction_id": ["1", "2"],
            "prediction": ["a", "b"],
            "features": [{"x": 1.5, "y": "a"}, None],
            "scores": [{"a": 0.25, "b": 0.75}] * 2,
        }
    )
    flat = stream_of(
        {
            "prediction_id": ["1", "2"],
            "prediction": ["a", "b"],
            "features.x": [1.5, None],
            "features.y": ["a", None],
            "scores.a": [0.25] * 2,
            "scores.b": [0.75] * 2,
        }
    )
    same(read("arrow", whole), read("arrow", flat))
    assert read("arrow", whole).table.column("feature_x").to_pylist() == [1.5, None]


class _Unit(pa.ExtensionType):
    def __init__(self) -> None:
        super().__init__(pa.float64(), "tidegate.test.unit")

    def __arrow_ext_serialize__(self) -> bytes:
        return b""

    @classmethod
    def __arrow_ext_deserialize__(cls, storage_type: pa.DataType, serialized: bytes) -> "_Unit":
        del storage_type, serialized
        return cls()


ODD = {
    "binary": pa.array([b"x"] * 60),
    "a decimal": pa.array([1] * 60, pa.decimal128(5, 1)),
    "a time": pa.array([0] * 60, pa.timestamp("us")),
    "a view": pa.array(["x"] * 60, pa.string_view()),
    "a list view": pa.array([[1.0]] * 60, pa.list_view(pa.float64())),
    "runs": pa.RunEndEncodedArray.from_arrays(pa.array([60], pa.int32()), pa.array([1.0])),
    "a union": pa.UnionArray.from_sparse(pa.array([0] * 60, pa.int8()), [pa.array([1.0] * 60)]),
    "a map": pa.array([[("a", 1)]] * 60, pa.map_(pa.string(), pa.int64())),
    "a struct": pa.array([{"a": 1}] * 60),
    "a list of texts": pa.array([["a"]] * 60),
    "a list of lists": pa.array([[[1.0]]] * 60),
    "an extension": pa.ExtensionArray.from_storage(_Unit(), pa.array([1.0] * 60)),
}


@pytest.mark.parametrize("what", ODD)
def test_a_type_of_arrow_that_is_not_read_is_named(what):
    if what == "an extension":
        pa.register_extension_type(_Unit())
    try:
        with pytest.raises(MalformedBody, match=r"column 'features.o' has the Arrow type .* which is not read here"):
            read("arrow", arrow(**{"features.o": ODD[what]}))
    finally:
        if what == "an extension":
            pa.unregister_extension_type("tidegate.test.unit")


def test_streams_that_are_not_plain_say_what_to_do():
    table = pa.table(COLUMNS_OF_GOOD)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    whole = written(table)
    twice = pa.table(
        {
            **COLUMNS_OF_GOOD,
            "features.channel": pa.chunked_array(
                [pa.array(["a"] * 30).dictionary_encode(), pa.array(["b"] * 30).dictionary_encode()]
            ),
        }
    )
    for body, says in (
        (written(table, compression="zstd"), "compressed buffers"),
        (written(table, compression="lz4"), "compressed buffers"),
        (written(twice, emit_dictionary_deltas=True), "dictionary in parts"),
        (written(twice), "dictionary in parts"),
        (sink.getvalue().to_pybytes(), "is an Arrow file, not an Arrow IPC stream"),
        (b"PAR1" + whole, "is a Parquet file"),
        (whole[:-8], "no end marker"),
        (whole[: len(whole) // 2], "no end marker"),
        (whole + whole, "goes on after the end"),
        (written(table, chunk=1)[:-8] * 1 + whole[-8:] + whole[-8:], "goes on after the end"),
        (b"", "no end marker"),
        (whole[-8:], "not an Arrow IPC stream|must begin with its schema"),
    ):
        with pytest.raises(MalformedBody, match=says):
            read("arrow", body)


def test_a_dictionary_in_many_batches_is_read_where_it_stays_the_same():
    values = pa.array(["a", "b"] * 30).dictionary_encode()
    body = written(pa.table({**COLUMNS_OF_GOOD, "features.channel": values}), chunk=10)
    assert read("arrow", body).table.column("feature_channel").to_pylist() == ["a", "b"] * 30


def test_places_beyond_a_dictionary_are_damage():
    odd = pa.DictionaryArray.from_arrays(pa.array([0, 9] * 30, pa.int32()), pa.array(["a"]), safe=False)
    with pytest.raises(MalformedBody, match="damaged"):
        read("arrow", arrow(**{"features.channel": odd}))


def test_a_small_dictionary_of_a_long_text_is_not_unfolded():
    many = pa.DictionaryArray.from_arrays(pa.array([0] * 50_000, pa.int8()), pa.array(["x" * 60_000]))
    body = stream_of({"prediction_id": [str(n) for n in range(50_000)], "prediction": many})
    assert len(body) < 1_000_000
    with pytest.raises(UnpackedTooLarge, match="TIDEGATE_MAX_BODY_BYTES"):
        read("arrow", body)


# damage


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=80), st.booleans())
def test_no_bytes_break_the_reader(data, has_end):
    body = data + b"\xff\xff\xff\xff\0\0\0\0" * has_end
    for form in ("arrow", "json", "ndjson"):
        for taker in (wire.predictions, wire.labels):
            with suppress(BadBody):
                taker(body, form, "classification", NOW)


STREAM = stream_of(
    {
        "prediction_id": [f"p{n}" for n in range(40)],
        "prediction": pa.array(["fit", "returns"] * 20).dictionary_encode(),
        "timestamp": pa.array([NOW] * 40, pa.timestamp("ns", "UTC")),
        "features": [{"x": 1.5, "text": "long enough to be one"}, None] * 20,
        "features.e": pa.array([[1.0, 2.0], None] * 20, pa.list_(pa.float32())),
        "features.flag": [True, None] * 20,
        "tags.market": pa.array(["DE", None] * 20, pa.large_string()),
    }
)


def _damaged(seed: int) -> bytes:
    rng = np.random.default_rng(seed)
    body = bytearray(STREAM)
    for place in rng.integers(0, len(body), rng.integers(1, 4)):
        body[place] = rng.choice(
            [0, 1, 0x7F, 0x80, 0xFF, int(rng.integers(256)), body[place] ^ (1 << int(rng.integers(8)))]
        )
    return bytes(body)


def test_flipped_bytes_in_a_stream_end_in_rows_or_in_words_and_never_in_a_crash():
    """Each thousand in a process of its own, whose death would be seen."""
    for start in range(0, 3_000, 1_000):
        child = os.fork()
        if not child:
            code = 1
            try:
                for seed in range(start, start + 1_000):
                    try:
                        table = wire.predictions(_damaged(seed), "arrow", "classification", NOW).table
                        table.validate(full=True)
                        str(table.to_pylist())
                    except BadBody:
                        pass
                code = 0
            finally:
                os._exit(code)
        assert os.waitpid(child, 0)[1] == 0, start
