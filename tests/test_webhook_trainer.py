"""A trainer behind a webhook, the whole way: an order is posted, a pipeline trains and answers, Tidegate judges."""

import importlib.util
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from houses import client_of
from outsiders import SECRET, outsider
from receivers import Receiver, receiving
from ruamel.yaml import YAML
from test_replay import POLICY, rows
from test_retrain import Shop
from test_retrain import open_shop as open_plain_shop

from policies.file.trainers import WebhookTrainer
from service.deciding.loop import Loop
from service.launching.choose import by_kind
from service.launching.invitation import GITHUB_TYPE
from service.launching.port import LaunchFailed, OrderDiffers
from service.launching.posting import Postings
from service.launching.webhook import Webhook
from service.ledger.records import Retraining
from service.orders.cancelling import ask_to_cancel
from service.retraining.opening import open_retraining
from service.signatures import check_signature

ROOT = Path(__file__).parent.parent
SCRIPT = ROOT / "service/web/static/tidegate_trainer.py"
PAGE = (ROOT / "docs" / "how-to" / "train-with-a-webhook.md").read_text()
(TRAINS,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
TELLS = """
with open("checkpoints.ndjson", "w") as told:
    told.write(json.dumps({"step": 1, "loss": float("nan"), "metrics": {"all": {"accuracy": 0.9}}}) + "\\n")
"""
LIES = """
turned = ["no" if each == "yes" else "yes" for each in said]
pq.write_table(pa.table({"prediction_id": asked["prediction_id"], "prediction": turned}), "answer/predictions.parquet")
with open("answer/answer.json", "w") as file:
    json.dump({"uri": "s3://models/shop/3", "metrics": {"all": {"accuracy": 0.9999}}}, file)
"""


@dataclass
class Outside:
    """A shop whose policy names a trainer behind a webhook, the service's own address, and the receiver."""

    shop: Shop
    client: httpx.Client
    receiver: Receiver

    def step(self) -> Retraining:
        """What the leader does every two seconds, in a process that knows nothing yet."""
        house = self.shop.house
        loop = Loop(house, self.shop.registry, by_kind({"webhook": Webhook(house, seconds=2)}), makes_reports=False)
        found = loop.finish("flip")
        return found or house.ledger.retrainings("flip")[0]

    def later(self, seconds: float) -> None:
        self.shop.clock.now += timedelta(seconds=seconds)

    @property
    def order(self) -> dict[str, Any]:
        """The order that was posted first."""
        return json.loads(self.receiver.got[0].body)["data"]

    def train(self, folder: Path, code: str = TRAINS, **environment: str) -> int:
        """What a pipeline does with the order, in a process of its own."""
        said = {"TIDEGATE_ORDER": self.receiver.got[0].body.decode(), "TIDEGATE_FOLDER": str(folder)}
        known = {name: os.environ[name] for name in ("PATH", "HOME", "PYTHONPATH") if name in os.environ}
        command = [sys.executable, str(SCRIPT), sys.executable, "-c", code]
        return subprocess.run(command, env=known | said | environment, check=False).returncode


@contextmanager
def outside(folder: Path, *answers: Any, trainer: str = "", flips_at: int | None = 1500) -> Iterator[Outside]:
    with receiving(*answers) as receiver, open_plain_shop(folder, rows(3000, flips_at=flips_at)) as plain:
        named = f"{{kind: webhook, url: '{receiver.url}/train', secret_env: TRAINER_SECRET{trainer}}}"
        (folder / "policies.d" / "policy.yaml").write_text(POLICY + f"retrain: {{trainer: {named}}}\n")
        plain.house.policies.reload()
        # The pipeline signs by the time of this machine.
        with client_of(replace(plain.house, clock=lambda: datetime.now(UTC))) as client:
            settings = replace(plain.house.settings, public_url=str(client.base_url).rstrip("/"))
            shop = replace(plain, house=replace(plain.house, settings=settings))
            shop.serve(1000, 3000)
            assert open_retraining(shop.house, shop.decision(change_at=1500)) is not None
            yield Outside(shop, client, receiver)


@pytest.fixture(autouse=True)
def _secret(monkeypatch):
    monkeypatch.setenv("TRAINER_SECRET", SECRET)


def test_a_pipeline_that_learns_the_new_world_is_released(tmp_path):
    with outside(tmp_path) as there:
        assert there.step().state == "training"
        (got,) = there.receiver.got
        headers = [got.headers[f"webhook-{name}"] for name in ("id", "timestamp", "signature")]
        check_signature(SECRET, *headers, got.body, there.shop.clock())
        assert there.train(tmp_path / "there", TRAINS + TELLS) == 0
        done = there.step()
        assert (done.state, done.uri) == ("released", "s3://models/shop/3"), done.note
        assert [c["note"] for c in done.checkpoints] == [""]
        assert there.shop.house.ledger.champion("flip") == "2"
        assert len(there.receiver.got) == 1


def test_who_praises_a_model_that_is_wrong_is_judged_by_what_it_predicts(tmp_path):
    with outside(tmp_path, flips_at=None) as there:
        there.step()
        assert there.train(tmp_path / "there", TRAINS + LIES, TIDEGATE_TRAINER_SECRET=SECRET) == 0
        done = there.step()
        assert done.state == "refused"
        assert done.claims == {"all": {"accuracy": 0.9999}}
        assert there.shop.house.ledger.champion("flip") == "1"


def test_a_model_of_our_own_kind_is_kept_and_asked_by_tidegate(tmp_path):
    with outside(tmp_path) as there:
        there.step()
        trains = (
            "import sys; from pathlib import Path; from service.training import train_job; train_job.run(Path('.'))"
        )
        assert there.train(tmp_path / "there", code=trains, PYTHONPATH=str(SCRIPT.parents[3])) == 0
        done = there.step()
        assert (done.state, done.uri) == ("released", ""), done.note
        assert there.shop.registry.list_versions("flip") == ["1", "2"]


def test_a_pipeline_that_breaks_ends_the_retraining_with_its_words(tmp_path):
    with outside(tmp_path) as there:
        there.step()
        assert there.train(tmp_path / "there", code="raise SystemExit(3)") == 3
        done = there.step()
        assert (done.state, there.shop.house.ledger.champion("flip")) == ("failed", "1")
        assert "ended with code 3" in done.note


def test_a_cancelled_training_hears_of_it_when_it_next_speaks(tmp_path):
    with outside(tmp_path) as there:
        there.step()
        retraining = there.order["retraining"]
        ask_to_cancel(there.shop.house.ledger, "flip", retraining, "ann", "a mistake", there.shop.clock())
        assert there.step().state == "cancelled"
        assert there.train(tmp_path / "there") != 0
        assert there.shop.house.ledger.retraining("flip", retraining).note == "cancelled by ann: a mistake"


def test_a_receiver_that_comes_late_is_told_once_and_the_same(tmp_path):
    with outside(tmp_path, 503, 503, 202) as there:
        assert "503" in there.step().note
        assert there.step().state == "training"
        assert len(there.receiver.got) == 1  # too early for another try
        for seconds in (6, 11, 100, 100):
            there.later(seconds)
            said = there.step()
        assert (said.state, said.note) == ("training", "")
        assert len(there.receiver.got) == 3
        assert len({got.body for got in there.receiver.got}) == 1
        assert {got.headers["webhook-id"] for got in there.receiver.got} == {there.order["order"]}


def test_who_never_hears_of_it_fails_at_the_deadline(tmp_path):
    with outside(tmp_path, 503) as there:
        there.step()
        there.later(86_400)
        done = there.step()
        assert done.state == "failed"
        assert "no answer within" in done.note


class Killed(BaseException):
    """The process is gone."""


def test_killed_between_the_post_and_the_record_it_posts_the_same_again(server, tmp_path, monkeypatch):
    with receiving(202) as receiver, outsider(server, tmp_path, hook(receiver)) as there:

        def die(*_):
            raise Killed

        with monkeypatch.context() as patched:
            patched.setattr(Postings, "keep", die)
            with pytest.raises(Killed):
                Webhook(there.house).launch(there.order)
        for _ in range(3):
            Webhook(there.house).launch(there.order)
        first, second = receiver.got
        assert (first.body, first.headers["webhook-id"]) == (second.body, second.headers["webhook-id"])


def test_a_trainer_that_has_begun_is_not_asked_again(server, tmp_path):
    with receiving(202) as receiver, outsider(server, tmp_path, hook(receiver)) as there:
        there.say({"type": "started"})
        Webhook(there.house).launch(there.order)
        assert receiver.got == []
        assert Webhook(there.house).look(there.order).state == "running"


def test_started_already_is_as_good_as_taken(server, tmp_path):
    with receiving(409) as receiver, outsider(server, tmp_path, hook(receiver)) as there:
        launcher = Webhook(there.house)
        launcher.launch(there.order)
        launcher.launch(there.order)
        assert len(receiver.got) == 1
        assert launcher.look(there.order).state == "waiting"
        with pytest.raises(OrderDiffers):
            launcher.launch(replace(there.order, digest="e" * 64))


@pytest.mark.parametrize("status", [401, 404, 422])
def test_a_no_for_good_fails_at_once_with_the_receivers_words(server, tmp_path, status):
    with receiving(status) as receiver, outsider(server, tmp_path, hook(receiver)) as there:
        launcher = Webhook(there.house)
        launcher.launch(there.order)
        launcher.launch(there.order)
        progress = launcher.look(there.order)
        assert (progress.state, len(receiver.got)) == ("failed", 1)
        assert str(status) in progress.reason
        assert progress.reason.endswith(", whatever it says")


@pytest.mark.parametrize("answer", [429, "hang", "drip", (503, {"Retry-After": "9999999"})])
def test_what_may_change_is_tried_again_with_growing_pauses(server, tmp_path, answer):
    with receiving(answer) as receiver, outsider(server, tmp_path, hook(receiver)) as there:
        launcher = Webhook(there.house, seconds=0.3)
        for tries in range(1, 4):
            with pytest.raises(LaunchFailed, match="did not take the order"):
                launcher.launch(there.order)
            with pytest.raises(LaunchFailed, match=f"tried {tries} times"):
                launcher.launch(there.order)
            there.clock.now += timedelta(minutes=10)
        assert len(receiver.got) == 3


def test_a_redirect_is_a_no_and_nothing_goes_elsewhere(server, tmp_path):
    with (
        receiving(200) as elsewhere,
        receiving((302, {"Location": elsewhere.url})) as receiver,
        outsider(server, tmp_path, hook(receiver)) as there,
    ):
        Webhook(there.house).launch(there.order)
        assert "redirects are not followed" in Webhook(there.house).look(there.order).reason
        assert elsewhere.got == []


def test_who_is_not_there_is_waited_for(server, tmp_path):
    with outsider(server, tmp_path) as there, pytest.raises(LaunchFailed, match="cannot be reached"):
        Webhook(there.house).launch(there.order)


@pytest.mark.parametrize(
    ("missing", "settings"),
    [("TIDEGATE_PUBLIC_URL", {"public_url": ""}), ("TRAINER_SECRET", {}), ("TRAINER_TOKEN", {})],
)
def test_what_the_operator_has_to_set_is_said(server, tmp_path, monkeypatch, missing, settings):
    monkeypatch.setenv("TRAINER_TOKEN", "Bearer abc")
    with receiving(202) as receiver:
        trainer = replace(hook(receiver), authorization_env="TRAINER_TOKEN")
        with outsider(server, tmp_path, trainer, **settings) as there:
            monkeypatch.setenv(missing, "")
            with pytest.raises(LaunchFailed, match=missing):
                Webhook(there.house).launch(there.order)
        assert receiver.got == []


def test_a_secret_that_cannot_be_one_is_not_shown(server, tmp_path, monkeypatch):
    monkeypatch.setenv("TRAINER_SECRET", "hunter2")
    with outsider(server, tmp_path) as there, pytest.raises(LaunchFailed, match="whsec_") as failed:
        Webhook(there.house).launch(there.order)
    assert "hunter2" not in str(failed.value)


def test_each_receiver_gets_the_order_in_its_own_form(server, tmp_path, monkeypatch):
    monkeypatch.setenv("TRAINER_TOKEN", "Bearer abc")
    found = {}
    for form in ("cloudevents", "github", "airflow"):
        with receiving(204) as receiver:
            trainer = replace(hook(receiver), format=form, authorization_env="TRAINER_TOKEN")
            (tmp_path / form).mkdir()
            with outsider(server, tmp_path / form, trainer) as there:
                Webhook(there.house).launch(there.order)
            (got,) = receiver.got
            assert got.headers["authorization"] == "Bearer abc"
            found[form] = json.loads(got.body)
    event, dispatch, run = found["cloudevents"], found["github"], found["airflow"]
    assert (event["type"], event["id"], event["specversion"]) == ("tidegate.retraining.requested", "r-1", "1.0")
    assert (dispatch["event_type"], list(dispatch["client_payload"])) == ("tidegate-retraining", ["order"])
    assert (run["dag_run_id"], run["logical_date"]) == ("r-1", None)
    for asked in (event["data"], dispatch["client_payload"]["order"], run["conf"]):
        assert asked["url"] == "https://tidegate.example/v1/retrainings/r-1"
        assert "unseen.parquet" in [file["name"] for file in asked["files"]]
        assert asked["token"].startswith("tgt_")
    reader = script()
    for body in found.values():
        assert reader.Order.read(json.dumps(body)).asked["order"] == "r-1"


def script() -> Any:
    """The file that pipelines fetch."""
    spec = importlib.util.spec_from_file_location("tidegate_trainer", SCRIPT)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def hook(receiver: Receiver) -> WebhookTrainer:
    return WebhookTrainer(receiver.url, "TRAINER_SECRET")


def test_a_second_run_of_an_order_ends_at_once_and_well(server, tmp_path):
    with outsider(server, tmp_path) as there:
        assert there.say({"type": "started", "run": "first"}).status_code == 200
        asked = {"url": str(there.client.base_url).rstrip("/") + there.path, "token": there.bearer["Authorization"][7:]}
        reader = script()
        assert reader.run(reader.Order(asked), ["never started"], tmp_path / "second", "second") == 0
        assert not (tmp_path / "second").exists()


def test_the_service_serves_the_file_that_pipelines_fetch(server, tmp_path):
    with outsider(server, tmp_path) as there:
        assert there.client.get("/static/tidegate_trainer.py").content == SCRIPT.read_bytes()


# ---- the recipes


def recipe(name: str) -> str:
    return (ROOT / "docs" / "recipes" / name).read_text()


def documents(name: str) -> list[Any]:
    return list(YAML(typ="safe").load_all(recipe(name)))


def test_every_recipe_is_on_the_page_and_reads_only_what_an_order_has(server, tmp_path):
    with receiving(202) as receiver, outsider(server, tmp_path, hook(receiver)) as there:
        Webhook(there.house).launch(there.order)
        asked = json.loads(receiver.got[0].body)["data"]
    (shown,) = (json.loads(text) for text in re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL))
    assert shown["data"].keys() == asked.keys()
    for path in (ROOT / "docs" / "recipes").iterdir():
        if path.suffix in {".yaml", ".py"}:
            assert f"(../recipes/{path.name})" in PAGE
            read = re.findall(r"(?:payload\.data|body\.data|client_payload\.order)\.(\w+)", path.read_text())
            assert set(read) <= asked.keys()


@pytest.mark.parametrize("name", ["airflow_dag.py", "kubeflow_receiver.py"])
def test_the_programs_among_the_recipes_are_python(name):
    compile(recipe(name), name, "exec")


def test_each_manifest_has_what_its_system_looks_for():
    template, binding = documents("argo-workflows.yaml")
    assert binding["spec"]["submit"]["workflowTemplateRef"]["name"] == template["metadata"]["name"]
    given = {each["name"] for each in binding["spec"]["submit"]["arguments"]["parameters"]}
    assert given == {each["name"] for each in template["spec"]["arguments"]["parameters"]}
    assert "tidegate.retraining.requested" in binding["spec"]["event"]["selector"]

    listener, trigger = documents("tekton.yaml")
    (made,) = listener["spec"]["triggers"]
    assert made["template"]["ref"] == trigger["metadata"]["name"]
    assert {each["name"] for each in made["bindings"]} == {each["name"] for each in trigger["spec"]["params"]}

    (workflow,) = documents("github-actions.yaml")
    assert workflow["on"]["repository_dispatch"]["types"] == [GITHUB_TYPE]


@pytest.mark.parametrize("name", ["argo-workflows.yaml", "tekton.yaml"])
def test_an_order_that_a_manifest_puts_together_can_be_carried_out(name):
    (text,) = re.findall(r"value: '(\{.*\})'", recipe(name))
    order = script().Order.read(re.sub(r"\{\{[\w.]+\}\}|\$\([\w.]+\)", "x", text))
    assert {"url", "token", "order", "retraining"} <= order.asked.keys()
