import base64
import json
import os
import re
import subprocess
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import httpx
import pyarrow as pa
import pytest
from houses import NOON, client_of, fold, open_shop
from hypothesis import given, settings
from hypothesis import strategies as st

from monitors.baseline import baselines
from service.conventions import exchanges, names
from service.conventions.cloudevents import Event, read_event
from service.conventions.pairs import OUTCOMES, Pairs
from service.conventions.unusable import REASONS, Unusable
from service.house import House
from service.intake import counts
from service.intake.log.log import Log
from service.intake.log.posts import Part, post_of
from service.ledger.records import Release
from service.storage.embedded import Embedded
from service.storage.store import Store
from service.web.auth import create_key

RECORDER = Path(__file__).parent / "conventions/record_kserve.py"
RECORDED = json.loads((Path(__file__).parent / "conventions/kserve_0_21.json").read_text())
EXCHANGES = {each["name"]: each for each in RECORDED["exchanges"]}
POLICY = "model: iris\nowner: ops@shop.example\ntask: {kind: classification, target: species}\n"
NAMES = RECORDED["names"]
ROWS = [[5.1, 3.5, 1.4, 0.2], [6.7, 3.1, 4.4, 1.4], [6.3, 3.3, 6.0, 2.5]]


def body_of(told: str | dict[str, str]) -> bytes:
    return base64.b64decode(told["base64"]) if isinstance(told, dict) else told.encode()


def headers(half: str, identity: str, model: str = "iris", **more: str) -> dict[str, str]:
    """As the agent's `sendHttpCloudEvent` sets them (pkg/logger/worker.go); the type is the request's always."""
    return {
        "Content-Type": "application/json",
        "Ce-Specversion": "1.0",
        "Ce-Id": identity,
        "Ce-Type": f"org.kubeflow.serving.inference.{half}",
        "Ce-Source": "http://localhost:9081/",
        "Ce-Time": f"{NOON - timedelta(minutes=5):%Y-%m-%dT%H:%M:%S.123456400Z}",
        "Ce-Recordedtime": f"{NOON:%Y-%m-%dT%H:%M:%S.123456400Z}",
        "Ce-Inferenceservicename": model,
        "Ce-Namespace": "shop",
        "Ce-Component": "predictor",
        "Ce-Endpoint": "default",
        "Ce-Metadata": "{}",
        **more,
    }


def events(name: str, identity: str, **more: str) -> list[tuple[dict[str, str], bytes]]:
    """The two events of a recorded exchange."""
    found = EXCHANGES[name]
    return [(headers(half, identity, **more), body_of(found[half])) for half in ("request", "response")]


def post(client: httpx.Client, event: tuple[dict[str, str], bytes]) -> dict:
    answer = client.post("/v1/kserve", headers=event[0], content=event[1])
    assert answer.status_code == 200, answer.text
    return answer.json()


@pytest.fixture
def house(server: Embedded, tmp_path) -> Iterator[House]:
    with open_shop(server, tmp_path, POLICY) as opened:
        yield opened


@pytest.fixture
def client(house: House) -> Iterator[httpx.Client]:
    with client_of(house) as opened:
        yield opened


def archived(house: House) -> list[dict]:
    fold(house)
    return house.archive.predictions("iris", NOON - timedelta(days=1), NOON + timedelta(days=1)).to_pylist()


def numbers(house: House) -> Counter[str]:
    return +counts.read(house.store, house.log, NOON).kserve


def rejected(house: House) -> dict[str, int]:
    return {reason: n for (_, reason), n in counts.read(house.store, house.log, NOON).rejected.items()}


def give_names(house: House, order: list[str] = NAMES, version: str = "1") -> None:
    rows = [values for values in ROWS for _ in range(20)]
    columns = {f"feature_{name}": [row[NAMES.index(name)] + i / 99 for i, row in enumerate(rows)] for name in order}
    table = pa.table(
        {
            "prediction_id": [str(i) for i in range(60)],
            "timestamp": pa.array([NOON - timedelta(minutes=i) for i in range(60)], pa.timestamp("us", "UTC")),
            "model_version": [version] * 60,
            "prediction": ["0", "1", "2"] * 20,
            **columns,
        }
    )
    made = baselines.build(table, model="iris", version=version, cuts=[], task="classification")
    house.ledger.put_baseline(made)
    house.ledger.move_champion(Release("iris", version, house.ledger.champion("iris"), NOON, "first", "the start"))


# what a real model server says

NUMERIC = ("v1 lists", "v1 names", "v1 dicts", "v1 frame", "v1 rows in a list", "v1 probabilities", "v1 table")
TENSORS = ("v2 matrix", "v2 nested", "v2 features", "v2 names", "v2 probabilities", "v2 table")
BINARY = ("v2 binary in", "v2 binary both")


@pytest.mark.parametrize("name", [*NUMERIC, *TENSORS, *BINARY])
def test_each_form_of_a_real_server_gives_the_same_rows(house, client, name):
    give_names(house)
    assert [post(client, event)["outcome"] for event in events(name, "q-1")] == ["waiting", "counted"]
    rows = archived(house)
    assert [row["prediction_id"] for row in rows] == ["q-1/0", "q-1/1", "q-1/2"]
    assert [[row[f"feature_{each}"] for each in NAMES] for row in rows] == ROWS
    expected = ["setosa", "versicolor", "virginica"] if "names" in name else ["0", "1", "2"]
    assert [row["prediction"] for row in rows] == expected
    assert {row["timestamp"] for row in rows} == {NOON - timedelta(minutes=5) + timedelta(microseconds=123456)}
    assert {row["model_version"] for row in rows} == {"1"}


@pytest.mark.parametrize("name", ["v1 probabilities", "v2 probabilities"])
def test_probabilities_are_scores_and_the_best_one_is_the_class(house, client, name):
    for event in events(name, "q-1"):
        post(client, event)
    rows = archived(house)
    assert [row["prediction"] for row in rows] == ["0", "1", "2"]
    assert [round(row["confidence"], 3) for row in rows] == [0.982, 0.926, 0.996]
    assert all(row["confidence"] == max(row[f"score_{i}"] for i in range(3)) for row in rows)


@pytest.mark.parametrize("name", ["v1 table", "v2 table"])
def test_an_output_named_confidence_is_one(house, client, name):
    for event in events(name, "q-1"):
        post(client, event)
    assert [round(row["confidence"], 3) for row in archived(house)] == [0.982, 0.926, 0.996]


@pytest.mark.parametrize(("name", "column"), [("v1 texts", "feature_text"), ("v2 texts", "feature_text")])
def test_texts_stay_texts(house, client, name, column):
    for event in events(name, "q-1"):
        post(client, event)
    rows = archived(house)
    assert [row[column] for row in rows] == ["where is it", "my parcel is late"]
    assert [row["prediction"] for row in rows] == ["short", "long"]


@pytest.mark.parametrize("name", ["v1 one row", "v2 one row"])
def test_the_id_of_a_single_row_is_the_events(house, client, name):
    for event in events(name, "a/b c"):
        post(client, event)
    assert [row["prediction_id"] for row in archived(house)] == ["a/b c"]


def test_values_without_names_are_numbered_while_there_is_no_baseline(house, client):
    for event in events("v2 matrix", "q-1"):
        post(client, event)
    assert [row["feature_f3"] for row in archived(house)] == [0.2, 1.4, 2.5]


def test_the_order_of_names_stays_when_a_later_baseline_has_another(house, client):
    give_names(house)
    for event in events("v1 lists", "q-1"):
        post(client, event)
    give_names(house, sorted(NAMES), version="2")
    assert names.feature_names(house.store, house.ledger, "iris") == tuple(NAMES)
    give_names(house, [*NAMES[:3]], version="3")
    assert names.feature_names(house.store, house.ledger, "iris") == tuple(NAMES[:3])


def test_headers_that_the_logger_passes_on_are_tags(house, client):
    metadata = json.dumps({"X-Market": ["DE"], "X-Empty": []})
    for event in events("v1 one row", "q-1", **{"Ce-Metadata": metadata}):
        post(client, event)
    row = archived(house)[0]
    assert row["tag_X-Market"] == "DE"
    assert "tag_X-Empty" not in row


def test_a_server_that_says_its_version_names_it(house, client):
    request, (told, body) = events("v2 one row", "q-1")
    post(client, request)
    post(client, (told, body.replace(b'"model_version":null', b'"model_version":"7"')))
    assert [row["model_version"] for row in archived(house)] == ["7"]


REAL = os.environ.get("KSERVE_PYTHON", "")


@pytest.mark.skipif(
    not REAL, reason="KSERVE_PYTHON names no Python that has kserve 0.21: see conventions/record_kserve.py"
)
def test_a_real_server_still_says_what_was_recorded(tmp_path):
    file = tmp_path / "now.json"
    subprocess.run([REAL, RECORDER, file], check=True, capture_output=True, timeout=300)
    assert _without_ids(json.loads(file.read_text())) == _without_ids(RECORDED)


def _without_ids(recorded: dict) -> str:
    """The server makes an id where the request has none."""
    return re.sub(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "ID", json.dumps(recorded["exchanges"]))


# pairing


def test_the_response_may_come_first(house, client):
    request, response = events("v1 lists", "q-1")
    assert [post(client, each)["outcome"] for each in (response, request)] == ["waiting", "counted"]
    assert len(archived(house)) == 3


@settings(max_examples=40)
@given(order=st.permutations([0, 1, 2, 3, 0, 1, 2, 3]))
def test_whatever_the_order_and_how_often_each_exchange_counts_once(server, order):
    """Events 0 and 1 are one exchange, 2 and 3 another; each comes twice."""
    halves = [event(half, identity) for identity in "ab" for half in ("request", "response")]
    with fresh_log(server.url) as log:
        pairs = Pairs(log, timedelta(minutes=10), 1 << 20)
        for place in order:
            offered = pairs.offer(halves[place], NOON)
            if offered.exchange is not None:
                append(log, offered)
                pairs.settle(halves[place], offered, "counted")
        held = counts.read(log.store, log, NOON)
    assert held.backlog == 2
    assert held.kserve == {"counted": 2, "waiting": 2, "duplicate": 4}


@contextmanager
def fresh_log(url: str, partitions: int = 2) -> Iterator[Log]:
    """A log on an empty store, which is empty again for others."""
    store = Store(url)
    store.do("FLUSHALL")
    yield Log(store, partitions)
    store.do("FLUSHALL")
    store.close()


def event(half: str, identity: str, data: bytes = b"{}") -> Event:
    return read_event({name.lower(): value for name, value in headers(half, identity).items()}, data)


def append(log: Log, offered) -> None:
    table = pa.table({"prediction_id": ["1"]})
    log.append(Part("p", "iris", table, [post_of("p", "iris", offered.key, offered.digests, b"1")]), NOON)


def test_a_half_that_was_answered_survives_whoever_dies_before_its_rows_are_appended(house, client):
    request, response = events("v1 lists", "q-1")
    post(client, request)
    pairs = Pairs(house.log, timedelta(minutes=10), 1 << 20)
    half = read_event({name.lower(): value for name, value in response[0].items()}, response[1])
    # A process that dies here has neither appended nor answered.
    assert pairs.offer(half, NOON).outcome == "pair"
    assert post(client, response)["outcome"] == "counted"
    assert len(archived(house)) == 3


def test_dying_between_append_and_settling_counts_once(house, client):
    request, response = events("v1 lists", "q-1")
    post(client, request)
    half = read_event({name.lower(): value for name, value in response[0].items()}, response[1])
    pairs = Pairs(house.log, timedelta(minutes=10), 1 << 20)
    append(house.log, pairs.offer(half, NOON))
    assert post(client, response)["outcome"] == "duplicate"
    assert post(client, request)["outcome"] == "duplicate"
    assert held_bytes(house) == 0


def test_halves_sent_at_once_to_several_replicas_are_counted_once(house, client):
    halves = [each for n in range(20) for each in events("v1 one row", f"q-{n}")] * 2
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda each: post(client, each), halves))
    assert len(archived(house)) == 20
    assert counts.read(house.store, house.log, NOON).predictions["iris"] == 20
    assert numbers(house)["counted"] == 20


def test_an_id_that_comes_again_with_other_rows_is_a_conflict(house, client):
    for half in events("v1 one row", "q-1"):
        post(client, half)
    assert [post(client, half)["outcome"] for half in events("v1 lists", "q-1")] == ["conflict", "conflict"]
    assert rejected(house) == {"conflict": 2}
    assert len(archived(house)) == 1


def held_bytes(house: House) -> int:
    slots = [f"p{n}" for n in range(house.log.partitions)]
    return sum(int(house.store.do("HGET", f"tg:{{{slot}}}:halves", "bytes") or 0) for slot in slots)


def test_a_half_that_stays_alone_is_given_up_and_counted(server):
    with fresh_log(server.url, partitions=1) as log:
        pairs = Pairs(log, timedelta(minutes=10), 1 << 20)
        pairs.offer(event("request", "alone"), NOON)
        pairs.offer(event("request", "young"), NOON + timedelta(minutes=9))
        pairs.offer(event("request", "other"), NOON + timedelta(minutes=10))
        held = counts.read(log.store, log, NOON)
        assert (held.kserve["unpaired"], held.rejected["iris", "unpaired"]) == (1, 1)
        assert pairs.offer(event("response", "alone"), NOON + timedelta(minutes=10)).outcome == "waiting"
        assert pairs.offer(event("response", "young"), NOON + timedelta(minutes=10)).outcome == "pair"


def test_halves_never_hold_more_than_they_may_and_the_oldest_give_way(server):
    with fresh_log(server.url, partitions=1) as log:
        pairs = Pairs(log, timedelta(minutes=10), 10_000)
        for number in range(30):
            pairs.offer(event("request", str(number), b"x" * 1000), NOON + timedelta(seconds=number))
            assert int(log.store.do("HGET", "tg:{p0}:halves", "bytes")) <= 10_000
        assert pairs.offer(event("response", "0"), NOON).outcome == "waiting"
        assert pairs.offer(event("response", "29"), NOON).outcome == "pair"
        held = log.store.do("HLEN", "tg:{p0}:halves") - 1
        assert held + counts.read(log.store, log, NOON).kserve["unpaired"] == 31


def test_both_halves_meet_in_one_slot_of_every_kind_of_store(any_store):
    log = Log(any_store, 2)
    pairs = Pairs(log, timedelta(minutes=10), 1 << 20)
    for number in range(20):
        assert pairs.offer(event("request", str(number)), NOON).outcome == "waiting"
        offered = pairs.offer(event("response", str(number)), NOON)
        assert offered.outcome == "pair"
        append(log, offered)
        pairs.settle(event("response", str(number)), offered, "counted")
    assert counts.read(any_store, log, NOON).kserve == {"waiting": 20, "counted": 20}
    any_store.do("FLUSHALL")


# what can be of no use is answered with 200, counted, and told


def test_an_unknown_model_is_counted_and_named(house, client, caplog):
    for _ in range(2):
        for half in events("v1 lists", "q-1", **{"Ce-Inferenceservicename": "nobody"}):
            assert post(client, half)["outcome"] == "unknown_model"
    assert numbers(house) == {"unknown_model": 4}
    assert [record.getMessage() for record in caplog.records if "nobody" in record.getMessage()] != []
    assert sum("nobody" in record.getMessage() for record in caplog.records) == 1


@pytest.mark.parametrize(
    "told",
    [
        {"Ce-Specversion": "2.0"},
        {"Ce-Type": "org.kubeflow.serving.inference.other"},
        {"Ce-Id": "x" * 512},
        {"Ce-Inferenceservicename": ""},
    ],
    ids=str,
)
def test_what_is_no_half_of_an_inference_is_refused(house, client, told):
    assert post(client, (headers("request", "q-1") | told, b"{}"))["outcome"] == "refused"
    assert numbers(house) == {"refused": 1}


BROKEN = {
    "no JSON": (b"instances", b'{"predictions": [1]}', "unreadable"),
    "not an object": (b"[1]", b'{"predictions": [1]}', "unreadable"),
    "a failure": (b'{"instances": [[1]]}', b'{"error": "no"}', "tensors"),
    "fewer predictions": (b'{"instances": [[1], [2]]}', b'{"predictions": [1]}', "tensors"),
    "an image": (b'{"instances": [[[1, 2], [3, 4]]]}', b'{"predictions": [1]}', "tensors"),
    "no instances": (b"{}", b'{"predictions": [1]}', "tensors"),
}


def v2(inputs: object, outputs: object = None) -> tuple[bytes, bytes, str]:
    outputs = outputs or [{"name": "o", "shape": [1], "datatype": "INT64", "data": [1]}]
    return json.dumps({"inputs": inputs}).encode(), json.dumps({"outputs": outputs}).encode(), "tensors"


TENSOR = {"name": "i", "shape": [1, 2], "datatype": "FP64", "data": [1, 2]}
BROKEN |= {
    "shape and data differ": v2([TENSOR | {"shape": [2, 2]}]),
    "no shape": v2([TENSOR | {"shape": None}]),
    "an empty shape": v2([TENSOR | {"shape": []}]),
    "no data": v2([TENSOR | {"data": None}]),
    "no name": v2([TENSOR | {"name": None}]),
    "not a tensor": v2(["tensor"]),
    "no tensors": v2([]),
    "three dimensions": v2([TENSOR | {"shape": [1, 2, 2], "data": [1, 2, 3, 4]}]),
    "rows differ": v2([TENSOR, TENSOR | {"name": "j", "shape": [2], "data": [1, 2]}]),
    "rows differ from the answer's": v2([TENSOR | {"shape": [2, 1]}]),
    "bytes that are not there": v2([TENSOR | {"parameters": {"binary_data_size": 8}}]),
}


@pytest.mark.parametrize("name", BROKEN)
def test_an_exchange_that_gives_no_rows_is_counted_with_its_reason(house, client, name):
    request, response, reason = BROKEN[name]
    post(client, (headers("request", "q-1"), request))
    assert post(client, (headers("response", "q-1"), response))["outcome"] == "refused"
    assert rejected(house) == {reason: 1}
    assert numbers(house) == {"waiting": 1, "refused": 1}
    assert held_bytes(house) == 0


def test_rows_go_through_the_same_checks_as_all_others(house, client):
    post(client, (headers("request", "q-1"), b'{"instances": [{"a": 1}, {"a": {"b": 1}}]}'))
    told = post(client, (headers("response", "q-1"), b'{"predictions": ["x", "y"]}'))
    assert (told["outcome"], told["accepted"], told["rejected_rows"]) == ("counted", 1, 1)
    assert "features.a" in told["rejected"][0]["field"]
    post(client, (headers("request", "q-2"), b'{"instances": [[1]]}'))
    assert post(client, (headers("response", "q-2"), b'{"predictions": [null]}'))["outcome"] == "refused"
    fold(house)
    assert rejected(house) == {"nested": 1, "missing": 1}


@given(st.binary(max_size=200), st.binary(max_size=200))
def test_no_body_whatever_breaks_the_reading(request_body, response_body):
    for prefix in (b"", b'{"inputs":[{"name":"a","shape":[1],"parameters":{"binary_data_size":4},"datatype":"FP32"}]}'):
        exchange = exchanges.Exchange("q", prefix + request_body, b'{"outputs": []}' + response_body)
        with pytest.raises(Unusable):
            exchanges.as_rows(exchange, (), "classification")


ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=6,
)
SIZES = st.lists(st.integers(-1, 3) | st.none(), max_size=3)
TENSORS_OF_ANY = st.fixed_dictionaries(
    {},
    optional={
        "name": ANY | st.just("a"),
        "shape": SIZES | ANY,
        "data": st.lists(ANY, max_size=6) | ANY,
        "parameters": ANY,
    },
)


@given(
    st.sampled_from([("instances", "predictions"), ("inputs", "outputs")]),
    st.lists(ANY | TENSORS_OF_ANY, max_size=3) | ANY,
    st.lists(ANY | TENSORS_OF_ANY, max_size=3) | ANY,
    st.sampled_from(["classification", "regression"]),
)
def test_every_exchange_gives_rows_that_can_be_checked_or_is_unusable(names_of, asked, answered, task):
    bodies = [json.dumps({name: value}).encode() for name, value in zip(names_of, (asked, answered), strict=True)]
    try:
        rows = exchanges.as_rows(exchanges.Exchange("q", *bodies), ("a", "b"), task)
        reason = "" if len(exchanges.as_lines(rows).splitlines()) == len(rows) else "a row is lost"
    except Unusable as problem:
        reason = problem.reason
    assert reason in {"", *REASONS}


def test_structured_mode_says_the_same(house, client):
    for half in ("request", "response"):
        data = json.loads(EXCHANGES["v1 one row"][half])
        told = {"specversion": "1.0", "id": "q-1", "type": f"org.kubeflow.serving.inference.{half}"}
        sent = {**told, "source": "x", "inferenceservicename": "iris", "data": data}
        post(client, ({"Content-Type": "application/cloudevents+json"}, json.dumps(sent).encode()))
    assert len(archived(house)) == 1


def test_more_rows_than_a_body_may_have_are_refused(server, tmp_path):
    with open_shop(server, tmp_path, POLICY, max_batch_rows=2) as house, client_of(house) as client:
        outcomes = [post(client, half)["outcome"] for half in events("v1 lists", "q-1")]
        assert outcomes == ["waiting", "refused"]
        assert rejected(house) == {"too_many_rows": 1}


def test_what_headers_say_may_be_any_text(house, client):
    metadata = json.dumps({"X-City": ["Köln"]}, ensure_ascii=False)
    for told, body in events("v1 one row", "straße", **{"Ce-Metadata": metadata}):
        raw = {name: value.encode() for name, value in told.items()}
        assert client.post("/v1/kserve", headers=raw, content=body).status_code == 200
    assert [(row["prediction_id"], row["tag_X-City"]) for row in archived(house)] == [("straße", "Köln")]


# keys, and a store that is away


def test_a_key_is_needed_and_may_be_the_password_of_the_loggers_address(house):
    half = events("v1 one row", "q-1")[0]
    _, token = create_key(house.store, "logger", ["ingest"], ["iris"], NOON)
    with client_of(house) as fresh:
        assert fresh.post("/v1/kserve", headers=half[0], content=half[1]).status_code == 401
        taken = fresh.post("/v1/kserve", headers=half[0], content=half[1], auth=("anything", token))
        assert (taken.status_code, taken.json()["outcome"]) == (200, "waiting")
        other = half[0] | {"Ce-Inferenceservicename": "shop"}
        assert fresh.post("/v1/kserve", headers=other, content=half[1], auth=("x", token)).status_code == 403
        assert fresh.post("/v1/models/iris/predictions", json=[], auth=("x", token)).status_code == 401


def test_with_the_store_away_the_logger_hears_of_it(tmp_path):
    with Embedded(tmp_path) as own, open_shop(own, tmp_path, POLICY) as house, client_of(house) as client:
        half = events("v1 one row", "q-1")[0]
        post(client, half)
        own.stop()
        answer = client.post("/v1/kserve", headers=half[0], content=half[1])
    assert (answer.status_code, answer.json()["type"]) == (503, "/problems#store-away")


def test_every_word_that_is_counted_is_explained():
    text = (Path(__file__).parent.parent / "docs/reference/reasons.md").read_text()
    for heading, known in (
        ("Outcomes of KServe events", OUTCOMES),
        ("Reasons for which exchanges are rejected", REASONS),
    ):
        told = text.partition(f"## {heading}\n")[2].partition("\n## ")[0]
        assert {line.split("`")[1] for line in told.splitlines() if line.startswith("| `")} == set(known)
