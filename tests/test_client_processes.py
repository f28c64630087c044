"""Real processes, killed at any moment: what was logged is counted once when both sides are back."""

import os
import random
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
import tidegate_client
from client_actor import PACKED
from client_stage import Shop, shop_on
from houses import NOON, open_shop
from test_serve import address_of, counted, serving, wait_until_counted

from service.house import House, open_house
from service.settings import Settings

ROOT = Path(__file__).parents[1]
ACTOR = Path(__file__).with_name("client_actor.py")
# What a file of the spool has in which nothing waits.
EMPTY = 8


@pytest.fixture
def shop(server, tmp_path) -> Iterator[Shop]:
    with open_shop(server, tmp_path) as house, shop_on(house, tmp_path) as shop:
        yield shop


def actor(url: str, spool: Path, mode: str, first: int = 0, count: int = 0, **more: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(ACTOR), url, str(spool), mode, str(first), str(count)],
        stdin=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT / "client"), **more},
    )


def ended(child: subprocess.Popen[str]) -> int:
    child.communicate(timeout=60)
    return child.returncode


def marked(spool: Path) -> int:
    marks = Path(f"{spool}.marks")
    return marks.stat().st_size if marks.exists() else 0


def wait_for(claim: Callable[[], bool], seconds: float = 60) -> None:
    until = time.monotonic() + seconds
    while not claim():
        assert time.monotonic() < until
        time.sleep(0.02)  # another process's work


def spooled(spool: Path) -> int:
    """Bytes in the spool's files."""
    return sum(path.stat().st_size for path in spool.rglob("*.spool"))


def free_port() -> str:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return str(free.getsockname()[1])


def ids(count: int) -> list[str]:
    return sorted(f"p-{number}" for number in range(count))


def kept(house: House, now: datetime) -> list[str]:
    """The ids that were accepted, sorted; one that counted twice is there twice."""
    day = timedelta(days=1)
    return sorted(house.archive.predictions("shop", now - day, now + day).column("prediction_id").to_pylist())


def kept_in(folder: Path) -> list[str]:
    """The same of the stopped service of a folder."""
    settings = Settings(data_dir=folder, policies=folder / "policies.d")
    with open_house(settings, lambda: datetime.now(UTC)) as house:
        return kept(house, datetime.now(UTC))


# ---- kill -9


def test_a_service_killed_during_traffic_counts_every_logged_row_once(tmp_path):
    port, spool, rows, chance = free_port(), tmp_path / "spool", 1_500, random.Random(1)
    predicting = actor(f"http://127.0.0.1:{port}", spool, "leave", 0, rows)
    for life in range(1, 3):
        with serving(tmp_path, "--port", port) as (child, client):
            wait_for(lambda enough=life: counted(client) > 0 and marked(spool) > 200 * enough)
            time.sleep(chance.uniform(0, 0.1))  # when the kill comes
            child.send_signal(signal.SIGKILL)
            child.wait()
    with serving(tmp_path, "--port", port) as (child, client):
        assert ended(predicting) == 0
        with tidegate_client.connect(f"http://127.0.0.1:{port}", "shop", spool=spool) as rest:
            wait_for(lambda: spooled(spool) <= EMPTY and rest.counts().waiting == 0)
        assert wait_until_counted(client, rows) == rows
        child.terminate()
        child.wait()
    assert kept_in(tmp_path) == ids(rows)


def test_clients_killed_with_the_service_away_leave_their_rows_to_the_next(tmp_path):
    port, spool = free_port(), tmp_path / "spool"
    address = f"http://127.0.0.1:{port}"
    for life in range(3):
        child = actor(address, spool, "pack", life * 400, 400)
        wait_for(lambda enough=400 * (life + 1): marked(spool) == enough)
        child.kill()
        child.communicate()
    with serving(tmp_path, "--port", port) as (child, client):
        nexts = [actor(address, spool, "idle") for _ in range(2)]  # two at once: each row still counts once
        wait_for(lambda: spooled(spool) <= 2 * EMPTY)
        assert [ended(each) for each in nexts] == [0, 0]
        assert wait_until_counted(client, 1_200) == 1_200
        child.terminate()
        child.wait()
    assert kept_in(tmp_path) == ids(1_200)
    assert spooled(spool) == 0


def test_clients_killed_in_the_midst_of_sending_lose_nothing_spooled_and_double_nothing(shop, tmp_path):
    spool, chance, rows, lives = tmp_path / "spool", random.Random(2), 400, 6
    sent: set[str] = set()
    for life in range(lives):
        before, enough = marked(spool), chance.randint(50, rows)
        child = actor(shop.address, spool, "pack", life * rows, rows, AT=NOON.isoformat())
        wait_for(lambda enough=before + enough: marked(spool) >= enough)
        child.kill()
        child.communicate()
        sent |= {f"p-{life * rows + number}" for number in range(marked(spool) - before)}
    with shop.connect(spool=spool) as rest:
        wait_for(lambda: spooled(spool) <= EMPTY and rest.counts().waiting == 0)
    found = kept(shop.house, NOON)
    assert len(found) == len(set(found))
    assert sent <= set(found)
    assert len(found) <= len(sent) + lives * PACKED  # of each life a batch more may have been spooled than was marked


def test_without_a_spool_a_killed_client_loses_rows(shop, tmp_path):
    """The control: the tests above would see a spool that keeps nothing."""
    shop.misbehave(*["away"] * 1_000)
    child = actor(shop.address, tmp_path / "none", "memory", 0, 100, AT=NOON.isoformat())
    wait_for(lambda: marked(tmp_path / "none") == 100)
    child.kill()
    child.communicate()
    assert kept(shop.house, NOON) == []
    assert spooled(tmp_path / "none") == 0


# ---- forks and ends


def test_children_of_a_fork_send_their_own_rows_and_not_the_parents(shop, tmp_path):
    assert ended(actor(shop.address, tmp_path / "spool", "fork", 0, 200, AT=NOON.isoformat())) == 0
    assert marked(tmp_path / "spool") == 200
    assert kept(shop.house, NOON) == ids(200)
    assert spooled(tmp_path / "spool") == 0


def run(program: str, **more: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "client"), **more}
    return subprocess.Popen(
        [sys.executable, "-c", program], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def test_the_end_of_a_program_is_held_up_only_as_long_as_allowed(tmp_path):
    child = run(
        "import tidegate_client\n"
        f"c = tidegate_client.connect('http://127.0.0.1:9', 'shop', spool={str(tmp_path)!r}, exit_seconds=0.5)\n"
        "[c.log(str(n), 'fit') for n in range(10)]\n"
    )
    assert "10 rows stay in" in child.communicate(timeout=60)[1]
    assert child.returncode == 0
    assert spooled(tmp_path) > 100


def test_a_program_that_turns_sigterm_into_an_exit_sends_what_is_left(shop):
    child = run(
        "import datetime, os, signal, sys, tidegate_client\n"
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))\n"
        f"c = tidegate_client.connect({shop.address!r}, 'shop', spool=False, batch_seconds=60)\n"
        f"[c.log(f'p-{{n}}', 'fit', timestamp=datetime.datetime.fromisoformat('{NOON}')) for n in range(10)]\n"
        "print('logged', flush=True)\n"
        "signal.pause()\n"
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "logged\n"
    child.terminate()
    assert ended(child) == 0
    assert kept(shop.house, NOON) == ids(10)


APP = """
import datetime, os
from fastapi import FastAPI
import tidegate_client

tidegate = tidegate_client.connect(os.environ["URL"], "shop", spool=os.environ["SPOOL"], batch_seconds=60)
app = FastAPI()
app.add_middleware(tidegate_client.PredictionMiddleware, client=tidegate)

@app.get("/predict/{number}")
def predict(number: int) -> dict[str, str]:
    at = datetime.datetime.fromisoformat(os.environ["AT"])
    tidegate_client.current().log("fit", features={"x": number}, timestamp=at)
    return {"prediction": "fit"}
"""


@contextmanager
def predicting(folder: Path, url: str) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    (folder / "predicting_app.py").write_text(APP)
    paths = os.pathsep.join([str(ROOT / "client"), str(folder)])
    command = [sys.executable, "-m", "uvicorn", "predicting_app:app", "--port", "0"]
    environment = {**os.environ, "PYTHONPATH": paths, "URL": url, "SPOOL": str(folder / "s"), "AT": NOON.isoformat()}
    with (folder / "app.log").open("wb") as log:
        child = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
    try:
        yield child, address_of(child, folder / "app.log", 0)
    finally:
        if child.poll() is None:
            child.kill()
        child.wait()


def test_a_fastapi_app_on_uvicorn_sends_what_is_left_when_it_is_terminated(shop, tmp_path):
    with predicting(tmp_path, shop.address) as (app, url):
        named = [httpx.get(f"{url}/predict/{number}").headers["x-prediction-id"] for number in range(30)]
        assert all(re.fullmatch(r"[0-9a-f]{32}", each) for each in named)
        assert kept(shop.house, NOON) == []  # a batch would go after a minute
        app.terminate()
        app.wait(timeout=60)
    assert kept(shop.house, NOON) == sorted(named)
