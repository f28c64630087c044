"""The client against the real service behind a real server, which misbehaves where a test says so."""

import asyncio
import json
import logging
import socket
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from enum import Enum
from uuid import UUID

import numpy as np
import pandas as pd
import pytest
import tidegate_client
from client_stage import TURNS, Shop, log, shop_on, talking
from houses import HOSTILE, NOON, open_shop
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tidegate_client.replies import Again, Final, Taken, read_reply
from tidegate_client.rows import encode

from service.intake.bodies.wire import predictions

NOWHERE = "http://127.0.0.1:9"


@pytest.fixture
def shop(server, tmp_path) -> Iterator[Shop]:
    with open_shop(server, tmp_path) as house, shop_on(house, tmp_path) as shop:
        yield shop


def test_what_is_logged_is_counted_with_its_labels(shop):
    with shop.connect() as client:
        log(client, range(1_203))
        for number in range(40):
            client.label(f"p-{number}", "fit", outcome={"resolved": True}, timestamp=NOON)
        assert client.flush(20)
        assert client.counts().accepted == 1_243
    assert shop.counted() == 1_203
    day = timedelta(days=1)
    assert shop.house.archive.labelled("shop", NOON - day, NOON + day).num_rows == 40


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.integers(1, 60),
    batch_rows=st.integers(1, 50),
    batch_bytes=st.integers(100, 5_000),
    spool=st.booleans(),
    turns=st.lists(st.sampled_from(TURNS), max_size=12),
)
def test_any_split_and_any_retries_count_each_row_once(shop, rows, batch_rows, batch_bytes, spool, turns):
    shop.house.store.do("FLUSHALL")
    shop.misbehave(*turns)
    where = shop.folder / "spool" if spool else False
    with shop.connect(batch_rows=batch_rows, batch_bytes=batch_bytes, spool=where) as client:
        log(client, range(rows))
        assert client.flush(20)
        assert (client.counts().accepted, client.counts().waiting) == (rows, 0)
    assert shop.counted() == rows


def test_without_the_key_the_same_retries_count_too_many(shop):
    """The control of the law above: it would see a client that makes a new key for each try."""
    shop.misbehave("lost", "lost", forgets_keys=True)
    with shop.connect() as client:
        log(client, range(10))
        assert client.flush(20)
    assert shop.counted() == 30


def test_every_try_of_a_batch_has_the_same_key(shop):
    seen = shop.misbehave("away", "garbage", "lost").seen
    with shop.connect() as client:
        log(client, range(10))
        assert client.flush(20)
    assert [turn for turn, _ in seen] == ["away", "garbage", "lost", "fine"]
    assert len({key for _, key in seen}) == 1


def test_a_batch_that_fails_holds_up_no_other(shop):
    script = shop.misbehave(lets_down_first=True)
    with shop.connect(batch_rows=10, exit_seconds=0) as client:
        log(client, range(100))
        while client.counts().accepted < 90:
            assert not client.flush(0.05)
        assert client.counts().waiting == 10
        script.first = ""
        assert client.flush(20)
    assert shop.counted() == 100


def test_threads_may_log_all_at_once(shop):
    with shop.connect() as client:
        threads = [threading.Thread(target=log, args=(client, range(n * 500, n * 500 + 500))) for n in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert client.flush(20)
        assert client.counts().logged == client.counts().accepted == 4_000
    assert shop.counted() == 4_000


def test_a_full_backlog_is_waited_for(server, tmp_path):
    with (
        open_shop(server, tmp_path, backlog_rows=1_000, partitions=1) as house,
        shop_on(house, tmp_path) as shop,
        shop.connect(batch_rows=400, exit_seconds=0) as client,
    ):
        requests = shop.misbehave().seen
        log(client, range(2_000))
        while not client.counts().accepted:
            client.flush(0.1)
        assert not client.flush(0.5)  # nobody folds: 1,000 rows fit, and the sender asks again after Retry-After
        counts = client.counts()
        assert 0 < counts.accepted <= 1_000
        assert counts.waiting == 2_000 - counts.accepted
        before = len(requests)
        for _ in range(20):
            client.flush(0.01)  # in a hurry, and yet not before the service wants it
        assert len(requests) == before


def test_rows_the_service_rejects_are_told_with_their_ids_and_said_once(shop, caplog):
    told = []
    with shop.connect(on_rejected=told.append) as client:
        for number in range(5):
            client.log(f"bad-{number}", "fit", features={"x": [1, "a"]}, timestamp=NOON)
            client.log(f"good-{number}", "fit", features={"x": [1, 2]}, timestamp=NOON)
        assert client.flush(20)
        assert (client.counts().accepted, client.counts().rejected) == (5, 5)
    assert [rejection.prediction_id for rejection in told] == [f"bad-{number}" for number in range(5)]
    assert {(rejection.kind, rejection.field) for rejection in told} == {("predictions", "features.x")}
    said = [record.getMessage() for record in caplog.records if "rejected" in record.getMessage()]
    assert len(said) == 1
    assert "'bad-0'" in said[0]
    assert "features.x must hold only numbers" in said[0]


def test_a_body_without_a_good_row_is_over_and_told(shop):
    told = []
    with shop.connect(on_rejected=told.append) as client:
        client.log("p", "fit", confidence=7, timestamp=NOON)
        assert client.flush(20)
        assert client.counts().rejected == 1
    assert [(each.prediction_id, each.field) for each in told] == [("p", "confidence")]


def test_a_callback_that_fails_does_no_harm(shop):
    with shop.connect(on_rejected=lambda _: 1 / 0) as client:
        client.log("p", "fit", confidence=7, timestamp=NOON)
        log(client, range(3))
        assert client.flush(20)
        assert client.counts().accepted == 3


def test_a_callback_may_close_the_client(shop):
    client = shop.connect(exit_seconds=0.2, on_rejected=lambda _: client.close())
    client.log("p", "fit", confidence=7, timestamp=NOON)
    client.flush(20)
    assert client.counts().rejected == 1
    client.close()


def test_an_address_that_moved_is_said(shop, caplog):
    shop.misbehave("moved")
    with shop.connect() as client:
        log(client, range(1))
        assert client.flush(20)
    assert any("http://127.0.0.1:9/elsewhere" in record.getMessage() for record in caplog.records)


def test_bodies_too_large_for_the_service_are_sent_in_parts(server, tmp_path):
    with (
        open_shop(server, tmp_path, max_batch_rows=7) as house,
        shop_on(house, tmp_path) as shop,
        shop.connect(batch_rows=100) as client,
    ):
        shop.misbehave("fine", "fine", "lost", "away")  # in the midst of the parts
        log(client, range(100))
        assert client.flush(20)
        assert client.counts().accepted == 100
        assert shop.counted() == 100


def test_a_row_too_large_alone_is_refused_and_counted(server, tmp_path):
    with (
        open_shop(server, tmp_path, max_body_bytes=1_024) as house,
        shop_on(house, tmp_path) as shop,
        shop.connect() as client,
    ):
        client.log("large", "fit", features={"text": "x" * 2_000}, timestamp=NOON)
        log(client, range(3))
        assert client.flush(20)
        assert (client.counts().accepted, client.counts().rejected) == (3, 1)


def test_compressed_bodies_are_sent_plain_where_they_are_not_read(shop):
    with shop.connect(compress=True) as client:
        log(client, range(500))
        assert client.flush(20)
        log(client, range(500, 600))
        assert client.flush(20)
    assert shop.counted() == 600


# ---- nothing of this is the caller's problem


def test_log_neither_raises_nor_waits_when_nobody_is_there(tmp_path):
    with tidegate_client.connect(NOWHERE, "shop", spool=tmp_path, exit_seconds=0) as client:
        begun = time.thread_time()
        log(client, range(1_000))
        assert time.thread_time() - begun < 1  # its own work only; a connection alone would take longer than all of it
        assert not client.flush(0.2)
        assert client.counts().waiting == 1_000
    assert client.counts().left == 1_000


def test_a_row_that_is_none_is_said_once_and_counted(caplog):
    with tidegate_client.connect(NOWHERE, "shop", spool=False, exit_seconds=0) as client:
        for _ in range(3):
            client.log(None, "fit")  # type: ignore[arg-type]
        client.log("p", None)
        client.label("", "fit")
        client.log("p", "fit", features=7)  # type: ignore[arg-type]
        client.log("p", "fit", features={"x": object()})
        client.flush(0.1)
        assert client.counts().unusable == 7
    said = [record.getMessage() for record in caplog.records if "cannot be sent" in record.getMessage()]
    assert len(said) == 5


def test_a_strict_client_raises_what_is_given_wrongly():
    client = tidegate_client.connect(NOWHERE, "shop", spool=False, strict=True)
    with pytest.raises(tidegate_client.BadRow, match="without prediction_id"):
        client.log("", "fit")


@pytest.mark.parametrize(
    "options",
    [
        {"url": "tidegate:8321"},
        {"url": ""},
        {"model": "a b"},
        {"model": ""},
        {"key": "tg_ä"},
        {"batch_rows": 0},
        {"queue_rows": -1},
        {"timeout_seconds": 0},
        {"exit_seconds": -1},
        {"spool": ""},
    ],
    ids=str,
)
def test_options_that_cannot_be_are_refused_at_once(options, monkeypatch):
    for name in ("TIDEGATE_URL", "TIDEGATE_MODEL"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(tidegate_client.BadOption):
        tidegate_client.connect(**{"url": NOWHERE, "model": "shop", **options})


def test_address_model_and_key_may_come_from_the_environment(monkeypatch):
    monkeypatch.setenv("TIDEGATE_URL", "https://tidegate.example/")
    monkeypatch.setenv("TIDEGATE_MODEL", "shop")
    monkeypatch.setenv("TIDEGATE_KEY", "tg_x")
    options = tidegate_client.connect().options
    assert options.route("labels") == "https://tidegate.example/v1/models/shop/labels"
    assert options.key == "tg_x"


def hang(connection: socket.socket) -> None:
    connection.recv(1 << 20)
    time.sleep(0.3)


def drip(connection: socket.socket) -> None:
    connection.recv(1 << 20)
    connection.sendall(b"HTTP/1.1 202 Accepted\r\nContent-Length: 100\r\n\r\n")
    for _ in range(100):
        connection.sendall(b"x")
        time.sleep(0.05)


def flood(connection: socket.socket) -> None:
    connection.recv(1 << 20)
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n")
    while True:
        connection.sendall(b"x" * (1 << 20))


def nonsense(connection: socket.socket) -> None:
    connection.recv(1 << 20)
    connection.sendall(b"\x00\xff not HTTP at all\r\n\r\n")


def deep(connection: socket.socket) -> None:
    connection.recv(1 << 20)
    connection.sendall(b"HTTP/1.1 202 Accepted\r\nContent-Length: 100000\r\n\r\n" + b"[" * 100_000)


@pytest.mark.parametrize("speak", [hang, drip, flood, nonsense, deep])
def test_a_server_that_talks_nonsense_costs_no_row(speak, tmp_path):
    with (
        talking(speak) as address,
        tidegate_client.connect(
            address, "shop", spool=tmp_path, batch_seconds=0.01, timeout_seconds=0.2, retry_seconds=0.01, exit_seconds=0
        ) as client,
    ):
        log(client, range(10))
        assert not client.flush(1)
        assert client.counts().waiting == 10


@given(
    status=st.integers(100, 599),
    headers=st.dictionaries(st.sampled_from(["content-type", "retry-after", "x"]), st.text(max_size=30), max_size=3),
    body=st.binary(max_size=60) | st.builds(lambda value: json.dumps(value).encode(), st.recursive(
        st.none() | st.integers() | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["accepted", "rejected", "rejected_rows", "row"]), inner, max_size=4),
        max_leaves=8,
    )),
    rows=st.integers(1, 5),
)  # fmt: skip
def test_no_answer_ends_a_batch_unless_it_accounts_for_every_row(status, headers, body, rows):
    reply = read_reply(status, headers, body, rows=rows)
    if isinstance(reply, Taken):
        assert status in {200, 202}
        assert reply.accepted + reply.rejected_rows == rows
    if isinstance(reply, Final):
        assert headers.get("content-type", "").startswith("application/problem+json")
    if isinstance(reply, Again):
        assert 0 <= reply.after_seconds <= 300


# ---- within bounds


def test_a_queue_that_is_full_drops_the_newest_counts_them_and_says_so(caplog, tmp_path):
    client = tidegate_client.connect(NOWHERE, "shop", spool=tmp_path, queue_rows=100, batch_seconds=60, exit_seconds=0)
    with client:
        log(client, range(150))
        counts = client.counts()
        assert (counts.logged, counts.dropped) == (150, 50)
        client.flush(0.1)
        log(client, range(10))
        assert client.counts().dropped == 50  # there is room again, although nothing could be sent
    assert client.counts().left == 110
    assert any("raise queue_rows" in record.getMessage() for record in caplog.records)


def test_memory_that_is_full_drops_the_newest_and_the_rest_is_sent(shop):
    script = shop.misbehave(*["away"] * 5)
    with shop.connect(spool=False, memory_bytes=5_000, batch_rows=10) as client:
        log(client, range(1_000))
        assert client.flush(20)
        counts = client.counts()
        assert counts.dropped > 0
        assert counts.accepted + counts.dropped == 1_000
    assert script.seen
    assert shop.counted() == counts.accepted


def test_without_a_spool_what_is_not_sent_at_the_end_is_lost_and_said(caplog):
    """The control of what the spool is for."""
    with tidegate_client.connect(NOWHERE, "shop", spool=False, exit_seconds=0) as client:
        log(client, range(10))
    assert (client.counts().dropped, client.counts().left) == (10, 0)
    assert any("10 rows were not acknowledged and are lost" in record.getMessage() for record in caplog.records)


def test_a_closed_client_starts_again_with_the_next_row(shop):
    client = shop.connect()
    for begin in (0, 10):
        log(client, range(begin, begin + 10))
        client.close(20)
        client.close()
    assert shop.counted() == 20


# ---- with an answer


def test_post_gives_the_answer_and_its_key_counts_once(shop):
    rows = [{"prediction_id": f"p-{n}", "prediction": "fit", "timestamp": NOON} for n in range(3)]
    rows.append({"prediction_id": "", "prediction": "fit", "timestamp": NOON})
    client = shop.connect()
    first = client.post(rows, key="mine")
    assert (first.accepted, first.rejected_rows, first.rejected[0].field) == (3, 1, "prediction_id")
    assert client.post(rows, key="mine") == first
    with pytest.raises(tidegate_client.Refused, match="Idempotency-Key"):
        client.post(rows[:2], key="mine")
    label = {"prediction_id": "p-1", "label": "fit", "timestamp": NOON}
    assert client.post_labels([label]).accepted == 1
    assert shop.counted() == 3
    client.close()


def test_post_tries_again_and_then_says_how_to_go_on(shop):
    row = {"prediction_id": "p", "prediction": "fit", "timestamp": NOON}
    shop.misbehave("lost", "away", "busy")
    client = shop.connect()
    assert client.post([row]).accepted == 1
    assert shop.counted() == 1
    nobody = tidegate_client.connect(NOWHERE, "shop", spool=False, retry_seconds=0.01)
    with pytest.raises(tidegate_client.Away, match="send it again with key='k'") as raised:
        nobody.post([row], key="k", seconds=0.05)
    assert raised.value.key == "k"
    stranger = tidegate_client.connect(shop.address, "stranger", spool=False)
    with pytest.raises(tidegate_client.Away, match="no model 'stranger'"):
        stranger.post([row])
    with pytest.raises(tidegate_client.BadRow, match="no predictions"):
        client.post([])
    for each in (client, nobody, stranger):
        each.close()


def test_async_code_logs_without_await_and_awaits_answers(shop):
    async def play() -> None:
        async with shop.connect() as client:
            log(client, range(100))
            assert await client.aflush(20)
            row = {"prediction_id": "q", "prediction": "fit", "timestamp": NOON}
            shop.misbehave("lost", "away")
            answers = await asyncio.gather(*(client.apost([{**row, "prediction_id": f"q-{n}"}]) for n in range(10)))
            assert [answer.accepted for answer in answers] == [1] * 10
            assert (
                await client.apost_labels([{"prediction_id": "q-0", "label": "fit", "timestamp": NOON}])
            ).accepted == 1

    asyncio.run(play())
    asyncio.run(play())  # another loop, and the same ids under new keys
    assert shop.counted() == 220


def test_the_loop_goes_on_while_a_flush_waits(tmp_path):
    async def play() -> int:
        turns = 0
        async with tidegate_client.connect(NOWHERE, "shop", spool=tmp_path, exit_seconds=0) as client:
            log(client, range(10))
            flush = asyncio.create_task(client.aflush(0.3))
            while not flush.done():
                await asyncio.sleep(0)
                turns += 1
            assert not await flush
        return turns

    assert asyncio.run(play()) > 10


# ---- values


class Channel(Enum):
    WEB = "web"


VALUES = {
    "f32": np.float32(0.5),
    "i64": np.int64(7),
    "true": np.bool_(True),
    "embedding": np.array([0.5, 1.5], np.float32),
    "decimal": Decimal("1.5"),
    "nan": float("nan"),
    "nan32": np.float32("nan"),
    "inf": float("inf"),
    "na": pd.NA,
    "nat": pd.NaT,
    "time": datetime(2026, 1, 1, tzinfo=UTC),
    "stamp": pd.Timestamp("2026-01-01T00:00:00Z"),
    "id": UUID(int=1),
    "enum": Channel.WEB,
    "text": HOSTILE + "\ud800 ä \n \r",
    "tuple": (1, 2.5),
}


def test_values_of_numpy_and_pandas_arrive_as_what_they_are():
    row = {"prediction_id": "p", "prediction": np.str_("fit"), "timestamp": NOON, "features": VALUES}
    batch = predictions(encode(row) + b"\n", "ndjson", "classification", NOON)
    assert batch.rejected == ()
    read = {name.removeprefix("feature_"): batch.table.column(name)[0].as_py() for name in batch.table.column_names}
    assert read["prediction"] == "fit"
    assert read["timestamp"] == NOON
    assert read["embedding"] == [0.5, 1.5]
    assert read["tuple"] == [1, 2.5]
    assert (read["f32"], read["i64"], read["true"], read["decimal"]) == (0.5, 7, True, 1.5)
    assert {name for name, value in read.items() if value is None} >= {"nan", "nan32", "inf", "na", "nat"}
    assert read["enum"] == "web"
    assert read["time"] == read["stamp"] == "2026-01-01T00:00:00+00:00"
    assert read["text"] == HOSTILE + "? ä \n \r"


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
        max_leaves=10,
    )
)
def test_a_row_is_always_one_line_of_json(value):
    line = encode({"prediction_id": "p", "features": {"x": value}})
    assert b"\n" not in line
    assert isinstance(json.loads(line), dict)


def test_a_row_is_what_it_was_when_it_was_logged(shop):
    features = {"x": 1.0, "channel": "web"}
    with shop.connect(batch_seconds=60) as client:
        client.log("p", "fit", features=features, timestamp=NOON)
        features["x"] = features["channel"] = None  # type: ignore[assignment]
        features["new"] = 1
        bodies = [line for entry in client.start()._queue.take() for line in map(encode, entry.rows)]
        client.start()._queue.done(1)
    assert json.loads(bodies[0])["features"] == {"x": 1.0, "channel": "web"}


def test_the_time_is_that_of_the_call_and_not_of_the_sending():
    client = tidegate_client.connect(NOWHERE, "shop", spool=False, batch_seconds=60, exit_seconds=0, model_version="7")
    before = datetime.now(UTC)
    client.log("p", "fit")
    after = datetime.now(UTC)
    entry = client.start()._queue.take()[0]
    row = json.loads(encode(next(iter(entry.rows))))
    assert before <= datetime.fromisoformat(row["timestamp"]) <= after
    assert row["model_version"] == "7"
    client.start()._queue.done(1)
    client.close()


def test_requests_of_the_client_are_not_in_the_log_of_its_program(shop, caplog):
    caplog.set_level(logging.INFO)
    with shop.connect() as client:
        log(client, range(3))
        assert client.flush(20)
    assert not [record for record in caplog.records if record.name == "httpx"]
