"""Releases in the registry of a real MLflow server, which may be away, lose everything, or be moved by hand."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from receivers import receiving
from test_replay import rows
from test_retrain import POLICY_VALUE, Shop, open_shop

from service.jobs import Jobs
from service.ledger.records import Release
from service.registries.mlflow import EXPERIMENT, Mlflow
from service.registries.registering import AGAIN, Registering, Standing, standing_of
from service.registries.rest import MlflowAway, MlflowRefused, Rest
from service.registries.wanted import wanted
from service.retraining.releasing import roll_back
from service.training.comparing import with_predictions
from service.training.model_files import read_model
from service.training.references import baseline_of, keep_baseline
from service.training.trainers import refit
from service.web.observe import snapshot


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@contextmanager
def serving(folder: Path) -> Iterator[str]:
    """The address of an MLflow server with a store in a folder."""
    folder.mkdir(exist_ok=True)
    port = free_port()
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    places = ["--backend-store-uri", f"sqlite:///{folder}/mlflow.db", "--artifacts-destination", str(folder / "files")]
    quiet = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    with (folder / "server.log").open("wb") as log:
        process = subprocess.Popen([*command, *places], env={**os.environ, **quiet}, stdout=log, stderr=log)
    try:
        address = f"http://127.0.0.1:{port}"
        until = time.monotonic() + 300
        while not answers(address):
            assert process.poll() is None, (folder / "server.log").read_text()[-2000:]
            assert time.monotonic() < until, "MLflow does not come up"
            time.sleep(0.1)
        yield address
    finally:
        process.terminate()
        process.wait(30)


def answers(address: str) -> bool:
    try:
        return httpx.get(f"{address}/health").status_code == 200
    except httpx.TransportError:
        return False


@pytest.fixture(scope="module")
def mlflow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rest]:
    with serving(tmp_path_factory.mktemp("mlflow")) as address:
        yield Rest(address)


@pytest.fixture
def shop(mlflow: Rest, tmp_path: Path) -> Iterator[Shop]:
    """A shop whose house knows MLflow; what an earlier test registered is gone."""
    with suppress(MlflowRefused):
        mlflow.delete("registered-models/delete", {"name": "flip"})
    for run in runs(mlflow, "1") + runs(mlflow, "2") + runs(mlflow, "3"):
        mlflow.post("runs/delete", {"run_id": run["info"]["run_id"]})
    with open_shop(tmp_path, rows(3000)) as shop:
        yield replace(shop, house=replace(shop.house, settings=replace(shop.house.settings, mlflow=mlflow.address)))


def release(shop: Shop, version: str, previous: str, **said: str) -> None:
    """Store a model, and make it the champion."""
    part = shop.world.slice(0, 300)
    model = refit(part, task="classification", columns=POLICY_VALUE.column_kinds(), step=int(version))
    if "uri" not in said:
        shop.registry.save(model, name="flip", version=version, created=shop.clock(), rows_digest="x")
    served = with_predictions(part, model.predict(part), version)
    keep_baseline(shop.house.ledger, shop.house.files, baseline_of(POLICY_VALUE, version, served), served)
    shop.house.ledger.move_champion(Release("flip", version, previous, shop.clock(), "release", "drift", **said))


def standing(shop: Shop) -> Standing:
    Registering(shop.house).step()
    found = standing_of(shop.house.store, "flip")
    assert found is not None
    return found


def aliases(mlflow: Rest) -> dict[str, str]:
    found = mlflow.get("registered-models/get", name="flip")["registered_model"]
    return {each["alias"]: str(each["version"]) for each in found.get("aliases", ())}


def versions(mlflow: Rest) -> dict[str, dict[str, str]]:
    """Tags by number."""
    found = mlflow.get("model-versions/search", filter="name='flip'").get("model_versions", ())
    return {str(each["version"]): {tag["key"]: tag["value"] for tag in each["tags"]} for each in found}


def runs(mlflow: Rest, version: str) -> list[dict[str, Any]]:
    try:
        experiment = mlflow.get("experiments/get-by-name", experiment_name=EXPERIMENT)["experiment"]["experiment_id"]
    except MlflowRefused:
        return []
    ours = f"tags.`tidegate.version` = '{version}'"
    return list(mlflow.post("runs/search", {"experiment_ids": [experiment], "filter": ours}).get("runs", ()))


def test_a_release_becomes_a_version_with_its_files_and_an_alias(shop: Shop, mlflow: Rest, tmp_path: Path) -> None:
    release(shop, "2", "1", digest="abc", retraining="r-1")
    found = standing(shop)
    assert (found.in_step, found.problem, found.versions) == (True, "", {"1": "1", "2": "2"})
    assert aliases(mlflow) == {"champion": "2", "previous": "1"}
    tags = versions(mlflow)["2"]
    assert (tags["tidegate.version"], tags["tidegate.digest"], tags["tidegate.retraining"]) == ("2", "abc", "r-1")
    added = mlflow.get("model-versions/get", name="flip", version="2")["model_version"]
    for name in ("model.skops", "manifest.json"):
        got = httpx.get(f"{mlflow.address}/get-artifact", params={"run_uuid": added["run_id"], "path": f"model/{name}"})
        (tmp_path / "fetched").mkdir(exist_ok=True)
        (tmp_path / "fetched" / name).write_bytes(got.content)
    assert read_model(tmp_path / "fetched").fingerprint() == shop.registry.load("flip", "2").fingerprint()


def test_a_rollback_moves_the_aliases_back(shop: Shop, mlflow: Rest) -> None:
    release(shop, "2", "1")
    release(shop, "3", "2")
    assert standing(shop).versions == {"1": "1", "2": "2", "3": "3"}
    assert aliases(mlflow) == {"champion": "3", "previous": "2"}
    roll_back(shop.house, "flip", "3", "2", "worse")
    standing(shop)
    assert aliases(mlflow) == {"champion": "2", "previous": "1"}
    roll_back(shop.house, "flip", "2", "1", "worse")
    standing(shop)
    assert aliases(mlflow) == {"champion": "1"}
    assert len(versions(mlflow)) == 3


def test_looking_again_changes_nothing(shop: Shop, mlflow: Rest) -> None:
    release(shop, "2", "1")
    first = standing(shop)
    before = versions(mlflow), aliases(mlflow), len(runs(mlflow, "2"))
    asked = Mlflow(mlflow, shop.registry)
    assert asked.reconcile(wanted(shop.house, "flip")) == first.versions
    assert (versions(mlflow), aliases(mlflow), len(runs(mlflow, "2"))) == before
    assert standing(shop) == first  # nothing new, and looked at a moment ago


def test_an_alias_that_a_person_moved_is_moved_back_within_the_hour(shop: Shop, mlflow: Rest) -> None:
    release(shop, "2", "1")
    standing(shop)
    mlflow.post("registered-models/alias", {"name": "flip", "alias": "champion", "version": "1"})
    standing(shop)
    assert aliases(mlflow)["champion"] == "1"
    shop.clock.now += AGAIN
    standing(shop)
    assert aliases(mlflow)["champion"] == "2"


def test_while_mlflow_is_away_releases_go_on_and_are_registered_later(shop: Shop, mlflow: Rest) -> None:
    away = replace(
        shop, house=replace(shop.house, settings=replace(shop.house.settings, mlflow=f"http://127.0.0.1:{free_port()}"))
    )
    release(shop, "2", "1")
    found = standing(away)
    assert not found.in_step
    assert "releases go on" in found.problem
    assert shop.house.ledger.champion("flip") == "2"
    found = standing(shop)
    assert (found.in_step, found.problem) == (True, "")
    assert aliases(mlflow) == {"champion": "2", "previous": "1"}


def test_a_crash_between_two_questions_leaves_nothing_twice(shop: Shop, mlflow: Rest) -> None:
    class Crash(Exception):
        pass

    class Dying(Rest):
        """It crashes before the question that it has left."""

        left = 0

        def _ask(self, *asked: object) -> dict[str, object]:
            if not self.left:
                raise Crash
            self.left -= 1
            return super()._ask(*asked)

    release(shop, "2", "1")
    asked, dying, crashes = wanted(shop.house, "flip"), Dying(mlflow.address), 0
    for question in range(40):
        dying.left = question
        try:
            Mlflow(dying, shop.registry).reconcile(asked)
        except Crash:
            crashes += 1
        else:
            break
    assert crashes >= 8
    numbers = {tags["tidegate.version"]: number for number, tags in versions(mlflow).items()}
    assert (len(versions(mlflow)), numbers.keys()) == (2, {"1", "2"})
    assert [len(runs(mlflow, version)) for version in numbers] == [1, 1]
    assert aliases(mlflow) == {"champion": numbers["2"], "previous": numbers["1"]}


@pytest.mark.parametrize("uri", ["models:/theirs/1", "s3://models/flip/2", "https://models.example/flip/2"])
def test_a_model_that_stays_outside_is_linked(shop: Shop, mlflow: Rest, uri: str) -> None:
    run = mlflow.post("runs/create", {"experiment_id": "0"})["run"]["info"]
    with suppress(MlflowRefused):  # it is there from the address before
        mlflow.post("registered-models/create", {"name": "theirs"})
    mlflow.post("model-versions/create", {"name": "theirs", "source": run["artifact_uri"], "run_id": run["run_id"]})
    release(shop, "2", "1", uri=uri)
    assert standing(shop).in_step
    number = aliases(mlflow)["champion"]
    assert versions(mlflow)[number]["tidegate.uri"] == uri


def test_what_mlflow_says_no_to_is_told(mlflow: Rest) -> None:
    with pytest.raises(MlflowRefused, match=r"GET .*registered-models/get .*404 RESOURCE_DOES_NOT_EXIST"):
        mlflow.get("registered-models/get", name="nobody")
    with receiving(200) as other:
        with pytest.raises(MlflowAway, match="cannot be asked"):
            Rest(other.url).get("registered-models/get", name="flip")
        with pytest.raises(MlflowAway, match="does not answer as MLflow does"):
            Rest(other.url).post("registered-models/create", {"name": "flip"})


@pytest.mark.parametrize(("token", "sent"), [("ab.c", "Bearer ab.c"), ("me:secret", "Basic bWU6c2VjcmV0")])
def test_a_token_goes_along(token: str, sent: str) -> None:
    with receiving((404, {"Content-Length": "0"})) as other:
        with pytest.raises(MlflowRefused):
            Rest(other.url, token).post("registered-models/create", {"name": "flip"})
        assert other.got[0].headers["authorization"] == sent


def test_an_answer_of_another_form_is_told_and_tried_again(shop: Shop) -> None:
    class Odd(Rest):
        def _ask(self, *_: object) -> dict[str, object]:
            return {"registered_model": ["flip"]}

    with pytest.raises(MlflowAway, match="does not answer as MLflow does"):
        Mlflow(Odd("http://127.0.0.1:9"), shop.registry).reconcile(wanted(shop.house, "flip"))


def test_a_model_without_a_release_is_not_mentioned(shop: Shop, mlflow: Rest) -> None:
    shop.house.ledger.add_model("newcomer")
    assert Registering(shop.house).step() == 0
    with pytest.raises(MlflowRefused, match="RESOURCE_DOES_NOT_EXIST"):
        mlflow.get("registered-models/get", name="newcomer")


def test_the_leader_registers_and_the_metric_says_so(shop: Shop, mlflow: Rest) -> None:
    release(shop, "2", "1")
    jobs = Jobs(shop.house, shop.loop())
    jobs._register()
    assert standing_of(shop.house.store, "flip") is None  # it does not lead
    jobs._lead()
    jobs._register()
    assert aliases(mlflow)["champion"] == "2"
    shown = {each.model: each.mlflow_in_step for each in snapshot(shop.house).models}
    assert shown == {"flip": True}
    roll_back(shop.house, "flip", "2", "1", "worse")
    away = replace(shop, house=replace(shop.house, settings=replace(shop.house.settings, mlflow="http://127.0.0.1:9")))
    standing(away)
    assert {each.model: each.mlflow_in_step for each in snapshot(shop.house).models} == {"flip": False}
    jobs._register()
    assert aliases(mlflow) == {"champion": standing(shop).versions["1"]}
    unset = replace(shop.house, settings=replace(shop.house.settings, mlflow=""))
    assert snapshot(unset).models[0].mlflow_in_step is None
