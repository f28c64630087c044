"""Trainers as Jobs: real requests to an emulated Kubernetes API, manifests checked against Kubernetes' own schemas."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import kubernetes_validate
import msgspec
import pytest
from houses import NOON, client_of, open_shop
from hypothesis import given, settings
from hypothesis import strategies as st
from kubelets import NAMESPACE, Cluster, cluster
from test_replay import POLICY, rows
from test_retrain import open_shop as open_plain_shop

from policies.file.kubernetes import JobResources, KubernetesTrainer, Toleration
from service.cli import main
from service.deciding.loop import Loop
from service.house import House
from service.launching.choose import by_kind
from service.launching.job_log import LOG_FILE
from service.launching.job_manifest import NoImage, Surroundings, hash_of, manifest_of, name_of
from service.launching.job_template import CONTAINER, BadTemplate, read_template
from service.launching.job_words import progress_of
from service.launching.kubernetes import Kubernetes
from service.launching.outside import token_of
from service.launching.port import LaunchFailed, Order, OrderDiffers
from service.retraining.opening import open_retraining

ROOT = Path(__file__).parent.parent
IMAGE = "registry.example/trainer@sha256:" + 64 * "a"
URL = "http://tidegate.ml:8321"
AROUND = Surroundings("ml", "tidegate@sha256:" + 64 * "b", {"TIDEGATE_URL": URL, "TIDEGATE_TOKEN": "tgt_x"})
FULL = KubernetesTrainer(
    image=IMAGE,
    command=("python", "train.py"),
    namespace="training",
    service_account="trainer",
    env=(("EPOCHS", "3"),),
    secrets=("object-storage",),
    pull_secrets=("registry",),
    resources=JobResources((("cpu", "2"),), (("memory", "8Gi"), ("nvidia.com/gpu", "1"))),
    node_selector=(("pool", "gpu"),),
    tolerations=(Toleration("nvidia.com/gpu", "Exists", effect="NoSchedule"), Toleration("a", value="b")),
    retries=0,
    keep=timedelta(hours=2),
    timeout=timedelta(minutes=90),
)
TEMPLATE = """
apiVersion: batch/v1
kind: Job
metadata: {labels: {team: assistant, kueue.x-k8s.io/queue-name: training}}
spec:
  suspend: true
  activeDeadlineSeconds: 600
  backoffLimit: 4
  template:
    metadata: {annotations: {sidecar.istio.io/inject: "false"}}
    spec:
      containers:
        - {name: shipper, image: "shipper@sha256:1"}
        - name: trainer
          image: mine@sha256:2
          args: [--fast]
          env: [{name: EPOCHS, value: "1"}, {name: SEED, value: "7"}, {name: TIDEGATE_FOLDER, value: /cache}]
          securityContext: {runAsUser: 1000}
          resources: {limits: {memory: 1Gi}}
          volumeMounts: [{name: cache, mountPath: /cache}]
      volumes: [{name: cache, emptyDir: {}}]
"""
VERSIONS = ("1.27.0", "1.29.0", "1.31.0", "1.34.0", "1.37.0")
RUNNING = {"phase": "Running", "containerStatuses": [{"name": CONTAINER, "state": {"running": {}}}]}

texts = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=200)


def order_of(trainer: KubernetesTrainer, **known: object) -> Order:
    made = Order("r-1", "r-1", "shop", "2", Path("training"), trainer, "d1", datetime(2026, 11, 24, tzinfo=UTC))
    return replace(made, **known)


# ---- the manifest


@given(model=texts, name=texts, other=texts)
def test_every_order_has_a_name_that_kubernetes_takes_and_no_other_has(model, name, other):
    made = name_of(order_of(FULL, model=model, name=name))
    assert re.fullmatch(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", made)
    assert made == name_of(order_of(FULL, model=model, name=name))
    assert (made == name_of(order_of(FULL, model=model, name=other))) == (name == other)


quantities = st.sampled_from(["1", "500m", "8Gi", "0.5"])
names = st.sampled_from(["", "trainer", "gpu-pool"])
trainers = st.builds(
    KubernetesTrainer,
    image=st.just(IMAGE),
    command=st.lists(st.just("x"), max_size=2).map(tuple),
    service_account=st.none() | st.just("trainer"),
    env=st.lists(st.tuples(st.sampled_from(["A", "B"]), texts), max_size=2, unique_by=lambda p: p[0]).map(tuple),
    secrets=st.lists(st.just("s"), max_size=1).map(tuple),
    pull_secrets=st.lists(st.just("s"), max_size=1).map(tuple),
    resources=st.builds(
        JobResources,
        st.lists(st.tuples(st.just("cpu"), quantities), max_size=1).map(tuple),
        st.lists(st.tuples(st.just("memory"), quantities), max_size=1).map(tuple),
    ),
    tolerations=st.lists(st.just(Toleration("a", value="b")), max_size=1).map(tuple),
    retries=st.integers(0, 10),
    timeout=st.timedeltas(timedelta(seconds=1), timedelta(days=30)),
)


@settings(max_examples=25, deadline=None)
@given(trainer=trainers, model=texts)
def test_the_same_order_is_the_same_job_of_which_kubernetes_knows_every_word(trainer, model):
    order = order_of(trainer, model=model)
    job = manifest_of(order, AROUND)
    assert msgspec.json.encode(job) == msgspec.json.encode(manifest_of(order, AROUND))
    kubernetes_validate.validate(job, VERSIONS[-1], strict=True)


@pytest.mark.parametrize("version", VERSIONS)
def test_each_version_of_kubernetes_knows_every_word(version, tmp_path):
    (tmp_path / "job.yaml").write_text(TEMPLATE)
    for trainer in (FULL, KubernetesTrainer()):
        for template in (None, read_template(tmp_path / "job.yaml")):
            kubernetes_validate.validate(manifest_of(order_of(trainer), AROUND, template), version, strict=True)


def test_what_the_policy_says_is_in_the_job():
    job = manifest_of(order_of(FULL), AROUND)
    assert job["metadata"]["namespace"] == "training"
    spec, pod = job["spec"], job["spec"]["template"]["spec"]
    assert (spec["activeDeadlineSeconds"], spec["backoffLimit"], spec["ttlSecondsAfterFinished"]) == (5400, 0, 7200)
    assert (pod["serviceAccountName"], pod["automountServiceAccountToken"]) == ("trainer", True)
    assert (pod["nodeSelector"], pod["imagePullSecrets"]) == ({"pool": "gpu"}, [{"name": "registry"}])
    assert pod["tolerations"] == [
        {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"},
        {"key": "a", "operator": "Equal", "value": "b"},
    ]
    (container,) = pod["containers"]
    assert (container["image"], container["command"]) == (IMAGE, ["python", "train.py"])
    assert container["resources"] == {"requests": {"cpu": "2"}, "limits": {"memory": "8Gi", "nvidia.com/gpu": "1"}}
    assert container["env"] == [
        {"name": "TIDEGATE_FOLDER", "value": "/tmp/tidegate"},  # noqa: S108  in a container of its own
        {"name": "EPOCHS", "value": "3"},
        {"name": "TIDEGATE_URL", "value": URL},
        {"name": "TIDEGATE_TOKEN", "value": "tgt_x"},
    ]
    assert container["envFrom"] == [{"secretRef": {"name": "object-storage"}}]


def test_without_a_word_the_job_runs_the_builtin_trainer_confined():
    job = manifest_of(order_of(KubernetesTrainer()), AROUND)
    pod = job["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert (container["image"], container["args"]) == (AROUND.image, ["train-job"])
    assert pod["securityContext"] == {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
    assert container["securityContext"] == {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    assert (pod["restartPolicy"], pod["automountServiceAccountToken"], pod["enableServiceLinks"]) == (
        "Never",
        False,
        False,
    )
    assert job["spec"]["activeDeadlineSeconds"] == 6 * 3600
    (rule,) = job["spec"]["podFailurePolicy"]["rules"]
    assert (rule["action"], rule["onPodConditions"][0]["type"]) == ("Ignore", "DisruptionTarget")


def test_the_charts_own_pods_and_the_trainers_are_not_taken_for_each_other():
    job = manifest_of(order_of(FULL, model="Shop of Ö"), AROUND)
    for labels in (job["metadata"]["labels"], job["spec"]["template"]["metadata"]["labels"]):
        assert labels["app.kubernetes.io/name"] != "tidegate"
        assert (labels["tidegate/model"], labels["tidegate/retraining"]) == ("Shop-of", "r-1")
    assert job["metadata"]["annotations"]["tidegate/model"] == "Shop of Ö"


def test_a_template_is_filled_in(tmp_path):
    (tmp_path / "job.yaml").write_text(TEMPLATE)
    template = read_template(tmp_path / "job.yaml")
    before = json.dumps(template)
    job = manifest_of(order_of(KubernetesTrainer(env=(("EPOCHS", "9"),))), AROUND, template)
    assert json.dumps(template) == before
    assert job["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "training"
    spec, pod = job["spec"], job["spec"]["template"]
    assert (spec["suspend"], spec["activeDeadlineSeconds"], spec["backoffLimit"]) == (True, 600, 4)
    assert pod["metadata"]["annotations"]["sidecar.istio.io/inject"] == "false"
    shipper, trainer = pod["spec"]["containers"]
    assert shipper == template["spec"]["template"]["spec"]["containers"][0]
    assert (trainer["image"], trainer["args"]) == ("mine@sha256:2", ["--fast"])
    told = {each["name"]: each["value"] for each in trainer["env"]}
    assert told == {"SEED": "7", "EPOCHS": "9", "TIDEGATE_FOLDER": "/cache", **AROUND.environment}
    assert trainer["securityContext"] == {"runAsUser": 1000}
    assert pod["spec"]["volumes"] == [{"name": "cache", "emptyDir": {}}]


def test_the_policy_goes_over_its_template(tmp_path):
    (tmp_path / "job.yaml").write_text(TEMPLATE)
    job = manifest_of(order_of(FULL), AROUND, read_template(tmp_path / "job.yaml"))
    trainer = job["spec"]["template"]["spec"]["containers"][1]
    assert (trainer["image"], trainer["command"]) == (IMAGE, ["python", "train.py"])
    assert "args" not in trainer
    assert trainer["resources"]["limits"] == {"memory": "8Gi", "nvidia.com/gpu": "1"}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (None, "it cannot be read"),
        ("a: [", "not one document of YAML"),
        ("a: 1\n---\nb: 2", "not one document of YAML"),
        ("kind: Deployment", "a Job is needed"),
        ("[]", "a Job is needed"),
        (TEMPLATE.replace("metadata: {labels", "metadata: {namespace: x, labels"), "retrain.trainer.namespace"),
        ("apiVersion: batch/v1\nkind: Job\nspec: {template: {spec: {containers: []}}}", "at least one container"),
        ("apiVersion: batch/v1\nkind: Job\nspec: {template: {spec: {containers: [{image: x}]}}}", "that has a name"),
        ("apiVersion: batch/v1\nkind: Job\nspec: &a {template: *a}", "aliases"),
        (TEMPLATE.replace('value: "7"', "value: 2026-11-23"), "may need quotes"),
        ("x: " + "a" * 300_000, "300,003 characters"),
    ],
)
def test_a_template_that_is_no_job_says_why(text, problem, tmp_path):
    file = tmp_path / "job.yaml"
    if text is not None:
        file.write_text(text)
    with pytest.raises(BadTemplate, match=re.escape(problem)) as told:
        read_template(file)
    assert str(told.value).startswith(f"{file}: ")


def test_an_order_is_the_same_after_it_was_kept():
    kept = msgspec.json.decode(msgspec.json.encode(FULL), type=KubernetesTrainer)
    assert hash_of(order_of(kept)) == hash_of(order_of(FULL))
    assert hash_of(order_of(KubernetesTrainer(retries=2))) != hash_of(order_of(KubernetesTrainer()))


def test_a_job_needs_an_image_from_somewhere():
    with pytest.raises(NoImage, match="TIDEGATE_TRAINER_IMAGE"):
        manifest_of(order_of(KubernetesTrainer()), replace(AROUND, image=""))


# ---- what the cluster says, in words

conditions = st.fixed_dictionaries(
    {},
    optional={
        "type": st.sampled_from(["PodScheduled", "DisruptionTarget", "Ready"]),
        "status": st.sampled_from(["True", "False"]),
        "reason": texts,
        "message": texts,
    },
)
told = st.fixed_dictionaries(
    {}, optional={"reason": texts, "message": texts, "exitCode": st.integers(-5, 300) | st.none()}
)
states = st.dictionaries(st.sampled_from(["waiting", "running", "terminated"]), told | st.none(), max_size=1)
statuses = st.fixed_dictionaries({}, optional={"name": texts, "state": states, "lastState": states})
pods = st.fixed_dictionaries(
    {},
    optional={
        "metadata": st.fixed_dictionaries({}, optional={"creationTimestamp": texts}),
        "status": st.fixed_dictionaries(
            {},
            optional={
                "phase": st.sampled_from(["Pending", "Running", "Failed", "Succeeded", "Unknown"]),
                "reason": texts,
                "message": texts,
                "conditions": st.lists(conditions, max_size=2) | st.none(),
                "containerStatuses": st.lists(statuses, max_size=2) | st.none(),
            },
        ),
    },
)
FAILED = {"type": "Failed", "status": "True"}


@settings(max_examples=300)
@given(
    seen=st.lists(pods, max_size=3),
    reason=st.sampled_from(["DeadlineExceeded", "BackoffLimitExceeded", "PodFailurePolicy", "", None]),
    message=texts,
)
def test_whatever_becomes_of_a_job_and_its_pods_there_are_words_for_it(seen, reason, message):
    failed = progress_of({"status": {"conditions": [FAILED | {"reason": reason, "message": message}]}}, seen)
    assert failed.state == "failed"
    goes_on = progress_of({}, seen, [message])
    assert goes_on.state in {"waiting", "running"}
    for each in (failed, goes_on):
        assert each.reason.isprintable()
        assert len(each.reason) < 3_000
        assert each.reason or each.state == "running"


def ended(code: int, reason: str = "Error", message: str = "") -> dict[str, object]:
    state = {"terminated": {"exitCode": code, "reason": reason, "message": message}}
    return {"phase": "Failed", "containerStatuses": [{"name": CONTAINER, "state": state}]}


def waits(reason: str, message: str = "") -> dict[str, object]:
    state = {"waiting": {"reason": reason, "message": message}}
    return {"phase": "Pending", "containerStatuses": [{"name": CONTAINER, "state": state}]}


UNSCHEDULED = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes have a gpu"}
EVICTED = {"phase": "Failed", "reason": "Evicted", "message": "The node was low on resource: memory."}
DRAINED = {"type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI", "message": "drained"}


@pytest.mark.parametrize(
    ("status", "state", "words"),
    [
        (waits("ContainerCreating"), "waiting", "is being made"),
        (waits("ImagePullBackOff", "Back-off pulling image x"), "waiting", "pulling image x (look at the image's name"),
        (waits("CreateContainerConfigError", "image will run as root"), "waiting", "give it a user by number"),
        ({"phase": "Pending", "conditions": [UNSCHEDULED]}, "waiting", "no node takes its pod: Unschedulable: 0/3"),
        ({"phase": "Pending"}, "waiting", "its pod is pending"),
        (RUNNING, "running", ""),
        ({"phase": "Succeeded"}, "running", ""),
        (ended(1), "waiting", "the Job has no pod now; the last one failed: the container trainer ended with code 1"),
    ],
)
def test_a_job_that_goes_on_says_what_it_waits_for(status, state, words):
    seen = progress_of({}, [{"status": status}])
    assert (seen.state, words in seen.reason) == (state, True), seen.reason
    assert bool(seen.reason) == bool(words)


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (ended(137, "OOMKilled"), "needed more memory than its limit of 8Gi and was killed (OOMKilled)"),
        (ended(137), "was ended by SIGKILL (code 137)"),
        (ended(3, message="no such table"), "ended with code 3: no such table"),
        (ended(128, "StartError", "exec: no such file"), "ended with code 128 (StartError): exec: no such file"),
        (EVICTED, "its node ended it: Evicted: The node was low on resource: memory."),
        ({"phase": "Failed", "conditions": [DRAINED]}, "its node gave it up: EvictionByEvictionAPI: drained"),
    ],
)
def test_a_job_that_failed_says_why(status, words):
    limits = {"containers": [{"name": CONTAINER, "resources": {"limits": {"memory": "8Gi"}}}]}
    job = {"status": {"conditions": [FAILED | {"reason": "BackoffLimitExceeded"}], "failed": 1}}
    assert words in progress_of(job, [{"spec": limits, "status": status}]).reason


# ---- the launcher against the API


@dataclass
class There:
    """A house, a cluster, a launcher between them, and an order whose folder is prepared."""

    house: House
    cluster: Cluster
    order: Order
    launchers: list[Kubernetes]

    @property
    def launcher(self) -> Kubernetes:
        return self.launchers[0]

    def another(self, house: House | None = None) -> Kubernetes:
        """The launcher of another process."""
        self.launchers.append(Kubernetes(house or self.house))
        return self.launchers[-1]

    @property
    def job(self) -> str:
        return name_of(self.order)

    def look(self) -> tuple[str, str]:
        seen = self.launcher.look(self.order)
        return seen.state, seen.reason


@pytest.fixture
def there(server, tmp_path, monkeypatch) -> Iterator[There]:
    with cluster(tmp_path) as made, open_shop(server, tmp_path, trainer_url=URL, trainer_image="own@sha256:1") as house:
        monkeypatch.setenv("KUBECONFIG", str(made.config))
        folder = tmp_path / "retrainings" / "r-1" / "f" / "training"
        folder.mkdir(parents=True)
        (folder / "job.json").write_text("{}")
        (folder / "secret.parquet").write_text("not for trainers")
        order = Order("r-1", "r-1", "shop", "2", folder, KubernetesTrainer(image=IMAGE), "d1", NOON)
        found = There(house, made, order, [Kubernetes(house)])
        yield found
        for launcher in found.launchers:
            launcher.close()


def test_launched_twice_there_is_one_job_and_no_second_one_for_other_files(there):
    there.launcher.launch(there.order)
    there.another().launch(there.order)
    assert list(there.cluster.jobs) == [there.job]
    with pytest.raises(OrderDiffers, match="r-1"):
        there.launcher.launch(replace(there.order, digest="d2"))
    with pytest.raises(OrderDiffers):
        there.launcher.launch(replace(there.order, trainer=KubernetesTrainer(image="other@sha256:2")))
    assert [asked for asked in there.cluster.asked if asked[0] == "PATCH"] == []


def test_a_job_of_somebody_else_is_left_alone(there):
    there.launcher.launch(there.order)
    (job,) = there.cluster.jobs.values()
    del job["metadata"]["annotations"]
    with pytest.raises(OrderDiffers):
        there.launcher.launch(there.order)
    assert there.look()[0] == "failed"
    there.launcher.cancel(there.order)
    assert list(there.cluster.jobs) == [there.job]


def test_a_job_that_is_being_deleted_is_waited_for(there):
    there.launcher.launch(there.order)
    there.cluster.jobs[there.job]["metadata"]["deletionTimestamp"] = "2026-11-23T12:00:00Z"
    with pytest.raises(LaunchFailed, match="is being deleted"):
        there.launcher.launch(there.order)


def test_the_builtin_trainer_without_an_order_says_what_it_needs(capsys, monkeypatch):
    monkeypatch.delenv("TIDEGATE_ORDER", raising=False)
    assert main(["train-job"]) == 1
    assert "TIDEGATE_ORDER is not set" in capsys.readouterr().err


def test_the_job_is_told_where_its_files_are_and_how_to_prove_who_it_is(there):
    there.launcher.launch(there.order)
    (job,) = there.cluster.jobs.values()
    told = {each["name"]: each["value"] for each in job["spec"]["template"]["spec"]["containers"][0]["env"]}
    token = token_of(there.house.store, "r-1")
    asked = json.loads(told.pop("TIDEGATE_ORDER"))
    assert asked == {"url": f"{URL}/v1/retrainings/r-1", "token": token, "order": "r-1", "retraining": "r-1"}
    assert told == {
        "TIDEGATE_FOLDER": "/tmp/tidegate",  # noqa: S108  in a container of its own
        "TIDEGATE_URL": URL,
        "TIDEGATE_TOKEN": token,
        "TIDEGATE_RETRAINING": "r-1",
        "TIDEGATE_MODEL": "shop",
        "TIDEGATE_VERSION": "2",
    }
    assert job["metadata"]["namespace"] == NAMESPACE
    assert job["metadata"]["annotations"]["tidegate/asked"] == hash_of(there.order)


def test_a_template_of_another_form_ends_the_retraining_with_its_name(there):
    file = there.house.settings.policies / "job.yaml"
    file.write_text(TEMPLATE.replace("metadata: {labels: {team", "metadata: {labels: [team], x: {a"))
    order = replace(there.order, trainer=KubernetesTrainer(template="job.yaml"))
    with pytest.raises(BadTemplate, match="another form than in a Job"):
        there.launcher.launch(order)
    file.write_text(TEMPLATE)
    there.launcher.launch(order)
    assert there.cluster.jobs[there.job]["spec"]["backoffLimit"] == 4


def test_a_service_without_an_address_launches_nothing(there):
    nowhere = replace(there.house, settings=replace(there.house.settings, trainer_url=""))
    with pytest.raises(LaunchFailed, match="TIDEGATE_TRAINER_URL"):
        there.another(nowhere).launch(there.order)
    assert there.cluster.jobs == {}


def test_a_job_that_nobody_knows_was_lost(there):
    assert there.look() == ("lost", f"the Job {there.job} is not in ml: it was deleted")


def test_a_job_without_pods_says_what_the_cluster_warned_of(there):
    there.launcher.launch(there.order)
    there.cluster.warn(there.job, "exceeded quota: gpus")
    assert there.look() == ("waiting", "the Job has no pod now: exceeded quota: gpus")


def test_a_suspended_job_waits(there):
    there.launcher.launch(there.order)
    there.cluster.condition(there.job, "Suspended")
    assert there.look()[0] == "waiting"


def test_the_last_words_of_a_failed_job_are_in_the_reason_and_in_the_folder(there):
    there.launcher.launch(there.order)
    token = token_of(there.house.store, "r-1")
    there.cluster.pod(there.job, ended(1), log=f"epoch 1\nValueError: no rows\nTIDEGATE_TOKEN={token}\n")
    there.cluster.condition(there.job, "Failed", "BackoffLimitExceeded", failed=2)
    state, reason = there.look()
    assert state == "failed"
    assert reason == (
        "2 pods failed, the last one so: the container trainer ended with code 1; "
        "its last words: epoch 1 | ValueError: no rows | TIDEGATE_TOKEN=(the token)"
    )
    assert (there.order.folder / LOG_FILE).read_text().splitlines()[1] == "ValueError: no rows"
    assert [path for _, path in there.cluster.asked if "/log?" in path and f"container={CONTAINER}&" not in path] == []


def test_a_job_that_took_too_long_says_what_it_waited_for_though_its_pods_are_gone(there):
    there.launcher.launch(there.order)
    there.cluster.pod(there.job, waits("ImagePullBackOff", "no such image"))
    assert there.look()[0] == "waiting"
    there.cluster.lose_pods()
    there.cluster.condition(there.job, "Failed", "DeadlineExceeded")
    state, reason = there.look()
    assert state == "failed"
    assert reason.startswith("it took longer than 21600 s, its timeout; at last its container trainer cannot start")
    assert "no such image" in reason


def test_what_it_printed_before_its_deadline_outlives_its_pods(there):
    there.launcher.launch(there.order)
    there.cluster.pod(there.job, RUNNING, log="epoch 7\n")
    assert there.look() == ("running", "")
    there.cluster.lose_pods()
    there.cluster.condition(there.job, "Failed", "DeadlineExceeded")
    assert there.look()[1].endswith("; its last words: epoch 7")


def test_a_job_that_ended_well_and_sent_nothing_has_failed(there):
    there.launcher.launch(there.order)
    there.cluster.pod(there.job, {"phase": "Succeeded"}, log="all done\n")
    there.cluster.condition(there.job, "Complete")
    state, reason = there.look()
    assert state == "failed"
    assert "sent nothing" in reason
    assert reason.endswith("its last words: all done")


def test_a_cancelled_job_takes_its_pods_with_it_and_an_ended_one_stays(there):
    there.launcher.launch(there.order)
    there.launcher.cancel(there.order)
    there.launcher.cancel(there.order)
    (deleted,) = [path for verb, path in there.cluster.asked if verb == "DELETE"]
    assert deleted.endswith(f"/jobs/{there.job}?propagationPolicy=Background")
    assert there.look()[0] == "lost"
    there.launcher.launch(there.order)
    there.cluster.condition(there.job, "Failed", "BackoffLimitExceeded")
    there.launcher.cancel(there.order)
    assert list(there.cluster.jobs) == [there.job]


def test_a_cluster_that_is_away_is_asked_again_later(there):
    there.launcher.launch(there.order)
    there.cluster.point_at("http://127.0.0.1:9")
    away = there.another()
    for verb in (away.launch, away.look, away.cancel):
        with pytest.raises(LaunchFailed, match="does not answer"):
            verb(there.order)
    assert there.look()[0] == "waiting"


def test_without_any_cluster_the_reason_says_so(there, monkeypatch):
    monkeypatch.setenv("KUBECONFIG", str(there.order.folder / "nothing"))
    with pytest.raises(LaunchFailed, match="no Kubernetes is known here"):
        there.another().launch(there.order)


@pytest.mark.parametrize(
    ("status", "message", "raised", "words"),
    [
        (403, 'jobs.batch is forbidden: cannot create resource "jobs"', "LaunchFailed", "what the service account"),
        (503, "apiserver is shutting down", "LaunchFailed", "shutting down"),
        (422, 'Job.batch "x" is invalid: spec.template', "JobRefused", "spec.template"),
        (400, "admission webhook denied the request: no digest", "JobRefused", "no digest"),
    ],
)
def test_what_the_cluster_refuses_is_told_and_tried_again_where_that_may_help(there, status, message, raised, words):
    there.cluster.answer("post", f"/apis/batch/v1/namespaces/{NAMESPACE}/jobs", status, message)
    with pytest.raises(Exception, match=re.escape(words)) as told:
        there.launcher.launch(there.order)
    assert type(told.value).__name__ == raised


# ---- the whole way


def run_pod(made: Cluster, job: str) -> subprocess.CompletedProcess[str]:
    """What a kubelet does: run the container of a Job, here as a process, and say how it ended."""
    (container,) = made.jobs[job]["spec"]["template"]["spec"]["containers"]
    told = {each["name"]: each["value"] for each in container["env"]}
    known = {name: os.environ[name] for name in ("PATH", "HOME", "PYTHONPATH") if name in os.environ}
    command = [sys.executable, "-m", "service.cli", *container["args"]]
    done = subprocess.run(
        command, env=known | told, cwd=ROOT, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    made.pod(job, {"phase": "Succeeded"} if not done.returncode else ended(done.returncode), log=done.stdout)
    if done.returncode:
        made.condition(job, "Failed", "BackoffLimitExceeded")
    else:
        made.condition(job, "Complete")
    return done


def test_the_builtin_trainer_in_jobs_of_its_own_is_released(tmp_path, monkeypatch):
    with cluster(tmp_path) as made, open_plain_shop(tmp_path, rows(3000, flips_at=1500)) as plain:
        monkeypatch.setenv("KUBECONFIG", str(made.config))
        (tmp_path / "policies.d" / "policy.yaml").write_text(POLICY + "retrain: {trainer: {kind: kubernetes}}\n")
        plain.house.policies.reload()
        with client_of(plain.house) as client:
            known = replace(plain.house.settings, trainer_url=str(client.base_url), trainer_image=IMAGE)
            shop = replace(plain, house=replace(plain.house, settings=known))
            shop.serve(1000, 3000)
            opened = open_retraining(shop.house, shop.decision(change_at=1500))
            assert opened is not None
            launcher = Kubernetes(shop.house)
            loop = Loop(shop.house, shop.registry, by_kind({"kubernetes": launcher}), makes_reports=False)
            first, again = (name_of(order_of(FULL, model="flip", name=n)) for n in (opened.id, f"{opened.id}-again"))
            begun = loop.finish("flip")
            assert begun.state == "training"
            # As after a crash between the launch and the word about it.
            shop.house.ledger.save_retraining(replace(begun, order=replace(begun.order, launches=0)))
            assert loop.finish("flip").order.launches == 1
            assert set(made.jobs) == {first}
            made.pod(first, waits("ErrImagePull", "no such image"))
            assert "no such image" in loop.finish("flip").note
            done = run_pod(made, first)
            assert done.returncode == 0, done.stdout
            assert '"step": 1' in done.stdout
            assert loop.finish("flip").state == "teaching"
            assert [file.read_text() for file in tmp_path.glob(f"**/training/{LOG_FILE}")] == [done.stdout]
            assert set(made.jobs) == {first, again}
            assert run_pod(made, again).returncode == 0
            released = loop.finish("flip")
            assert released.state == "released", released.note
            assert released.checkpoints
            assert shop.house.ledger.champion("flip") == "2"
            launcher.close()
