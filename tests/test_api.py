import json
import socket
import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from urllib.parse import quote

import httpx
import pyarrow as pa
import pytest
from houses import (
    HOSTILE,
    NOON,
    POLICY,
    ROW,
    client_of,
    counted,
    evaluate,
    fold,
    give_baseline,
    ingest,
    open_shop,
    serve,
)
from houses import with_group as grouped
from pyarrow import parquet
from streams import START, predictions

from service.evidence import reports as evidence
from service.house import House
from service.intake import counts
from service.ledger.records import DecisionRecord, Evaluation, Release, Retraining
from service.storage.embedded import Embedded
from service.web.api import create_app

DOC = (Path(__file__).parent.parent / "docs/reference/http.md").read_text()
PREDICTIONS = "/v1/models/shop/predictions"
NDJSON = {"Content-Type": "application/x-ndjson"}
JSON = {"Content-Type": "application/json"}
WISH = {"who": "ann", "why": "the winter range is out"}


@pytest.fixture
def house(server: Embedded, tmp_path) -> Iterator[House]:
    with open_shop(server, tmp_path) as opened:
        yield opened


@pytest.fixture
def client(house: House) -> Iterator[httpx.Client]:
    with client_of(house) as opened:
        yield opened


def row(number: int) -> dict:
    return {**ROW, "prediction_id": f"p-{number}"}


def problem_of(answer: httpx.Response, status: int, slug: str) -> dict:
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json"), answer.text
    told = answer.json()
    assert told["type"] == f"/problems#{slug}"
    return told


# bodies that can be taken


def test_an_array_is_answered_with_what_was_taken(house, client):
    answer = client.post(PREDICTIONS, json=[row(1), row(2)])
    assert answer.status_code == 202
    assert answer.json() == {
        "batch": answer.json()["batch"], "accepted": 2, "rejected": [], "rejected_rows": 0, "durability": "always",
    }  # fmt: skip
    assert counted(house) == 2


def test_a_key_and_body_again_give_the_same_answer_and_count_once(house, client):
    key = {"Idempotency-Key": "batch-7"}
    answers = [client.post(PREDICTIONS, json=[row(1)], headers=key) for _ in range(3)]
    assert len({answer.text for answer in answers}) == 1
    assert counted(house) == 1
    told = problem_of(client.post(PREDICTIONS, json=[row(2)], headers=key), 422, "key-conflict")
    assert "batch-7" in told["detail"]
    assert counted(house) == 1


def test_labels_are_taken_and_meet_their_predictions(house, client):
    give_baseline(house)
    client.post(PREDICTIONS, json=[row(1)])
    labels = {"prediction_id": "p-1", "label": "returns", "outcome": {"resolved": True}}
    assert client.post("/v1/models/shop/labels", json=[labels]).json()["accepted"] == 1
    fold(house)
    assert counts.read(house.store, house.log, NOON).labels["shop", "matched"] == 1


def test_the_task_of_the_policy_says_what_a_prediction_may_be(server: Embedded, tmp_path):
    policy = POLICY.replace("kind: classification, target: intent", "kind: regression").replace("[intent], ", "")
    with open_shop(server, tmp_path, policy) as house, client_of(house) as client:
        assert client.post(PREDICTIONS, json=[{**ROW, "prediction": 3.5}]).status_code == 202
        told = problem_of(client.post(PREDICTIONS, json=[ROW]), 400, "nothing-acceptable")
        assert "must be a number for a regression" in told["rejected"][0]["problem"]


def test_without_a_policy_the_task_is_that_of_the_baseline(server: Embedded, tmp_path):
    from monitors.baseline.baselines import build

    numbers = pa.table(
        {"timestamp": pa.array([NOON] * 9), "prediction": [1.5] * 9, "feature_x1": [float(i) for i in range(9)]}
    )
    with open_shop(server, tmp_path, policy="") as house, client_of(house) as client:
        house.ledger.put_baseline(build(numbers, model="price", version="1", cuts=[], task="regression"))
        assert client.post("/v1/models/price/predictions", json=[{**ROW, "prediction": 2.5}]).status_code == 202
        assert client.post("/v1/models/price/predictions", json=[ROW]).status_code == 400


# bodies that cannot: each a clear problem, nothing lost


@pytest.mark.parametrize(
    ("content", "headers", "status", "slug", "says"),
    [
        (b'[{"prediction_id": "x", ', JSON, 400, "bad-body", "not a JSON array"),
        (b'[{"prediction_id": "x", "prediction": NaN}]', JSON, 400, "nothing-acceptable", "send null"),
        (b'{"prediction_id": "x", "prediction": "fit"}', JSON, 400, "bad-body", "not a JSON array"),
        (b'[{"prediction": "fit"}]', JSON, 400, "nothing-acceptable", "prediction_id: is missing"),
        (b'[{"prediction_id": "x", "prediction": [1]}]', JSON, 400, "nothing-acceptable", "a list"),
        (b'[{"prediction_id": "x", "prediction": 1e999}]', JSON, 400, "nothing-acceptable", "out of range"),
        (b"[]", JSON, 400, "nothing-acceptable", "holds no rows"),
        (b"prediction_id,prediction\nx,fit\n", {"Content-Type": "text/csv"}, 415, "wrong-type", "application/x-ndjson"),
        (b"[]", {}, 415, "wrong-type", "a body without Content-Type"),
        (b"\x1f\x8b", {**JSON, "Content-Encoding": "gzip"}, 400, "bad-body", "cannot be unpacked as gzip"),
        (b"[]", {**JSON, "Content-Encoding": "br"}, 415, "wrong-type", "gzip, zstd"),
        (b"[]", {**JSON, "Idempotency-Key": "a b"}, 400, "bad-request", "Idempotency-Key"),
    ],
)  # fmt: skip
def test_a_bad_body_is_a_clear_problem_and_loses_nothing(house, client, content, headers, status, slug, says):
    client.post(PREDICTIONS, json=[row(1)])
    told = problem_of(client.post(PREDICTIONS, content=content, headers=headers), status, slug)
    client.post(PREDICTIONS, json=[row(2)])
    assert says in told["detail"]
    assert counted(house) == 2


def test_a_malformed_row_is_listed_and_the_others_are_taken(house, client):
    lines = [
        json.dumps(row(1)),
        '{"prediction_id": "p-2"',
        json.dumps({**row(3), "prediction": None}),
        json.dumps(row(4)),
    ]
    answer = client.post(PREDICTIONS, content="\n".join(lines), headers=NDJSON).json()
    assert (answer["accepted"], [each["row"] for each in answer["rejected"]]) == (2, [1, 2])
    assert answer["rejected"][1] == {"row": 2, "field": "prediction", "problem": "is missing"}
    assert counted(house) == 2


def test_an_unknown_model_is_told_which_there_are_and_how_to_add_one(client):
    told = problem_of(client.post("/v1/models/shpo/predictions", json=[ROW]), 404, "unknown-model")
    assert told["models"] == ["shop"]
    for hint in ("there are: shop", "policies.d", "tidegate baseline build FILE --model shpo"):
        assert hint in told["detail"]


def test_too_many_rows_are_told_the_limit(server: Embedded, tmp_path):
    with open_shop(server, tmp_path, max_batch_rows=3) as house, client_of(house) as client:
        told = problem_of(client.post(PREDICTIONS, json=[row(i) for i in range(4)]), 413, "too-many-rows")
        assert told["limit"] == 3


def test_a_full_log_asks_to_come_back(server: Embedded, tmp_path):
    with open_shop(server, tmp_path, backlog_rows=4) as house, client_of(house) as client:
        answers = [client.post(PREDICTIONS, json=[row(3 * i), row(3 * i + 1)]) for i in range(12)]
        refused = [answer for answer in answers if answer.status_code != 202]
        told = problem_of(refused[0], 429, "backlogged")
        assert "is a worker running" in told["detail"]
        assert refused[0].headers["retry-after"] == "5"
        assert counted(house) == 2 * (len(answers) - len(refused))


# bodies that are too large, too slow, too many


def test_a_body_of_100_mb_is_refused_before_it_was_sent(house, client):
    client.post(PREDICTIONS, json=[row(1)])
    sent = 0

    def chunks() -> Iterator[bytes]:
        nonlocal sent
        for _ in range(100):
            sent += 1 << 20
            yield b" " * (1 << 20)

    told = problem_of(client.post(PREDICTIONS, content=chunks(), headers=JSON), 413, "body-too-large")
    assert sent < 60 << 20
    assert told["limit"] == house.settings.max_body_bytes
    client.post(PREDICTIONS, json=[row(2)])
    assert counted(house) == 2


def test_a_body_that_says_it_is_too_large_is_refused_before_its_first_byte(house):
    head = _head(100 << 20, "Expect: 100-continue")
    with serve(create_app(house)) as address, socket.create_connection(address) as line:
        line.sendall(head)
        answer = line.makefile("rb").read()
    assert answer.startswith(b"HTTP/1.1 413")
    assert b"100 Continue" not in answer


def test_a_slow_body_is_given_up_and_holds_no_place(house):
    with serve(create_app(house, body_seconds=0.2)) as address, socket.create_connection(address) as line:
        line.sendall(_head(1000) + b"[")
        answer = line.makefile("rb").read()
    assert answer.startswith(b"HTTP/1.1 408")
    assert b"/problems#body-too-slow" in answer


def test_bodies_that_are_read_at_once_share_one_bounded_room(server: Embedded, tmp_path):
    with open_shop(server, tmp_path, max_body_bytes=1024) as house, serve(create_app(house)) as address:
        lines = [socket.create_connection(address) for _ in range(12)]
        for line in lines:
            line.sendall(_head(1020) + b" " * 1000)
        answers: list[bytes] = []
        refused = threading.Barrier(5, timeout=20)

        def listen(line: socket.socket) -> None:
            head = line.recv(65536)
            if head.startswith(b"HTTP/1.1 429"):
                answers.append(head)
                refused.wait()

        threads = [threading.Thread(target=listen, args=(line,)) for line in lines]
        for thread in threads:
            thread.start()
        refused.wait()
        for line in lines:
            line.shutdown(socket.SHUT_RDWR)
            line.close()
        for thread in threads:
            thread.join()
        assert len(answers) == 4
        assert all(b"Retry-After: 1" in answer or b"retry-after: 1" in answer for answer in answers)
        with httpx.Client(base_url=f"http://{address[0]}:{address[1]}") as client:
            assert client.post(PREDICTIONS, json=[row(1)]).status_code == 202


def test_a_sender_who_hangs_up_is_no_unexpected_error(house, caplog):
    with serve(create_app(house)) as address:
        with socket.create_connection(address) as line:
            line.sendall(_head(1000) + b"[")
        with httpx.Client(base_url=f"http://{address[0]}:{address[1]}") as client:
            assert client.post(PREDICTIONS, json=[row(1)]).status_code == 202
    assert [r.getMessage() for r in caplog.records if "unexpected" in r.getMessage()] == []


def _head(length: int, *more: str) -> bytes:
    lines = [f"POST {PREDICTIONS} HTTP/1.1", "Host: localhost", "Content-Type: application/json"]
    return "\r\n".join([*lines, f"Content-Length: {length}", *more, "", ""]).encode()


# the store


def test_with_the_store_away_the_process_lives_and_says_so(tmp_path):
    with Embedded(tmp_path / "own") as own, open_shop(own, tmp_path) as house, client_of(house) as client:
        assert client.get("/readyz").json() == {"ready": True}
        own.stop()
        told = problem_of(client.post(PREDICTIONS, json=[ROW]), 503, "store-away")
        assert "does not answer" in told["detail"]
        problem_of(client.get("/readyz"), 503, "store-away")
        assert client.get("/healthz").status_code == 200
        metrics = client.get("/metrics")
        assert (metrics.status_code, "tidegate_store_up 0.0" in metrics.text) == (200, True)
        page = client.get("/")
        assert (page.status_code, "The store is away" in page.text) == (503, True)


# models and segments


def test_models_show_their_state_before_and_after_the_first_evaluation(house, client):
    waiting = client.get("/v1/models").json()["models"][0]
    assert (waiting["state"], "tidegate baseline build FILE" in waiting["blind"]) == ("blind", True)
    give_baseline(house)
    assert client.get("/v1/models").json()["models"][0]["state"] is None
    evaluate(house)
    shown = client.get("/v1/models/shop").json()
    assert (shown["champion"], shown["task"], shown["owner"]) == ("1", "classification", "ops@shop.example")
    assert shown["state"] in {"ok", "watch"}
    assert shown["reasons"][0]["text"]
    assert shown["baselines"] == house.ledger.baselines("shop")


def test_segments_show_size_evidence_threshold_and_rows(house, client):
    evaluate(house)
    shown = client.get("/v1/models/shop/segments").json()
    names = [each["segment"] for each in shown["segments"]]
    assert {"all", "intent=fit", "group=a"} <= set(names)
    first = shown["segments"][0]
    assert (first["segment"], first["rows"]) == ("all", 2800)
    assert {"size", "uncorrected", "threshold", "evidence_ln"} <= set(first["columns"][0])
    assert 200 <= first["columns"][0]["rows"] <= 2800
    assert first["columns"][0]["borrowed"] == 0
    assert any(column["borrowed"] for each in shown["segments"] for column in each["columns"])
    assert first["performance"]["labelled"] > 0
    assert shown["evidence_threshold_ln"] > 0


def test_a_segment_shows_both_distributions(house, client):
    evaluate(house, predictions(2_800, seed=1, shift=3.0))
    shown = client.get("/v1/models/shop/segments/intent=fit").json()
    assert shown["segment"] == "intent=fit"
    by_column = {each["column"]: each for each in shown["distributions"]}
    assert by_column["channel"]["bins"] == ["app", "web", "all others"]
    moved = by_column["x1"]
    assert len(moved["bins"]) == len(moved["baseline"]) == len(moved["current"])
    assert sum(moved["baseline"]) == pytest.approx(1)
    assert sum(moved["current"]) == pytest.approx(1)
    assert moved["current"][-1] > 0.9
    assert moved["baseline"][-1] < 0.2


def test_the_current_distribution_is_that_of_the_last_24_slices(house, client):
    day = predictions(1_440, seed=5, start=START + 129_600)  # noon to noon, x1 around 0
    before = predictions(1_000, seed=6, shift=9.0)
    evaluate(house, pa.concat_tables([before, day]))
    shown = client.get("/v1/models/shop/segments/all").json()
    moved = next(each for each in shown["distributions"] if each["column"] == "x1")
    assert moved["current"][-1] < 0.3


def test_a_segment_may_have_any_name(house, client):
    name = f"a/b {HOSTILE}?&#%"
    give_baseline(house, rows=grouped(predictions(3_000, seed=99, start=START - 180_000), name))
    evaluate(house, grouped(predictions(2_800, seed=1), name))
    shown = client.get(f"/v1/models/shop/segments/{quote(f'group={name}', safe='')}")
    assert shown.json()["segment"] == f"group={name}"


def test_an_unknown_segment_is_told_which_there_are(house, client):
    assert "It has no baseline" in problem_of(client.get("/v1/models/shop/segments/all"), 404, "unknown")["detail"]
    give_baseline(house)
    assert "not evaluated yet" in problem_of(client.get("/v1/models/shop/segments/all"), 404, "unknown")["detail"]
    evaluate(house)
    told = problem_of(client.get("/v1/models/shop/segments/intent=fitt"), 404, "unknown")
    assert "intent=fit" in told["detail"]


# decisions


def keep_decision(house: House, action: str = "retrain", reasons: tuple = ()) -> DecisionRecord:
    identity = f"d-shop-{NOON:%Y%m%dT%H%M%S}"
    record = DecisionRecord(identity, "shop", "1", NOON, action, reasons, {"all": "ok"}, ("all",), None, "p", "b")
    evaluation = Evaluation("shop", "1", at=NOON, action=action, decision=identity, reasons=reasons)
    house.ledger.record(evaluation, record, ["decisions:" + action])
    return record


def test_a_decision_shows_every_reason_under_both_addresses(house, client):
    evaluate(house)
    listed = client.get("/v1/models/shop/decisions").json()["decisions"]
    assert len(listed) == 1
    assert {"code", "met", "segment", "observed", "limit", "text"} <= set(listed[0]["reasons"][0])
    identity = listed[0]["id"]
    both = [client.get(f"/v1/{where}decisions/{identity}").json() for where in ("", "models/shop/")]
    assert both == [listed[0], listed[0]]
    problem_of(client.get("/v1/decisions/d-nope"), 404, "unknown")


def test_evidence_is_served_when_made_and_may_not_act_in_our_name(house, client):
    record = keep_decision(house)
    address = f"/v1/decisions/{record.id}/evidence"
    assert "no report" in problem_of(client.get(address), 404, "unknown")["detail"]
    folder = evidence.folder_of(house.settings.data_dir, record.id)
    folder.mkdir(parents=True)
    assert problem_of(client.get(address), 404, "not-yet")["detail"].startswith("the report of")
    assert client.get(address).headers["retry-after"]
    (folder / "report.html").write_text("<h1>Drift</h1>")
    for where in (address, f"/v1/models/shop/decisions/{record.id}/evidence"):
        report = client.get(where)
        assert (report.status_code, report.text) == (200, "<h1>Drift</h1>")
        assert report.headers["content-security-policy"].startswith("sandbox allow-scripts;")


def test_a_hold_says_that_it_has_no_evidence_report(house, client):
    record = keep_decision(house, "hold")
    told = problem_of(client.get(f"/v1/decisions/{record.id}/evidence"), 404, "unknown")
    assert "made for a retrain only" in told["detail"]


# retrainings and releases


def retraining(state: str = "training", number: int = 1) -> Retraining:
    return Retraining(
        f"r-{number}", "shop", "d", "1", state, NOON + timedelta(minutes=number), ("performance_drop",), ("all",)
    )


def test_retrainings_are_listed_newest_first_and_shown(house, client):
    for number in (1, 2, 3):
        house.ledger.open_retraining(retraining(number=number))
    for address in ("/v1/retrainings", "/v1/models/shop/retrainings"):
        assert [r["id"] for r in client.get(address).json()["retrainings"]] == ["r-3", "r-2", "r-1"]
        assert [r["id"] for r in client.get(f"{address}?limit=1").json()["retrainings"]] == ["r-3"]
    assert client.get("/v1/retrainings/r-2").json()["state"] == "training"
    problem_of(client.get("/v1/retrainings/r-9"), 404, "unknown")


def test_a_wish_for_a_retraining_is_kept_with_who_and_why(house, client):
    answer = client.post("/v1/models/shop/retrain", json=WISH)
    assert (answer.status_code, answer.json()["verb"]) == (202, "retrain")
    kept = house.ledger.request("shop", "retrain")
    assert (kept.who, kept.why, kept.at) == (WISH["who"], WISH["why"], NOON)


@pytest.mark.parametrize(
    "body", [{}, {"who": "ann"}, {"who": " ", "why": "x"}, {"who": "ann", "why": ""}, {**WISH, "wy": 1}, [], "x",
             {"who": "a" * 2000, "why": "x"}],
)  # fmt: skip
def test_a_wish_without_who_or_why_is_no_wish(house, client, body):
    problem_of(client.post("/v1/models/shop/retrain", json=body), 400, "bad-request")
    assert house.ledger.request("shop", "retrain") is None


def test_a_form_of_another_page_cannot_wish(client):
    answer = client.post("/v1/models/shop/retrain", content=json.dumps(WISH), headers={"Content-Type": "text/plain"})
    problem_of(answer, 415, "wrong-type")


def test_a_rollback_goes_back_version_by_version_and_not_beyond_the_first(house, client):
    problem_of(client.post("/v1/models/shop/rollback", json=WISH), 409, "not-possible")
    for version in ("1", "2", "3"):
        give_baseline(house, version)
    for version, before in (("2", "1"), ("3", "2")):
        house.ledger.move_champion(Release("shop", version, before, NOON, "release", "better"))
    answers = [client.post("/v1/models/shop/rollback", json=WISH) for _ in range(3)]
    assert [a.json().get("version") for a in answers] == ["2", "1", None]
    assert "1 is its first version" in problem_of(answers[2], 409, "not-possible")["detail"]
    listed = client.get("/v1/models/shop/releases").json()
    assert listed["champion"] == house.ledger.champion("shop") == "1"
    assert [r["kind"] for r in listed["releases"]] == ["rollback", "rollback", "release", "release", "first"]
    assert listed["releases"][0]["reason"] == "ann: the winter range is out"
    assert [r["version"] for r in client.get("/v1/models/shop/releases?limit=2").json()["releases"]] == ["1", "2"]


# baselines


def test_a_first_baseline_from_a_file_makes_its_version_the_champion(client):
    table = predictions(2_000, seed=3)
    table = table.rename_columns([n.removeprefix("feature_").removeprefix("tag_") for n in table.column_names])
    sink = pa.BufferOutputStream()
    parquet.write_table(table, sink)
    body = bytes(sink.getvalue())
    headers = {"Content-Type": "application/vnd.apache.parquet"}
    address = "/v1/models/shop/baselines"
    assert "?version=" in problem_of(client.post(address, content=body, headers=headers), 400, "bad-request")["detail"]
    built = client.post(f"{address}?version=7", content=body, headers=headers)
    assert built.status_code == 201, built.text
    assert (built.json()["champion"], built.json()["rows"], built.json()["labelled"]) == (True, 2000, 2000)
    assert {"all", "intent=fit", "group=a"} <= set(built.json()["segments"])
    assert client.get(address).json()["baselines"] == [
        {"version": "7", "fingerprint": built.json()["fingerprint"], "champion": True}
    ]
    shown = client.get(f"{address}/7").json()
    assert {c["column"] for c in shown["columns"]} >= {"prediction", "confidence", "x1", "text.length"}
    assert "versions with one: 7" in problem_of(client.get(f"{address}/8"), 404, "unknown")["detail"]
    assert client.post(f"{address}?version=8", content=body, headers=headers).json()["champion"] is False


def test_a_baseline_from_lines_needs_its_columns(client):
    address, lines = "/v1/models/shop/baselines?version=1", '{"prediction": "fit", "x1": 1.5}\n' * 20
    with_times = lines.replace("{", '{"timestamp": "2026-01-01T00:00:00Z", ')
    assert client.post(address, content=with_times, headers=NDJSON).json()["rows"] == 20
    told = problem_of(client.post(address, content='{"x1": 1}\n', headers=NDJSON), 400, "bad-request")
    assert "no column 'prediction'" in told["detail"]


def test_a_file_that_is_none_says_so_without_our_paths(client):
    headers = {"Content-Type": "application/vnd.apache.parquet"}
    answer = client.post("/v1/models/shop/baselines?version=1", content=b"PAR1 not", headers=headers)
    told = problem_of(answer, 400, "bad-request")
    assert told["detail"].startswith("the body: is not a Parquet file")
    assert "/tmp" not in answer.text  # noqa: S108  the folder of the upload must not show


def test_a_small_file_of_many_bytes_is_refused_by_its_footer(client):
    rows = 40_000_000
    table = pa.table({"prediction": pa.DictionaryArray.from_arrays(pa.array([0] * 1000, pa.int8()), ["fit"])})
    table = pa.concat_tables([table] * (rows // 1000))
    sink = pa.BufferOutputStream()
    parquet.write_table(table, sink, compression="zstd")
    headers = {"Content-Type": "application/vnd.apache.parquet"}
    answer = client.post("/v1/models/shop/baselines?version=1", content=bytes(sink.getvalue()), headers=headers)
    assert "take a sample" in problem_of(answer, 400, "bad-request")["detail"]


def test_a_baseline_is_built_from_the_archive(house, client):
    span = {"from": "archive", "version": "1", "since": "2026-01-01T00:00:00Z", "until": "2026-01-02T00:00:00Z"}
    told = problem_of(client.post("/v1/models/shop/baselines", json=span), 422, "cannot-measure")
    assert "the archive has no predictions of shop 1" in told["detail"]
    ingest(house, predictions(2_000, seed=1))
    built = client.post("/v1/models/shop/baselines", json=span).json()
    assert (built["rows"], built["labelled"], built["champion"]) == (1440, 1440, True)
    assert house.ledger.champion("shop") == "1"


def test_a_baseline_from_elsewhere_is_told_what_is_missing(client):
    problem_of(client.post("/v1/models/shop/baselines", json={"from": "moon", "version": "1"}), 400, "bad-request")
    told = problem_of(client.post("/v1/models/shop/baselines", json={"from": "archive"}), 400, "bad-request")
    assert "version" in told["detail"]


# policies


def test_policies_are_shown_with_what_they_leave_to_defaults(house, client):
    assert [p["model"] for p in client.get("/v1/policies").json()["policies"]] == ["shop"]
    shown = client.get("/v1/policies/shop").json()
    assert shown["text"] == POLICY
    assert shown["policy"]["persist"] == 2
    house.ledger.add_model("bank")
    assert "has no policy" in problem_of(client.get("/v1/policies/bank"), 404, "unknown")["detail"]


def test_a_bad_edit_shows_while_the_last_good_policy_stays(house, client):
    (house.policies.folder / "shop.yaml").write_text(POLICY + "persist: often\n")
    (house.policies.folder / "zoo.yaml").write_text("model: zoo\n")
    house.policies.reload()
    listed = client.get("/v1/policies").json()
    assert listed["policies"][0]["current"] is False
    assert "shop.yaml:9:10: persist" in listed["policies"][0]["problem"]
    assert "zoo.yaml" in listed["problems"][0]["file"]


@pytest.mark.parametrize("kind", ["text/yaml", "application/yaml"])
def test_a_policy_text_is_checked_with_line_and_column(client, kind):
    address, headers = "/v1/policies/check", {"Content-Type": kind}
    good = client.post(address, content=POLICY, headers=headers).json()
    assert (good["valid"], good["problems"], good["model"]) == (True, [], "shop")
    bad = client.post(address, content="model: shop\ntask: {kind: clasification}\n", headers=headers)
    assert (bad.status_code, bad.json()["valid"]) == (200, False)
    assert (bad.json()["problems"][0]["line"], bad.json()["problems"][0]["column"]) == (2, 14)
    broken = client.post(address, content=b"model: shop\n  x: \xff", headers=headers).json()
    assert (broken["valid"], broken["problems"][0]["line"], broken["problems"][0]["column"]) == (False, 2, 6)
    problem_of(client.post(address, json={}), 415, "wrong-type")


def test_a_policy_text_is_checked_over_the_defaults_of_the_folder(house, client):
    (house.policies.folder / "defaults.yaml").write_text("# ours\nperformance: {metric: mae}\n")
    (house.policies.folder / "shop-strict.yaml").write_text(POLICY + "shadow: true\nperformance: {metric: accuracy}\n")
    house.policies.reload()
    listed = client.get("/v1/policies").json()
    assert listed["inherits"] == "defaults.yaml"
    assert [shadow["file"] for shadow in listed["shadows"]] == ["shop-strict.yaml"]
    assert "defaults.yaml:2:23: performance.metric" in listed["policies"][0]["problem"]
    text = "model: shop\ntask: {kind: classification}\n"
    told = client.post("/v1/policies/check", content=text, headers={"Content-Type": "text/yaml"}).json()
    assert [(p["file"], p["line"], p["column"]) for p in told["problems"]] == [("defaults.yaml", 2, 23)]


# the whole


def test_the_documentation_has_every_route(house):
    paths = create_app(house).openapi()["paths"]
    missing = [
        f"{method.upper()} {path}"
        for path, methods in paths.items()
        for method in methods
        if f"`{method.upper()} {path}`" not in DOC
    ]
    assert missing == []
    body = paths["/v1/models/{model}/predictions"]["post"]["requestBody"]["content"]
    assert set(body) == {"application/json", "application/x-ndjson", "application/vnd.apache.arrow.stream"}


def test_metrics_show_what_was_taken_and_read(house, client):
    evaluate(house)
    text = client.get("/metrics").text
    assert 'tidegate_predictions_total{model="shop"} 2800.0' in text
    assert 'tidegate_segment_state{model="shop",segment="all",state="fault"} 0.0' in text
