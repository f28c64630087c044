"""Every limit of a body is told with its setting, and nothing grows beyond it."""

import json
from typing import Any

import pytest
from bodies import DEFAULT, GOOD, NOW, bodies, outcome_of, read, told
from houses import client_of, ingest, open_shop
from streams import predictions

from service.errors import TooManyRows, TooManyValues
from service.intake.bodies import wire
from service.intake.bodies.limits import Limits

LIMITS = {
    "rows": (Limits(rows=59), TooManyRows, "TIDEGATE_MAX_BATCH_ROWS"),
    "values": (Limits(values=200), TooManyValues, "TIDEGATE_MAX_VALUES"),
    "columns": (Limits(columns=2), None, "TIDEGATE_MAX_COLUMNS"),
    "names": (Limits(name_characters=3), None, "TIDEGATE_MAX_NAME_CHARACTERS"),
    "ids": (Limits(id_bytes=2), None, "TIDEGATE_MAX_ID_BYTES"),
    "texts": (Limits(text_bytes=2), None, "TIDEGATE_MAX_TEXT_BYTES"),
}


@pytest.mark.parametrize("what", LIMITS)
def test_every_limit_is_told_with_its_setting(what):
    limits, error, setting = LIMITS[what]
    for form, body in bodies(GOOD):
        if error is not None:
            with pytest.raises(error, match=setting):
                read(form, body, limits=limits)
            continue
        said, rows = outcome_of(form, body, limits)
        assert said
        assert all(setting in each for each in said)
        assert rows < 60


def test_of_too_many_classes_only_the_confidence_is_kept():
    rows = [{**row, "scores": {"a": 0.2, "b": 0.3, "c": 0.5}} for row in GOOD]
    for form, body in bodies(rows):
        table = read(form, body, limits=Limits(classes=2)).table
        assert table.column("confidence").to_pylist() == [0.5] * 60
        assert not [name for name in table.column_names if name.startswith("score_")]


@pytest.mark.parametrize("sparse", [b'{"prediction_id":"1","prediction":"a"}'])
def test_rows_that_leave_most_columns_out_make_no_huge_table(sparse):
    wide = json.dumps(
        {"prediction_id": "0", "prediction": "a", "features": {f"f{n}": 1 for n in range(2_000)}}
    ).encode()
    for form, body in (
        ("ndjson", b"\n".join([wide, *[sparse] * 49_000])),
        ("json", b"[" + b",".join([wide, *[sparse] * 49_000]) + b"]"),
    ):
        with pytest.raises(TooManyValues, match="TIDEGATE_MAX_VALUES"):
            read(form, body)


def test_an_array_of_very_many_items_is_given_up_early():
    with pytest.raises(TooManyRows):
        read("json", b"[" + b"1," * 2_000_000 + b"1]")
    with pytest.raises(TooManyRows):
        read("ndjson", b"1\n" * 2_000_000)


@pytest.mark.parametrize(
    "deep",
    [
        b"[" * 100_000,
        b'{"columns":' * 100_000,
        b'{"columns":{"prediction_id":' + b"[" * 100_000,
        b'[{"features":' * 50_000,
    ],
)
def test_depth_ends_in_words(deep):
    for form in ("json", "ndjson"):
        said, rows = outcome_of(form, deep, DEFAULT)
        assert not rows
        assert all("nested too deep" in each or "not a JSON array" in each for each in said)


def test_an_outcome_may_be_so_deep_and_no_deeper():
    def outcome(depth: int) -> dict[str, Any]:
        return {"a": outcome(depth - 1)} if depth > 1 else {"a": 1}

    rows = [{"prediction_id": f"{n}", "label": "a", "outcome": outcome(16 + (n == 3))} for n in range(80)]
    for form, body in bodies(rows):
        batch = wire.labels(body, form, "classification", NOW)
        assert told(batch) == [(3, "outcome", "nested")]
        assert "TIDEGATE_MAX_DEPTH" in batch.rejected[0].problem
        assert json.loads(batch.table.column("outcome")[0].as_py()) == outcome(16)


def test_a_baseline_tells_no_more_segments_apart_than_the_setting_allows(server, tmp_path):
    with open_shop(server, tmp_path, max_segments=1) as house, client_of(house) as client:
        span = {"from": "archive", "version": "1", "since": "2026-01-01T00:00:00Z", "until": "2026-01-02T00:00:00Z"}
        ingest(house, predictions(2_000, seed=1))
        built = client.post("/v1/models/shop/baselines", json=span).json()
        assert sum(name.startswith("group=") for name in built["segments"]) == 2
        assert "group=other" in built["segments"]
