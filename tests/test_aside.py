"""Batches set aside: nothing that was accepted is lost or counted twice, whatever is wrong with it and whoever acts."""

import json
import os
import random
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deadly import DEADLY
from houses import NOON, client_of, evaluate, give_baseline, open_shop
from houses import fold as fold_house
from intake import BASELINE, Intake, batch, label_rows, sum_of

from monitors.counting.profiles import fold
from service.cli import main
from service.errors import Backlogged, StoreFull
from service.intake import columns
from service.intake.archive.archiving import Roll
from service.intake.bodies.wire import Batch
from service.intake.folding import aside
from service.intake.folding.aside import NotAside
from service.intake.folding.worker import Worker
from service.storage import keys
from service.web.auth import create_key

# A baseline whose texts cannot be read: the fold raises on rows that have some, as it would by a mistake of ours.
BROKEN = replace(
    BASELINE,
    layout=replace(BASELINE.layout, columns=tuple(replace(c, learnt=None) for c in BASELINE.layout.columns)),
)


def expected(table: pa.Table) -> np.ndarray:
    return sum_of(fold(BASELINE.layout, table, BASELINE.slice_seconds), BASELINE.layout.width)


def uncountable(intake: Intake, table: pa.Table, key: str | None = None) -> aside.Aside:
    """The batch, set aside by a fold that fails on it."""
    intake.baselines = {"1": BROKEN}
    intake.post(table, key)
    intake.run()
    intake.baselines = {"1": BASELINE}
    return aside.list_all(intake.store, intake.log.partitions)[0]


def put_raw(intake: Intake, body: bytes, kind: str = "p", rows: int = 20) -> None:
    """A batch as a damaged store would hold it."""
    words = ("k", kind, "m", "m", "n", rows, "t", 0, "r", "{}", "b", body)
    intake.store.do("XADD", keys.log("p0"), "*", *words)
    intake.store.do("HINCRBY", keys.state("p0"), "appended", rows)


def replay(intake: Intake, found: aside.Aside) -> str:
    return aside.replay(intake.store, intake.log.partitions, found.id, intake.now)


def archived(intake: Intake, kind: str = "predictions") -> list[str]:
    files = intake.folder.glob(f"{kind}/**/*.parquet")
    return [name for file in files for name in pq.ParquetFile(file).read(["prediction_id"]).column(0).to_pylist()]


def test_what_could_not_be_counted_is_counted_once_when_it_is_replayed(any_store, tmp_path):
    intake = Intake(any_store, tmp_path, partitions=1)
    table = batch(60)
    found = uncountable(intake, table.slice(0, 40))
    intake.post(table.slice(40, 20))
    intake.run()
    assert (found.model, found.kind, found.rows, found.at) == ("m", "predictions", 40, intake.now)
    assert found.reason.startswith("it cannot be counted: ")
    assert intake.counted()[0, 0] == 20
    replay(intake, found)
    intake.run()
    np.testing.assert_allclose(intake.counted(), expected(table))
    numbers = intake.numbers()
    assert (numbers.predictions["m"], numbers.backlog, numbers.aside) == (60, 0, 0)
    assert aside.list_all(any_store, 1) == []


def test_rows_that_others_could_read_are_archived_and_labelled_once(store, tmp_path):
    intake = Intake(store, tmp_path, partitions=1, roll=Roll(rows=10))
    table = batch(40)
    ids = table.column("prediction_id").to_pylist()
    found = uncountable(intake, table)
    assert found.is_recount
    intake.label(ids, ["fit"] * 40)
    intake.run()
    replay(intake, found)
    for _ in range(3):
        intake.run()
    assert sorted(archived(intake)) == sorted(ids)
    assert intake.numbers().labels == {("m", "matched"): 40}
    assert intake.counted_labels()[0, 0] == 40
    assert intake.counted()[0, 0] == 40
    state = dict(zip(*[iter(store.do("HGETALL", keys.state("p0")))] * 2, strict=True))
    assert state[b"appended"] == state[b"folded"] == state[b"archived_rows"] == b"120"
    assert state[b"aside_rows"] == b"0"


def test_what_nobody_could_read_goes_the_whole_way_once_it_can_be_read(store, tmp_path):
    intake = Intake(store, tmp_path, partitions=1, roll=Roll(rows=10))
    table = batch(20)
    ids = table.column("prediction_id").to_pylist()
    labels = label_rows(ids, ["fit"] * 20)
    put_raw(intake, b"no arrow at all")
    put_raw(intake, b"nor this", kind="l")
    intake.run()
    found = {each.kind: each for each in aside.list_all(store, 1)}
    assert set(found) == {"predictions", "labels"}
    assert intake.numbers().predictions["m"] == 0
    # What a newer build would read of them.
    for kind, rows in (("predictions", table), ("labels", labels)):
        store.do("SET", keys.aside_body("p0", found[kind].id.partition("-")[2]), columns.pack(rows))
        replay(intake, found[kind])
    for _ in range(3):
        intake.run()
    np.testing.assert_allclose(intake.counted(), expected(table))
    assert (intake.numbers().predictions["m"], intake.numbers().labels) == (20, {("m", "matched"): 20})
    assert sorted(archived(intake)) == sorted(archived(intake, "labels")) == sorted(ids)


def test_what_is_still_wrong_is_set_aside_again(store, tmp_path):
    intake = Intake(store, tmp_path, partitions=1)
    put_raw(intake, b"no arrow at all")
    intake.run()
    (first,) = aside.list_all(store, 1)
    new = replay(intake, first)
    intake.run()
    (second,) = aside.list_all(store, 1)
    assert second.id == new != first.id
    assert second.reason == first.reason


def test_one_of_many_who_replay_or_discard_at_once_does(store, tmp_path):
    intake = Intake(store, tmp_path, partitions=1)
    found = uncountable(intake, batch(30))

    def act(number: int) -> str:
        try:
            if number % 2:
                return replay(intake, found)
            aside.discard(store, 1, found.id, "ops", "test", intake.now)
        except NotAside:
            return ""
        return "discarded"

    with ThreadPoolExecutor(8) as pool:
        done = [each for each in pool.map(act, range(16)) if each]
    intake.run()
    assert len(done) == 1
    assert intake.counted()[0, 0] == (0 if done == ["discarded"] else 30)


def test_every_accepted_row_is_counted_aside_or_discarded_by_name(store, tmp_path):
    intake, chance = Intake(store, tmp_path, partitions=2), random.Random(4)
    sent = 0
    for number in range(40):
        rows = chance.randint(1, 30)
        table = batch(rows, seed=number)
        sent += rows
        if chance.random() < 0.4:
            uncountable(intake, table, f"key{number}")
        else:
            intake.post(table, f"key{number}")
        waiting = aside.list_all(store, 2)
        if waiting and chance.random() < 0.5:
            one = chance.choice(waiting)
            if chance.random() < 0.6:
                replay(intake, one)
            else:
                aside.discard(store, 2, one.id, "ops", "test", intake.now)
        if chance.random() < 0.3:
            intake.worker = intake.new_worker()
    intake.run()
    waiting, gone = aside.list_all(store, 2), aside.list_discarded(store, 2, 1000)
    assert waiting
    assert gone
    assert intake.counted()[0, 0] + sum(e.rows for e in waiting) + sum(e.rows for e in gone) == sent
    assert intake.numbers().predictions["m"] == sent


def test_what_is_aside_takes_room_so_that_it_cannot_fill_the_store_and_is_never_dropped(store, tmp_path):
    intake = Intake(store, tmp_path, partitions=1, roll=Roll(rows=1))
    intake.log._most_rows = 100
    found = [uncountable(intake, batch(30, seed=number)) for number in range(3)]
    with pytest.raises(Backlogged):
        intake.post(batch(30, seed=9), "later")
    assert len(aside.list_all(store, 1)) == 3
    aside.discard(store, 1, found[0].id, "ops", "test", intake.now)
    intake.post(batch(30, seed=9), "later")


def test_a_full_store_refuses_a_replay_and_keeps_the_batch(store, tmp_path):
    intake = Intake(store, tmp_path, partitions=1)
    found = uncountable(intake, batch(30))
    store.do("CONFIG", "SET", "maxmemory", 1)
    try:
        with pytest.raises(StoreFull):
            replay(intake, found)
    finally:
        store.do("CONFIG", "SET", "maxmemory", 0)
    assert aside.list_all(store, 1) == [found]
    replay(intake, found)
    intake.run()
    assert intake.counted()[0, 0] == 30


@pytest.mark.parametrize("identity", ["", "p0", "p0-", "p0-1-0", "p9-1-0", "labels-1-0", "p0-1-0:body"])
def test_an_id_of_nothing_is_told(store, tmp_path, identity):
    Intake(store, tmp_path, partitions=1)
    for act in (aside.find, lambda s, p, i: aside.replay(s, p, i, NOON)):
        with pytest.raises(NotAside, match="aside list"):
            act(store, 1, identity)


# ---- what ends the process that counts it


def test_rows_that_end_the_process_are_found_by_rehearsal_and_set_aside_unread(server, store, tmp_path):
    intake = Intake(store, tmp_path / "archive", partitions=1)
    table = batch(40)
    ids = [f"{DEADLY}-{row}" for row in range(20)]
    killer = table.slice(0, 20).set_column(0, "prediction_id", pa.array(ids))
    intake.post(killer)
    intake.post(table.slice(20, 20))
    folder = tmp_path / "archive"
    command = [sys.executable, str(Path(__file__).with_name("deadly.py")), str(folder), server.url, "5"]
    root = Path(__file__).parents[1]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(root), str(root / "tests")])}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.stdout.split() == ["-9", "-9", "-9", "0", "0"], done.stderr
    (found,) = aside.list_all(store, 1)
    assert found.is_deadly
    assert found.reason == "it ends the process that counts it: it was ended by SIGKILL"
    np.testing.assert_allclose(intake.counted(), expected(table.slice(20, 20)))
    intake.run()
    assert intake.numbers().backlog == 0
    # In this process nobody dies of it: a build that is mended.
    replay(intake, found)
    intake.label(ids, ["fit"] * 20)
    intake.run()
    np.testing.assert_allclose(intake.counted(), expected(table))
    assert intake.numbers().labels == {("m", "matched"): 20}
    assert intake.numbers().predictions["m"] == 40


def test_processes_killed_from_outside_set_nothing_aside(store, tmp_path):
    intake = Intake(store, tmp_path, partitions=1)
    table = batch(40)
    intake.post(table)
    # Lives that end before their first commit.
    for _ in range(10):
        intake.new_worker().acquire()
    assert store.do("HGET", keys.state("p0"), "falls") == b"9"
    intake.worker = intake.new_worker()
    intake.run()
    assert aside.list_all(store, 1) == []
    np.testing.assert_allclose(intake.counted(), expected(table))


def test_only_owners_who_fell_where_they_began_are_suspicious(store, tmp_path):
    intake = Intake(store, tmp_path, partitions=1)

    def falls_after(live: Callable[[Worker], object]) -> int:
        worker = intake.new_worker()
        worker.acquire()
        found = int(store.do("HGET", keys.state("p0"), "falls"))
        live(worker)
        return found

    def lose_and_claim_again(worker: Worker) -> None:
        worker._partitions[0].let_go()
        worker.acquire()

    def fold_a_batch(worker: Worker) -> None:
        intake.post(batch(10))
        worker.step()

    die = id
    assert [falls_after(each) for each in (die, die, lose_and_claim_again, die)] == [0, 1, 2, 3]
    assert [falls_after(each) for each in (Worker.release, die, fold_a_batch, die, die)] == [4, 0, 1, 0, 1]


# ---- how people see it


def uncountable_of_shop(house) -> aside.Aside:
    """A batch of the shop whose rows no build can read."""
    words = ("k", "p", "m", "shop", "n", 20, "t", 0, "r", "{}", "b", b"no arrow at all")
    house.store.do("XADD", keys.log("p0"), "*", *words)
    house.store.do("HINCRBY", keys.state("p0"), "appended", 20)
    fold_house(house)
    return aside.list_all(house.store, 2)[0]


@pytest.mark.usefixtures("store")
def test_people_see_what_is_aside_and_act_on_it_over_http(server, tmp_path):
    with open_shop(server, tmp_path) as house, client_of(house) as client:
        evaluate(house)
        assert client.get("/v1/aside").json() == {"batches": 0, "rows": 0, "aside": [], "discarded": []}
        assert "tidegate_aside_batches 0.0" in client.get("/metrics").text
        found = uncountable_of_shop(house)
        (listed,) = client.get("/v1/aside").json()["aside"]
        assert (listed["id"], listed["rows"], listed["model"]) == (found.id, 20, "shop")
        assert "not a readable Arrow stream" in listed["reason"]
        assert "tidegate_aside_batches 1.0" in client.get("/metrics").text
        page = client.get("/").text
        assert "<strong>1 accepted batch could not be counted</strong>" in page
        assert found.id in page
        shown = client.get(f"/v1/aside/{found.id}").json()
        assert shown["sample"] is None
        assert "not a readable Arrow stream" in shown["unreadable"]
        body = keys.aside_body("p0", found.id.partition("-")[2])
        house.store.do("SET", body, columns.pack(batch(20)))
        shown = client.get(f"/v1/aside/{found.id}").json()
        assert shown["unreadable"] is None
        assert [row["prediction_id"] for row in shown["sample"]] == ["0-0", "0-1", "0-2", "0-3", "0-4"]
        assert shown["columns"]["feature_x1"] == "double"
        answer = client.post(f"/v1/aside/{found.id}/replay")
        assert (answer.status_code, answer.json()["rows"]) == (200, 20)
        again = client.post(f"/v1/aside/{found.id}/replay")
        assert (again.status_code, again.json()["type"]) == (404, "/problems#not-aside")
        other = uncountable_of_shop(house)
        wish = {"who": "ops@shop.example", "why": "a test of the sender"}
        assert client.post(f"/v1/aside/{other.id}/discard", json={}).status_code == 400
        assert client.post(f"/v1/aside/{other.id}/discard", json=wish).status_code == 200
        (gone,) = client.get("/v1/aside").json()["discarded"]
        assert {name: gone[name] for name in ("id", "rows", *wish)} == {"id": other.id, "rows": 20, **wish}


@pytest.mark.usefixtures("store")
def test_only_those_who_may_see_the_model_see_its_batches_and_only_operators_act(server, tmp_path):
    with open_shop(server, tmp_path) as house, client_of(house) as client:
        give_baseline(house)
        found = uncountable_of_shop(house)
        wanted = {"reader": (["read"], []), "other": (["operate", "read"], ["boots"])}
        tokens = {name: create_key(house.store, name, *each, NOON)[1] for name, each in wanted.items()}
        codes = {}
        for name, key in tokens.items():
            headers = {"Authorization": f"Bearer {key}"}
            listed = client.get("/v1/aside", headers=headers).json()["aside"]
            replayed = client.post(f"/v1/aside/{found.id}/replay", headers=headers).status_code
            codes[name] = (len(listed), client.get(f"/v1/aside/{found.id}", headers=headers).status_code, replayed)
        assert codes == {"reader": (1, 403, 403), "other": (0, 404, 404)}


@pytest.mark.usefixtures("store")
def test_the_command_line_lists_shows_replays_and_discards(server, tmp_path, capsys):
    with open_shop(server, tmp_path) as house, client_of(house) as client:
        give_baseline(house)
        url = ["--url", str(client.base_url)]
        assert main(["aside", "list", *url]) == 0
        assert capsys.readouterr().out == "no batch is aside\n"
        found = uncountable_of_shop(house)
        main(["aside", "list", *url])
        assert f"{found.id}  shop  20 rows of predictions: not a readable Arrow stream" in capsys.readouterr().out
        main(["aside", "show", found.id, *url])
        assert json.loads(capsys.readouterr().out)["id"] == found.id
        main(["aside", "replay", found.id, *url])
        assert capsys.readouterr().out.startswith("20 rows of shop are back in the log as p0-")
        assert main(["aside", "replay", found.id, *url]) == 1
        assert "was replayed or discarded" in capsys.readouterr().err
        fold_house(house)
        (again,) = aside.list_all(house.store, 2)
        main(["aside", "discard", again.id, "--why", "of no use", "--who", "ops", *url])
        main(["aside", "list", *url])
        assert "20 rows discarded by ops: of no use" in capsys.readouterr().out


def test_a_body_sent_again_after_it_was_set_aside_is_not_taken_twice(store, tmp_path):
    intake = Intake(store, tmp_path, partitions=1)
    uncountable(intake, batch(30), "key")
    intake.ingest.accept_predictions("m", Batch(batch(30)), "key", "body", intake.now)
    intake.run()
    assert intake.counted()[0, 0] == 0
    assert len(aside.list_all(store, 1)) == 1
