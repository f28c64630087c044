import base64
import gzip
import json
import shutil
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from houses import NOON, fold, open_shop, serve
from hypothesis import given, settings
from hypothesis import strategies as st

from service.cli import main
from service.commands.importing import READERS
from service.conventions import logs
from service.conventions.logs import Options, Place, Told
from service.house import House
from service.intake import counts
from service.storage.embedded import Embedded
from service.web.api import create_app

RECORDED = Path(__file__).parent / "conventions"
POLICY = "model: iris\nowner: ops@shop.example\ntask: {kind: classification, target: species}\n"
IRIS = [[5.1, 3.5], [6.7, 3.1], [6.3, 3.3]]


def rows(convention: str, *paths: Path, **options) -> list[dict]:
    chosen = Options(**options)
    found = [logs.finish(row, chosen) for row in READERS[convention](logs.read(logs.files_of(paths)), chosen)]
    assert not [row.problem for row in found if row.problem]
    return [row.fields for row in found]


def problems(convention: str, *objects: object, **options) -> list[str]:
    """What is wrong with lines that hold these objects."""
    told = [Told(Place(Path("log"), number), each) for number, each in enumerate(objects, start=1)]
    return [f"{row.place}: {row.problem}" for row in READERS[convention](told, Options(**options)) if row.problem]


def capture(asked: str, answered: str, kind: str = "CSV", **more: object) -> dict:
    """A line of data capture, as the developer guide shows it."""
    mime = "text/csv" if kind == "CSV" else "application/json"
    return {
        "captureData": {
            "endpointInput": {"observedContentType": mime, "mode": "INPUT", "data": asked, "encoding": kind},
            "endpointOutput": {"observedContentType": mime, "mode": "OUTPUT", "data": answered, "encoding": kind},
        },
        "eventMetadata": {"eventId": "e-1", "inferenceTime": "2026-11-22T10:25:49Z", **more},
        "eventVersion": "0",
    }


def captured(tmp_path: Path, *lines: dict, **options) -> list[dict]:
    file = tmp_path / "capture.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return rows("sagemaker", file, **options)


# SageMaker


def test_data_capture_of_csv_and_json_gives_rows():
    found = rows("sagemaker", RECORDED / "sagemaker", columns=("day", "rate", "minutes", "calls"), prediction="result")
    assert [row["prediction_id"].rpartition("-")[2] for row in found[:4]] == [
        "000000000001",
        "000000000002/0",
        "000000000002/1",
        "000000000002/2",
    ]
    assert found[0]["features"] == {"day": 69, "rate": 0.5, "minutes": 153.7, "calls": 109}
    assert found[3]["features"] == {"day": 7, "rate": None, "minutes": 12.5, "calls": 3}
    assert [row["prediction"] for row in found[:4]] == [0.0254181120544672, 0.0254, 0.9767, 0.5]
    assert [(row["prediction_id"], row["prediction"]) for row in found[4:6]] == [("order-17/0", 0), ("order-17/1", 1)]
    assert found[5]["scores"] == {"0": pytest.approx(0.0233), "1": 0.9767}
    assert (found[6]["features"], found[6]["prediction"]) == ({"day": 69, "rate": 0.5, "channel": "web"}, "stays")
    assert {row["timestamp"][:16] for row in found} == {"2026-11-22T10:25"}


def test_a_threshold_makes_classes_of_a_probability(tmp_path):
    found = captured(tmp_path, capture("1,2\n3,4", "0.2\n0.7"), threshold=0.5)
    assert [row["prediction"] for row in found] == ["0", "1"]
    assert found[0]["scores"] == {"0": 0.8, "1": 0.2}


@pytest.mark.parametrize(
    ("asked", "answered"),
    [
        ("[[1, 2], [3, 4]]", '["a", "b"]'),
        ('{"instances": [[1, 2], [3, 4]]}', '{"predictions": ["a", "b"]}'),
        (
            '{"instances": [{"f0": 1, "f1": 2}, {"f0": 3, "f1": 4}]}',
            '{"predictions": [{"label": "a"}, {"label": "b"}]}',
        ),
        ('[{"f0": 1, "f1": 2}, {"f0": 3, "f1": 4}]', '[{"prediction": "a"}, {"prediction": "b"}]'),
    ],
)
def test_json_of_every_shape_gives_the_same_rows(tmp_path, asked, answered):
    found = captured(tmp_path, capture(asked, answered, "JSON"))
    assert [row["features"] for row in found] == [{"f0": 1, "f1": 2}, {"f0": 3, "f1": 4}]
    assert [row["prediction"] for row in found] == ["a", "b"]


def test_base64_is_read_by_its_content_type(tmp_path):
    line = capture("1,2", "0.5")
    for side, text in (("endpointInput", b"1,2"), ("endpointOutput", b"0.5")):
        line["captureData"][side] |= {"data": base64.b64encode(text).decode(), "encoding": "BASE64"}
    assert captured(tmp_path, line)[0]["features"] == {"f0": 1, "f1": 2}


def test_what_is_wrong_with_a_capture_is_named():
    only_input = capture("1,2", "0.5")
    del only_input["captureData"]["endpointOutput"]
    found = problems(
        "sagemaker",
        {},
        only_input,
        capture("[1,2", "1", "JSON"),
        capture("1,2", "0.5", "PARQUET"),
        capture("1\n2", "1\n2\n3"),
        capture("1,2", "0.5", eventId=""),
    )
    assert found == [
        "log:1: captureData and eventMetadata: a line of data capture has both",
        "log:2: captureData.endpointOutput.data: is missing; capture both Input and Output",
        "log:3: captureData.endpointInput.data: is no JSON: Input data was truncated",
        "log:4: captureData.endpointInput: PARQUET is neither CSV nor JSON",
        "log:5: 2 instances were asked for, and 3 predictions answered",
        "log:6: eventMetadata.eventId: is missing",
    ]


# BentoML, recorded with BentoML 1.4


def test_what_bentoml_writes_gives_rows_by_the_roles_of_its_schema():
    found = rows("bentoml", RECORDED / "bentoml")
    assert [row["prediction"] for row in found] == ["setosa", "versicolor", "virginica"] * 2
    features = [row["features"] for row in found]
    assert [[each["sepal_length"], each["sepal_width"]] for each in features] == IRIS * 2
    assert [each["channel"] for each in features] == ["web", "app", "web"] * 2
    assert [each["both"] for each in features] == IRIS * 2
    assert [row["prediction_id"] for row in found[3:]] == ["12847/0", "12847/1", "12847/2"]
    assert len({row["prediction_id"] for row in found}) == 6


def test_times_without_a_zone_are_of_the_zone_that_was_named():
    berlin, utc = (rows("bentoml", RECORDED / "bentoml", zone=ZoneInfo(name)) for name in ("Europe/Berlin", "UTC"))
    ahead = datetime.fromisoformat(utc[0]["timestamp"]) - datetime.fromisoformat(berlin[0]["timestamp"])
    assert ahead == timedelta(hours=1)


def test_without_a_schema_the_column_of_the_prediction_must_be_named():
    lines = [{"a": 1, "b": "x", "request_id": "9", "timestamp": "2026-11-22T10:00:00"}]
    assert problems("bentoml", *lines) == [
        "log:1: no schema file says which column is the prediction: give --prediction NAME"
    ]
    assert problems("bentoml", *lines, prediction="b") == []


# MLServer, recorded with MLServer 1.7


def test_topics_and_bodies_of_mlserver_are_put_together_by_their_id():
    found = rows("mlserver", RECORDED / "mlserver", columns=("a", "b", "c", "d"))
    ids = [row["prediction_id"] for row in found]
    assert ids[:3] + ids[4:] == ["b-1/0", "b-1/1", "b-1/2", "k-1/0", "k-1/1", "k-1/2", "k-2"]
    assert {row["model_version"] for row in found} == {"v3"}
    assert [row["prediction"] for row in found] == [0, 1, 2, 0, 0, 1, 2, 0]
    assert found[0]["features"] == {"a": 5.1, "b": 3.5, "c": 1.4, "d": 0.2}
    assert max(found[0]["scores"], key=found[0]["scores"].get) == "0"
    assert [("timestamp" in row) for row in found] == [False] * 4 + [True] * 4


def test_both_halves_on_one_line_are_an_exchange(tmp_path):
    lines = [json.loads(line) for line in (RECORDED / "mlserver/bodies.jsonl").read_text().splitlines()]
    file = tmp_path / "log.jsonl"
    file.write_text(json.dumps({"request": lines[0], "response": json.dumps(lines[1])}))
    assert rows("mlserver", file) == rows("mlserver", RECORDED / "mlserver/bodies.jsonl")[:3]


def test_a_half_that_stays_alone_is_told():
    found = problems("mlserver", {"id": "1", "inputs": []}, {"id": "2", "outputs": []}, {"inputs": []}, {"a": 1})
    assert found == [
        "log:3: id: is missing, so that a request and its response cannot be put together",
        "log:4: the line has neither inputs nor outputs of the Open Inference Protocol",
        "log:1: id '1': a request without its response",
        "log:2: id '2': a response without its request",
    ]


# whatever a log holds

JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
WORDS = st.sampled_from(
    [
        "captureData",
        "eventMetadata",
        "eventId",
        "endpointInput",
        "data",
        "encoding",
        "inputs",
        "outputs",
        "id",
        "columns",
    ]
) | st.sampled_from(["payload", "request", "response", "meta_data", "timestamp", "request_id", "name", "shape"])


@pytest.mark.parametrize("convention", READERS)
@settings(max_examples=50)
@given(objects=st.lists(st.dictionaries(WORDS, JSON | st.dictionaries(WORDS, JSON)), max_size=4))
def test_every_line_gives_rows_or_a_problem_and_nothing_breaks(convention, objects):
    told = [Told(Place(Path("log"), number), each) for number, each in enumerate(objects, start=1)]
    for row in READERS[convention](told, Options(prediction="id", threshold=0.5)):
        assert bool(logs.finish(row, Options(threshold=0.5)).fields) != bool(row.problem)


# the command


@pytest.fixture
def house(server: Embedded, tmp_path) -> Iterator[House]:
    with open_shop(server, tmp_path, POLICY) as opened:
        yield opened


@pytest.fixture
def url(house: House) -> Iterator[str]:
    with serve(create_app(house)) as (host, port):
        yield f"http://{host}:{port}"


def taken(house: House) -> int:
    fold(house)
    return counts.read(house.store, house.log, NOON).predictions["iris"]


def test_importing_twice_counts_once(house, url, capsys, tmp_path):
    copy = tmp_path / "elsewhere"
    shutil.copytree(RECORDED / "mlserver", copy)
    for folder in (RECORDED / "mlserver", copy):
        lines = [*(folder / "bodies.jsonl",)]
        assert main(["import", "mlserver", *map(str, lines), "--model", "iris", "--url", url]) == 0
        assert "1 files: 4 rows read, 4 taken, 0 problems" in capsys.readouterr().out
    assert taken(house) == 4


def test_many_rows_go_in_several_batches_and_from_packed_files(house, url, capsys, tmp_path):
    line = json.dumps(capture("\n".join(f"{n},2" for n in range(700)), "\n".join(["x"] * 700)))
    texts = [line.replace('"e-1"', f'"e-{n}"').replace("2026-11-22T10", f"{NOON:%Y-%m-%dT%H}") for n in range(3)]
    with gzip.open(tmp_path / "capture.jsonl.gz", "wt") as file:
        file.write("\n".join(texts))
    assert main(["import", "sagemaker", str(tmp_path / "capture.jsonl.gz"), "--model", "iris", "--url", url]) == 0
    assert "2100 rows read, 2100 taken" in capsys.readouterr().out
    assert taken(house) == 2100


def test_rows_that_the_service_refuses_are_told_with_their_line(url, capsys, tmp_path):
    times = ("soon", f"{NOON:%FT%TZ}")
    lines = [capture("1", "a", eventId=f"e-{n}", inferenceTime=time) for n, time in enumerate(times)]
    file = tmp_path / "capture.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line in [*lines, "no object"]))
    assert main(["import", "sagemaker", str(file), "--model", "iris", "--url", url]) == 1
    told = capsys.readouterr()
    assert f"{file}:1: timestamp: 'soon' is not a time" in told.err
    assert f"{file}:3: the line is no JSON object" in told.err
    assert "2 rows read, 1 taken, 2 problems" in told.out
    file.write_text(json.dumps(lines[0]))
    assert main(["import", "sagemaker", str(file), "--model", "iris", "--url", url]) == 1
    assert "1 rows read, 0 taken, 1 problems" in capsys.readouterr().out


def test_a_version_stands_over_what_the_log_says(house, url):
    arguments = ["--model", "iris", "--version", "9", "--url", url]
    assert main(["import", "mlserver", str(RECORDED / "mlserver/bodies.jsonl"), *arguments]) == 0
    fold(house)
    found = house.archive.predictions("iris", NOON - timedelta(days=1), NOON + timedelta(days=1))
    assert set(found["model_version"].to_pylist()) == {"9"}


def test_a_dry_run_shows_and_sends_nothing(capsys):
    arguments = ["import", "bentoml", str(RECORDED / "bentoml"), "--model", "iris", "--url", "http://127.0.0.1:1"]
    assert main([*arguments, "--dry-run"]) == 0
    told = capsys.readouterr().out
    assert "2 files: 6 rows would be sent, 0 problems" in told
    assert json.loads(told.splitlines()[0])["prediction"] == "setosa"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["no-such-file"], "there is no such file or folder"),
        ([str(RECORDED / "bentoml"), "--zone", "Mars"], "--zone='Mars' cannot be used"),
        ([str(RECORDED / "bentoml")], "no service answers at http://127.0.0.1:1"),
    ],
)
def test_what_ends_an_import_is_told_in_one_line(arguments, told, capsys):
    assert main(["import", "bentoml", *arguments, "--model", "iris", "--url", "http://127.0.0.1:1"]) == 1
    assert told in capsys.readouterr().err
