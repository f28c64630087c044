import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from intake import NOON

from service.errors import Backlogged, KeyConflict, NothingAcceptable, ServiceError
from service.intake.bodies import wire
from service.intake.log import small
from service.intake.log.entries import LABELS, PREDICTIONS
from service.intake.log.ingest import Ingest
from service.intake.log.log import Log
from service.intake.log.small import Small
from service.storage.store import Store


def parse(kind: str, model: str, body: bytes, form: wire.Form, now: Any) -> wire.Batch:
    del model
    return (wire.predictions if kind == PREDICTIONS else wire.labels)(body, form, "classification", now)


def take(store: Store, bodies: list[Small], **options: Any) -> tuple[list[small.Answer], Log]:
    log = Log(store, 2, **options)
    return small.accept_all(Ingest(log, lambda _: "1"), parse, bodies, NOON), log


def entries_of(log: Log) -> list[Any]:
    return [entry for n in range(log.partitions) for entry in log.read(n, "0-0", rows=10**6).entries]


def rows_in(log: Log) -> list[dict[str, Any]]:
    """Every row with its values; a column of nulls is as good as none."""
    rows = [
        {"kind": entry.kind, "model": entry.model, **{k: v for k, v in row.items() if v is not None}}
        for entry in entries_of(log)
        for row in entry.table().to_pylist()
    ]
    return sorted(rows, key=lambda row: json.dumps(row, sort_keys=True, default=str))


def told(answer: small.Answer) -> Any:
    if isinstance(answer, ServiceError):
        return type(answer), str(answer)
    return {name: value for name, value in answer.items() if name != "batch"}


def row(identity: int, **changed: Any) -> dict[str, Any]:
    known = {"prediction_id": f"p{identity}", "prediction": "fit", "features": {"x": 0.5, "y": "a"}, "tags": {"t": "b"}}
    return {name: value for name, value in {**known, **changed}.items() if value != "absent"}


def body(*rows: Any, key: str | None = None, form: wire.Form = "json", model: str = "m") -> Small:
    text = json.dumps(list(rows)) if form == "json" else "\n".join(map(json.dumps, rows)) + "\n"
    return Small(PREDICTIONS, model, form, text.encode(), key)


changes = st.sampled_from(
    [
        {},
        {},
        {},
        {"features": {"x": 1, "y": "a"}},
        {"features": {"x": None, "y": "c"}},
        {"features": {"x": "0.5", "y": "a"}},
        {"features": {"x": 0.5, "y": 3}},
        {"features": {"x": 0.5, "y": "a", "z": True}},
        {"features": {"x": [1.0, 2.0], "y": "a"}},
        {"features": {"x": {"deep": 1}, "y": "a"}},
        {"tags": "absent"},
        {"tags": {"t": None}},
        {"prediction": 1},
        {"prediction": 1.0},
        {"prediction": True},
        {"prediction": None},
        {"prediction_id": "absent"},
        {"prediction_id": 7},
        {"prediction_id": ""},
        {"timestamp": "2026-01-01T10:00:00Z"},
        {"timestamp": "2026-01-01T10:00:00+02:00"},
        {"timestamp": "yesterday"},
        {"timestamp": "2999-01-01T10:00:00Z"},
        {"confidence": 0.5},
        {"confidence": 7},
        {"scores": {"fit": 0.75, "returns": 0.25}},
        {"scores": {"fit": None, "returns": 0.25}},
        {"model_version": "2"},
        {"model_version": "no/good"},
        {"features": {"x": 10**30, "y": "a"}},
        {"unknown": 1},
    ]
)
broken = st.sampled_from(
    [
        b"",
        b"[",
        b"[]",
        b"{}",
        b'[{"prediction_id":"]',
        b'["}]',
        b'[{"a":1},]',
        b"[NaN]",
        b'"text"',
        b"[[1]]",
        b"\xff",
        b"[1]",
    ]
)


@st.composite
def crowds(draw: st.DrawFn) -> list[Small]:
    """Bodies of one moment, of one to three rows, with keys, without, and a few nobody can read."""
    found = []
    for number in range(draw(st.integers(2, 12))):
        key = draw(st.sampled_from([None, f"key{number}"]))
        form = draw(st.sampled_from(["json", "ndjson"]))
        model = draw(st.sampled_from(["m", "m", "n"]))
        if draw(st.integers(0, 9)) == 0:
            found.append(Small(PREDICTIONS, model, form, draw(broken), key))
        else:
            rows = [row(10 * number + at, **draw(changes)) for at in range(draw(st.integers(1, 3)))]
            found.append(body(*rows, key=key, form=form, model=model))
    return found


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(crowd=crowds())
def test_together_or_one_by_one_everybody_gets_the_same_answer_and_the_log_the_same_rows(store, crowd):
    store.do("FLUSHALL")
    answers, log = take(store, crowd)
    together = rows_in(log)
    store.do("FLUSHALL")
    alone = [take(store, [each])[0][0] for each in crowd]
    assert [told(answer) for answer in answers] == [told(answer) for answer in alone]
    assert together == rows_in(Log(store, 2))


def test_rows_that_look_alike_share_an_entry(any_store):
    answers, log = take(any_store, [body(row(n), key=f"k{n}") for n in range(40)])
    assert [answer["accepted"] for answer in answers] == [1] * 40
    assert len({answer["batch"] for answer in answers}) == 40
    assert len(entries_of(log)) == log.partitions
    assert {found["model_version"] for found in rows_in(log)} == {"1"}


def test_a_body_that_was_sent_before_is_not_counted_again(any_store):
    crowd = [body(row(n), key=f"k{n}") for n in range(10)]
    first, _ = take(any_store, crowd[:3])
    again, log = take(any_store, crowd)
    assert again[:3] == first
    assert len(rows_in(log)) == 10


def test_two_tries_of_one_body_at_one_moment_are_counted_once(any_store):
    answers, log = take(any_store, [body(row(1), key="k"), body(row(1), key="k"), body(row(2))])
    assert answers[0] == answers[1]
    assert len(rows_in(log)) == 2


def test_a_key_used_for_another_body_is_a_conflict_for_that_body_alone(any_store):
    answers, log = take(any_store, [body(row(1), key="k"), body(row(2), key="k"), body(row(3), key="l")])
    assert isinstance(answers[1], KeyConflict)
    assert answers[0]["accepted"] == answers[2]["accepted"] == 1
    assert len(rows_in(log)) == 2


def test_a_bad_row_is_told_to_its_sender_with_its_own_number(store):
    answers, log = take(
        store, [body(row(1)), body(row(2), row(3, timestamp="yesterday")), body(row(4, prediction_id=""))]
    )
    assert answers[0]["rejected"] == []
    assert [each["row"] for each in answers[1]["rejected"]] == [1]
    assert isinstance(answers[2], NothingAcceptable)
    assert len(rows_in(log)) == 2


def test_a_full_log_refuses_all_of_them_and_takes_none(store):
    first = [body(row(n)) for n in range(2)]
    take(store, first, most_rows=4)
    answers, log = take(store, [body(row(n), key=f"k{n}") for n in range(10, 30)], most_rows=4)
    refused = [isinstance(answer, Backlogged) for answer in answers]
    assert any(refused)
    assert len(rows_in(log)) == 2 + refused.count(False)


def test_labels_and_predictions_of_one_moment_do_not_mix(store):
    labels = [Small(LABELS, "m", "json", b'[{"prediction_id":"p%d","label":"fit"}]' % n, None) for n in range(3)]
    answers, log = take(store, [body(row(1)), *labels, body(row(2))])
    assert [answer["accepted"] for answer in answers] == [1] * 5
    assert sorted(found["kind"] for found in rows_in(log)) == [LABELS] * 3 + [PREDICTIONS] * 2


@pytest.mark.parametrize("word", ["always", "everysec"])
def test_the_answer_says_how_durable_the_rows_are(server, store, word):
    store.do("CONFIG", "SET", "appendfsync", word)
    fresh = Store(server.url)
    answers, _ = take(fresh, [body(row(1)), body(row(2))])
    fresh.close()
    store.do("CONFIG", "SET", "appendfsync", "always")
    assert {answer["durability"] for answer in answers} == {word}
