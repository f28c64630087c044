"""The service as a process: what a sender and an operator see when it stops, dies and starts again."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
from prometheus_server import needs_prometheus, scraping

POLICY = "model: shop\ntask: {kind: classification, target: intent}\nsegments: [[intent]]\n"
STARTS_WITHIN_SECONDS = 60


@contextmanager
def serving(
    folder: Path, *flags: str, log_name: str = "serve.log", **environment: str
) -> Iterator[tuple[subprocess.Popen[bytes], httpx.Client]]:
    """A real `tidegate serve` on a free port, ended whatever happens."""
    policies = folder / "policies.d"
    policies.mkdir(exist_ok=True)
    (policies / "shop.yaml").write_text(POLICY)
    places = ["--data-dir", str(folder), "--policies", str(policies), "--port", "0", *flags]
    with (folder / log_name).open("ab") as log:
        begin = log.tell()
        child = subprocess.Popen(
            [sys.executable, "-m", "service.cli", "serve", *places],
            stdout=log,
            stderr=log,
            env={**os.environ, **environment},
        )
    try:
        with httpx.Client(base_url=address_of(child, folder / log_name, begin), timeout=20) as client:
            yield child, client
    finally:
        if child.poll() is None:
            child.kill()
        child.wait()


def address_of(child: subprocess.Popen[bytes], log: Path, begin: int) -> str:
    until = time.monotonic() + STARTS_WITHIN_SECONDS
    while time.monotonic() < until and child.poll() is None:
        for line in log.read_text()[begin:].splitlines():
            if "Uvicorn running on " in line:
                return line.split("Uvicorn running on ")[1].split()[0]
        time.sleep(0.05)  # the process says when it listens; nothing else tells
    raise AssertionError(log.read_text()[begin:])


def row(number: int) -> dict[str, object]:
    return {"prediction_id": f"p-{number}", "prediction": "fit", "features": {"x": number / 7, "channel": "web"}}


def counted(client: httpx.Client) -> int:
    lines = client.get("/metrics").text.splitlines()
    return next((int(float(line.split()[-1])) for line in lines if line.startswith("tidegate_predictions_total{")), 0)


def wait_until_counted(client: httpx.Client, rows: int) -> int:
    until = time.monotonic() + 20
    while counted(client) < rows and time.monotonic() < until:
        time.sleep(0.05)  # folding is another thread's work
    return counted(client)


def test_after_kill_9_every_acknowledged_row_is_there_once(tmp_path):
    acknowledged = 0
    for life in range(3):
        with serving(tmp_path) as (child, client):
            if life:
                again = client.post(
                    "/v1/models/shop/predictions",
                    headers={"Idempotency-Key": f"key-{life - 1}-19"},
                    json=batch(life - 1, 19),
                )
                assert again.status_code == 202  # the sender repeats its last batch: the same answer, counted once
            for number in range(20):
                answer = client.post(
                    "/v1/models/shop/predictions",
                    headers={"Idempotency-Key": f"key-{life}-{number}"},
                    json=batch(life, number),
                )
                assert answer.status_code == 202
                acknowledged += answer.json()["accepted"]
            child.send_signal(signal.SIGKILL)
            child.wait()
    with serving(tmp_path) as (child, client):
        assert wait_until_counted(client, acknowledged) == acknowledged == 300
        archived = client.get("/v1/models/shop").status_code
        assert archived == 200
        child.terminate()
        assert child.wait(timeout=30) == 0


def batch(life: int, number: int) -> list[dict[str, object]]:
    return [row((life * 20 + number) * 5 + i) for i in range(5)]


def test_sigterm_ends_it_in_order_within_five_seconds(tmp_path):
    with serving(tmp_path) as (child, client):
        client.post("/v1/models/shop/predictions", json=[row(1)])
        begun = time.monotonic()
        child.terminate()
        assert child.wait(timeout=30) == 0
        # The promise is five seconds; the bound here only tells a hang from a stop on a busy machine.
        assert time.monotonic() - begun < 15
    assert "stopping" in (tmp_path / "serve.log").read_text()


def test_it_refuses_to_listen_beyond_this_machine_without_a_key(tmp_path):
    command = [sys.executable, "-m", "service.cli", "serve", "--host", "0.0.0.0", "--data-dir", str(tmp_path)]  # noqa: S104
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 1
    assert "tidegate keys create" in ended.stderr


def test_a_keys_file_opens_it_beyond_this_machine(tmp_path):
    made = tidegate("keys", "create", "grafana", "--scope", "read", "--line")
    token = made.stderr.split()[-1]
    (tmp_path / "keys").write_text(made.stdout)
    with serving(tmp_path, "--host", "0.0.0.0", TIDEGATE_KEYS_FILE=str(tmp_path / "keys")) as (_, client):  # noqa: S104
        local = f"http://127.0.0.1:{client.base_url.port}/v1/models"
        assert client.get(local).status_code == 401
        assert client.get(local, headers={"Authorization": f"Bearer {token}"}).status_code == 200


def test_it_runs_on_a_redis_that_somebody_else_keeps(tmp_path, redis_url):
    with serving(tmp_path, "--store", f"{redis_url}?db=3") as (child, client):
        assert client.post("/v1/models/shop/predictions", json=[row(1), row(2)]).status_code == 202
        assert wait_until_counted(client, 2) == 2
        child.terminate()
        assert child.wait(timeout=30) == 0


def test_keys_are_made_beside_a_running_service_and_close_it(tmp_path):
    with serving(tmp_path) as (_, client):
        command = [
            sys.executable,
            "-m",
            "service.cli",
            "keys",
            "create",
            "grafana",
            "--scope",
            "read",
            "--data-dir",
            str(tmp_path),
        ]
        token = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout.strip()
        until = time.monotonic() + 15
        while client.get("/v1/models").status_code == 200 and time.monotonic() < until:
            time.sleep(0.1)  # a replica trusts what it knows of keys for two seconds
        assert client.get("/v1/models").status_code == 401
        allowed = {"Authorization": f"Bearer {token}"}
        assert client.get("/v1/models", headers=allowed).status_code == 200
        assert client.post("/v1/models/shop/predictions", headers=allowed, json=[row(1)]).status_code == 403


def test_a_bad_edit_of_a_policy_keeps_the_last_good_one_and_shows(tmp_path):
    with serving(tmp_path) as (_, client):
        (tmp_path / "policies.d" / "shop.yaml").write_text(POLICY + "drift: {treshold: 1}\n")
        until = time.monotonic() + 15
        name = 'tidegate_policy_last_reload_successful{model="shop"} 0.0'
        while name not in client.get("/metrics").text and time.monotonic() < until:
            time.sleep(0.1)  # files are looked at every two seconds
        assert name in client.get("/metrics").text
        told = client.get("/v1/models/shop").text
        assert "shop.yaml:4:" in told
        assert "threshold" in told


@needs_prometheus
def test_a_real_prometheus_scrapes_the_running_service(tmp_path):
    with serving(tmp_path) as (_, client):
        client.post("/v1/models/shop/predictions", json=[row(n) for n in range(7)])
        wait_until_counted(client, 7)
        target = str(client.base_url).removeprefix("http://").rstrip("/")
        with scraping(target, tmp_path) as prometheus:
            prometheus.wait_for('tidegate_predictions_total{model="shop"} == 7')
            for name in ("tidegate_ingest_backlog_rows", "tidegate_is_leader == 1", 'up{job="tidegate"} == 1'):
                assert prometheus.query(name)


def test_the_command_line_tells_a_running_service_and_an_absent_one(tmp_path):
    with serving(tmp_path) as (_, client):
        url = str(client.base_url)
        ended = tidegate("status", "--url", url)
        assert ended.returncode == 0
        assert "shop" in ended.stdout
        assert json.loads(tidegate("status", "--json", "--url", url).stdout)["models"][0]["model"] == "shop"
        refused = tidegate("rollback", "shop", "--why", "test", "--who", "me", "--url", url)
        assert refused.returncode == 1
        assert "cannot go back" in refused.stderr
    absent = tidegate("status", "--url", "http://127.0.0.1:9")
    assert absent.returncode == 1
    assert "tidegate serve" in absent.stderr


def tidegate(*arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "service.cli", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env={**os.environ})
