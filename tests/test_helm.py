import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import helm_python
import pytest
from ruamel.yaml import YAML

from policies.file.parse import parse
from service.launching.job_manifest import Surroundings, manifest_of
from service.launching.port import Order
from service.settings import Settings

CHART = Path(__file__).parent.parent / "helm/tidegate"
FEATURES = sorted(path.name.removesuffix("-values.yaml") for path in (CHART / "ci").glob("*-values.yaml"))

Manifest = dict[str, Any]


def values_of(feature: str) -> Manifest:
    return dict(YAML(typ="safe").load(CHART / f"ci/{feature}-values.yaml"))


def render(values: Manifest | None = None) -> dict[tuple[str, str], Manifest]:
    """What the chart makes of the values: kind and name to manifest."""
    with helm_python.Chart.load(str(CHART)) as chart:
        files = chart.render(values or {}, name="shoes", namespace="ml")
    texts = [text for path, text in files.items() if path.endswith(".yaml")]
    manifests = [each for text in texts for each in YAML(typ="safe").load_all(text) if each]
    named = {(each["kind"], each["metadata"]["name"]): each for each in manifests}
    assert len(named) == len(manifests), "two objects of one name"
    return named


def pods(manifests: dict[tuple[str, str], Manifest]) -> dict[str, Manifest]:
    """The pod template of each Deployment, by its role."""
    return {
        each["metadata"]["labels"]["app.kubernetes.io/component"]: each["spec"]["template"]
        for (kind, _), each in manifests.items()
        if kind == "Deployment"
    }


def container(manifests: dict[tuple[str, str], Manifest], role: str = "all") -> Manifest:
    (only,) = pods(manifests)[role]["spec"]["containers"]
    return dict(only)


def environment(manifests: dict[tuple[str, str], Manifest], role: str = "all") -> Manifest:
    return {each["name"]: each.get("value", each.get("valueFrom")) for each in container(manifests, role)["env"]}


def selects(selector: Manifest, pod: Manifest) -> bool:
    return bool(selector.items() <= pod["metadata"]["labels"].items())


def keys(values: Manifest) -> Iterator[str]:
    for name, value in values.items():
        yield name
        if isinstance(value, dict):
            yield from keys(value)


def described(schema: Manifest, path: str = "values") -> Iterator[tuple[str, Manifest]]:
    yield path, schema
    for name, child in schema.get("properties", {}).items():
        yield from described(child, f"{path}.{name}")


def test_every_value_is_described_and_no_other_value_is_taken() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())

    for path, each in described(schema):
        assert each.get("description", "").endswith("."), path
        assert "properties" not in each or each["additionalProperties"] is False, path


def test_the_schema_and_the_defaults_have_the_same_values() -> None:
    def compare(schema: Manifest, defaults: Manifest, path: str) -> None:
        assert set(schema) - {"global"} == set(defaults), path
        for name, child in schema.items():
            if "properties" in child:
                compare(child["properties"], defaults[name], f"{path}.{name}")

    schema = json.loads((CHART / "values.schema.json").read_text())
    compare(schema["properties"], YAML(typ="safe").load(CHART / "values.yaml"), "values")


@pytest.mark.parametrize("feature", [None, *FEATURES])
def test_helm_finds_nothing_wrong(feature: str | None) -> None:
    report = helm_python.lint(str(CHART), values_of(feature) if feature else {}, strict=True)

    assert report["errors"] == []
    assert [each["error"] for each in report["messages"]] == ["icon is recommended"]


@pytest.mark.parametrize("feature", [None, *FEATURES])
def test_every_pod_is_confined(feature: str | None) -> None:
    values = values_of(feature) if feature else {}
    launches = values.get("trainers", {}).get("kubernetes", {}).get("enabled", False)
    for role, pod in pods(render(values)).items():
        spec = pod["spec"]
        (only,) = spec["containers"]
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert spec["automountServiceAccountToken"] is (launches and role in {"all", "scheduler"})
        assert only["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }, role
        assert not [each for each in spec["volumes"] if "hostPath" in each]
        assert {each["name"] for each in spec["volumes"]} == {each["name"] for each in only["volumeMounts"]}
        assert {"name": "tmp", "emptyDir": {}} in spec["volumes"]


@pytest.mark.parametrize("feature", [None, *FEATURES])
def test_every_selector_finds_pods(feature: str | None) -> None:
    manifests = render(values_of(feature) if feature else {})
    found = pods(manifests).values()

    for (kind, name), each in manifests.items():
        spec = each.get("spec", {})
        if kind in {"Deployment", "PodDisruptionBudget"}:
            assert sum(selects(spec["selector"]["matchLabels"], pod) for pod in found) == 1, name
        elif kind == "Service":
            assert any(selects(spec["selector"], pod) for pod in found), name
        elif kind == "NetworkPolicy":
            assert all(selects(spec["podSelector"]["matchLabels"], pod) for pod in found), name


def test_without_any_value_one_pod_runs_everything_on_the_embedded_store() -> None:
    manifests = render()

    assert container(manifests)["args"] == [
        "serve",
        "--role=all",
        "--host=0.0.0.0",
        "--port=8321",
        "--data-dir=/data",
        "--policies=/policies",
    ]
    deployment = manifests["Deployment", "shoes-tidegate"]["spec"]
    assert (deployment["replicas"], deployment["strategy"]) == (1, {"type": "Recreate"})
    assert "TIDEGATE_STORE" not in environment(manifests)
    claim = manifests["PersistentVolumeClaim", "shoes-tidegate-data"]
    assert claim["spec"]["resources"]["requests"]["storage"] == "20Gi"


def test_probes_ask_for_the_process_and_for_the_store() -> None:
    probed = container(render())

    assert probed["livenessProbe"]["httpGet"] == {"path": "/healthz", "port": "http"}
    assert probed["startupProbe"]["httpGet"] == {"path": "/healthz", "port": "http"}
    assert probed["readinessProbe"]["httpGet"] == {"path": "/readyz", "port": "http"}
    assert probed["ports"] == [{"name": "http", "containerPort": 8321}]


def test_keys_come_from_a_secret() -> None:
    manifests = render({"keys": {"existingSecret": "access", "key": "hashed.json"}})

    assert environment(manifests)["TIDEGATE_KEYS_FILE"] == "/keys/hashed.json"
    volumes = {each["name"]: each for each in pods(manifests)["all"]["spec"]["volumes"]}
    assert volumes["keys"]["secret"] == {"secretName": "access"}


def test_the_cluster_sets_no_variable_that_the_service_would_take_for_a_setting() -> None:
    assert pods(render())["all"]["spec"]["enableServiceLinks"] is False


@pytest.mark.parametrize("feature", [None, *FEATURES])
def test_the_service_takes_every_setting_that_the_chart_gives(feature: str | None) -> None:
    manifests = render(values_of(feature) if feature else {})

    for role in pods(manifests):
        flags = dict(each.removeprefix("--").split("=") for each in container(manifests, role)["args"][1:])
        given = {name: value for name, value in environment(manifests, role).items() if isinstance(value, str)}
        if "TIDEGATE_STORE" in environment(manifests, role):
            given.setdefault("TIDEGATE_STORE", "redis://from-a-secret:6379")
        settings = Settings.read(given, **{name.replace("-", "_"): value for name, value in flags.items()})
        assert (settings.role, settings.host, settings.port) == (role, "0.0.0.0", 8321)  # noqa: S104  inside a pod


def test_roles_run_apart_on_one_store_and_one_volume() -> None:
    manifests = render(values_of("split"))

    assert set(pods(manifests)) == {"api", "worker", "scheduler"}
    for role, pod in pods(manifests).items():
        assert f"--role={role}" in container(manifests, role)["args"]
        assert environment(manifests, role)["TIDEGATE_STORE"] == {
            "secretKeyRef": {"name": "tidegate-store", "key": "url"}
        }
        assert pod["spec"]["volumes"][0]["persistentVolumeClaim"]["claimName"] == "shoes-tidegate-data"
    assert manifests["Deployment", "shoes-tidegate-worker"]["spec"]["replicas"] == 4
    assert container(manifests, "worker")["resources"] == {"requests": {"cpu": "2", "memory": "2Gi"}}
    assert container(manifests, "api")["resources"]["limits"] == {"memory": "2Gi"}
    assert manifests["Service", "shoes-tidegate"]["spec"]["selector"]["app.kubernetes.io/component"] == "api"
    claim = manifests["PersistentVolumeClaim", "shoes-tidegate-data"]["spec"]
    assert (claim["accessModes"], claim["storageClassName"]) == (["ReadWriteMany"], "shared")


def test_a_store_elsewhere_allows_replicas_that_roll() -> None:
    manifests = render(values_of("external-store"))

    deployment = manifests["Deployment", "shoes-tidegate"]["spec"]
    assert (deployment["replicas"], deployment["strategy"]) == (3, {"type": "RollingUpdate"})
    env = environment(manifests)
    assert env["TIDEGATE_STORE"] == "rediss://valkey.data:6379/0"
    assert env["TIDEGATE_DURABILITY"] == "wait:1"
    assert container(manifests)["envFrom"] == [{"secretRef": {"name": "proxy"}}]
    assert not [name for kind, name in manifests if kind == "PersistentVolumeClaim"]


def test_policies_arrive_as_they_were_written() -> None:
    values = values_of("policies")

    manifests = render(values)

    held = manifests["ConfigMap", "shoes-tidegate-policies"]["data"]
    assert {name: text.rstrip() for name, text in held.items()} == {
        f"{name}.yaml": text.rstrip() for name, text in values["policies"].items()
    }
    assert {"name": "policies", "mountPath": "/policies", "readOnly": True} in container(manifests)["volumeMounts"]


def test_an_edited_policy_restarts_nothing() -> None:
    assert pods(render(values_of("policies"))) == pods(render())


def test_monitoring_scrapes_every_pod_with_a_key() -> None:
    manifests = render(values_of("monitoring"))

    monitor = manifests["ServiceMonitor", "shoes-tidegate"]
    assert monitor["metadata"]["labels"]["release"] == "prometheus"
    selector = monitor["spec"]["selector"]["matchLabels"]
    services = [each for (kind, _), each in manifests.items() if kind == "Service"]
    (scraped,) = [each for each in services if selector.items() <= each["metadata"]["labels"].items()]
    (endpoint,) = monitor["spec"]["endpoints"]
    assert (endpoint["path"], endpoint["port"]) == ("/metrics", scraped["spec"]["ports"][0]["name"])
    assert endpoint["authorization"]["credentials"] == {"name": "tidegate-scrape", "key": "key"}
    assert "app.kubernetes.io/component" not in scraped["spec"]["selector"]


def test_rules_are_the_files_with_links_to_the_console() -> None:
    rules = (CHART / "rules/tidegate.rules.yaml").read_text()
    expected = YAML(typ="safe").load(rules.replace("http://tidegate:8321", "https://tidegate.awesomeshoes.example"))

    assert render(values_of("monitoring"))["PrometheusRule", "shoes-tidegate-tidegate"]["spec"] == expected


def test_without_an_address_of_the_console_links_go_to_the_service() -> None:
    rule = render({"prometheusRule": {"enabled": True}})["PrometheusRule", "shoes-tidegate-tidegate"]

    links = [each["annotations"]["console"] for group in rule["spec"]["groups"] for each in group["rules"]]
    assert {link.split("?")[0] for link in links} == {"http://shoes-tidegate.ml:8321/"}


def test_a_cluster_of_masters_is_given_by_some_of_its_nodes() -> None:
    manifests = render(values_of("cluster"))

    assert set(pods(manifests)) == {"api", "worker", "scheduler"}
    assert manifests["Deployment", "shoes-tidegate-worker"]["spec"]["replicas"] == 3
    for role in pods(manifests):
        settings = Settings.read(environment(manifests, role))
        assert settings.store.startswith("rediss+cluster://valkey-0.data:6379,")
        assert (settings.durability.replicas, settings.partitions) == (1, 12)


def test_pods_with_an_archive_on_object_storage_share_no_volume() -> None:
    manifests = render(values_of("object-storage"))

    assert "PersistentVolumeClaim" not in {kind for kind, _ in manifests}
    assert {"name": "data", "emptyDir": {}} in pods(manifests)["all"]["spec"]["volumes"]
    assert manifests["Deployment", "shoes-tidegate"]["spec"]["strategy"] == {"type": "RollingUpdate"}
    settings = Settings.read(environment(manifests))
    assert settings.archive_place == "s3://awesomeshoes-tidegate/archive"
    assert settings.store.startswith("redis+sentinel://")


def test_notices_go_where_a_secret_says_with_links_to_the_console() -> None:
    given = environment(render(values_of("notices")))

    keys = {"TIDEGATE_NOTICE_URL": "url", "TIDEGATE_NOTICE_SECRET": "secret", "TIDEGATE_SLACK_URL": "mattermost"}
    for name, key in keys.items():
        assert given[name] == {"secretKeyRef": {"name": "tidegate-notices", "key": key, "optional": True}}
    assert given["TIDEGATE_PUBLIC_URL"] == "https://tidegate.awesomeshoes.example"
    assert not {*keys, "TIDEGATE_PUBLIC_URL"} & set(environment(render()))


def test_jobs_that_train_need_rights_that_nobody_has_by_default() -> None:
    assert not {"Role", "RoleBinding", "ClusterRole"} & {kind for kind, _ in render()}
    assert not [name for name in environment(render()) if "TRAINER" in name]


def test_the_scheduler_may_launch_look_and_cancel_where_jobs_train_and_no_more() -> None:
    manifests = render(values_of("kubernetes-trainer"))

    role, binding = (manifests[kind, "shoes-tidegate-trainers"] for kind in ("Role", "RoleBinding"))
    assert role["metadata"]["namespace"] == binding["metadata"]["namespace"] == "ml-training"
    allowed = {name: rule["verbs"] for rule in role["rules"] for name in rule["resources"]}
    assert allowed == {
        "jobs": ["create", "get", "delete"],
        "pods": ["list"],
        "pods/log": ["get"],
        "events": ["list"],
    }
    assert binding["roleRef"]["name"] == role["metadata"]["name"]
    assert binding["subjects"] == [{"kind": "ServiceAccount", "name": "shoes-tidegate", "namespace": "ml"}]
    given = environment(manifests, "scheduler")
    assert given["TIDEGATE_TRAINER_URL"] == "http://shoes-tidegate.ml.svc:8321"
    assert given["TIDEGATE_TRAINER_IMAGE"] == container(manifests, "scheduler")["image"]
    (rule,) = manifests["NetworkPolicy", "shoes-tidegate"]["spec"]["ingress"]
    assert rule["from"][1:] == [
        {
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "ml-training"}},
            "podSelector": {"matchLabels": {"app.kubernetes.io/name": "tidegate-trainer"}},
        }
    ]


def test_what_the_policy_lets_in_is_what_the_launcher_makes() -> None:
    policy = parse(values_of("kubernetes-trainer")["policies"]["shop"])
    order = Order("r-1", "r-1", "shop", "2", Path(), policy.retrain.trainer, "d", datetime(2026, 12, 1, tzinfo=UTC))
    manifests = render(values_of("kubernetes-trainer"))
    job = manifest_of(order, Surroundings("ml", environment(manifests, "scheduler")["TIDEGATE_TRAINER_IMAGE"], {}))

    (peer,) = manifests["NetworkPolicy", "shoes-tidegate"]["spec"]["ingress"][0]["from"][1:]
    assert selects(peer["podSelector"]["matchLabels"], job["spec"]["template"])
    assert peer["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"] == job["metadata"]["namespace"]
    assert manifests["Role", "shoes-tidegate-trainers"]["metadata"]["namespace"] == job["metadata"]["namespace"]
    for (kind, _), each in manifests.items():
        if kind in {"Service", "PodDisruptionBudget"}:
            selector = each["spec"]["selector"]
            assert not selects(selector.get("matchLabels", selector), job["spec"]["template"])


def test_job_templates_lie_below_the_policies_and_are_taken_for_none() -> None:
    values = values_of("kubernetes-trainer")
    manifests = render(values)

    volumes = {each["name"]: each for each in pods(manifests)["scheduler"]["spec"]["volumes"]}
    policies, jobs = (source["configMap"] for source in volumes["policies"]["projected"]["sources"])
    assert policies == {"name": "shoes-tidegate-policies"}
    assert jobs == {"name": "shoes-tidegate-jobs", "items": [{"key": "train.yaml", "path": "jobs/train.yaml"}]}
    held = manifests["ConfigMap", "shoes-tidegate-jobs"]["data"]["train.yaml"]
    assert held.rstrip() == values["trainers"]["kubernetes"]["templates"]["train"].rstrip()
    assert parse(values["policies"]["shop"]).retrain.trainer.template == "jobs/train.yaml"


def test_an_address_and_an_image_of_ones_own_go_before() -> None:
    own = {"url": "https://tidegate.example", "kubernetes": {"enabled": True, "image": "mine@sha256:1"}}
    given = environment(render({"trainers": own}))

    assert (given["TIDEGATE_TRAINER_URL"], given["TIDEGATE_TRAINER_IMAGE"]) == (own["url"], "mine@sha256:1")
    assert render({"trainers": own})["Role", "shoes-tidegate-trainers"]["metadata"]["namespace"] == "ml"


def test_dashboards_are_the_files() -> None:
    held = render(values_of("monitoring"))["ConfigMap", "shoes-tidegate-dashboards"]

    assert held["metadata"]["labels"]["grafana_dashboard"] == "1"
    dashboards = {path.name: json.loads(path.read_text()) for path in (CHART / "dashboards").glob("*.json")}
    assert {name: json.loads(text) for name, text in held["data"].items()} == dashboards


def test_kinds_that_a_cluster_may_not_know_are_made_only_when_asked_for() -> None:
    assert {kind for kind, _ in render()} == {
        "ConfigMap",
        "Deployment",
        "PersistentVolumeClaim",
        "Service",
        "ServiceAccount",
    }


def test_a_platform_may_choose_the_user_and_never_root() -> None:
    manifests = render(values_of("restricted"))

    assert pods(manifests)["all"]["spec"]["securityContext"] == {
        "runAsNonRoot": True,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    assert container(manifests)["image"].startswith("images.awesomeshoes.example/tidegate@sha256:")
    assert pods(manifests)["all"]["spec"]["serviceAccountName"] == "tidegate-runner"
    (rule,) = manifests["NetworkPolicy", "shoes-tidegate"]["spec"]["ingress"]
    assert rule["ports"] == [{"protocol": "TCP", "port": "http"}]
    assert rule["from"] == values_of("restricted")["networkPolicy"]["from"]


def test_placement_is_passed_on() -> None:
    values = values_of("placement")

    manifests = render(values)

    pod = pods(manifests)["all"]
    for name in ("nodeSelector", "tolerations", "affinity", "topologySpreadConstraints", "priorityClassName"):
        assert pod["spec"][name] == values[name]
    assert pod["metadata"]["annotations"] == {"team": "assistant"}
    assert pod["metadata"]["labels"]["cost-center"] == "ml"
    assert environment(manifests)["TIDEGATE_PARTITIONS"] == "8"
    assert manifests["Service", "shoes-tidegate"]["spec"]["ports"][0]["port"] == 80


@pytest.mark.parametrize(
    "wrong",
    [
        {"replica": 2},
        {"replicas": 0},
        {"replicas": "two"},
        {"roles": {"split": "yes"}},
        {"roles": {"trainer": {"replicas": 1}}},
        {"keys": {"existingSecret": ""}},
        {"store": {"url": "valkey.data:6379"}},
        {"store": {"url": "redis+x://valkey.data"}},
        {"archive": "bucket/folder"},
        {"durability": "sometimes"},
        {"persistence": {"size": "much"}},
        {"persistence": {"accessMode": "ReadOnlyMany"}},
        {"policies": {"shoes": {"version": 1}}},
        {"policies": {"../shoes": "version: 1"}},
        {"security": {"runAsUser": 0}},
        {"image": {"digest": "sha256:short"}},
        {"service": {"port": 70000}},
        {"serviceMonitor": {"interval": "often"}},
        {"console": {"url": "tidegate.example"}},
        {"trainers": {"url": "tidegate.example"}},
        {"trainers": {"kubernetes": {"namespaces": ["ML"]}}},
        {"notices": {"slackKey": ""}},
        {"notices": {"url": "https://hooks.slack.example/secret"}},
        {"terminationGracePeriodSeconds": 1},
    ],
    ids=json.dumps,
)
def test_a_wrong_value_is_refused_by_the_schema(wrong: Manifest) -> None:
    with (
        helm_python.Chart.load(str(CHART)) as chart,
        pytest.raises(helm_python.HelmError, match="|".join(map(re.escape, keys(wrong)))),
    ):
        chart.validate_schema(wrong)


SHARED = {"persistence": {"accessMode": "ReadWriteMany"}}
STORE = {"url": "redis://valkey:6379"}


@pytest.mark.parametrize(
    ("together", "advice"),
    [
        ({"replicas": 2, **SHARED}, "the embedded store serves one pod"),
        ({"roles": {"split": True}, **SHARED}, "roles.split needs a store"),
        ({"durability": "wait:1"}, "has no replicas"),
        ({"persistence": {"enabled": False}}, "lives in the data volume"),
        ({"store": {**STORE, "existingSecret": "store"}}, "in one place"),
        ({"replicas": 2, "store": STORE}, "ReadWriteMany"),
        ({"replicas": 2, "store": STORE, "persistence": {"enabled": False}}, "must share one data volume"),
        ({"replicas": 2, "store": STORE, "archive": "s3://shoes/archive"}, "persistence.enabled to false"),
    ],
)
def test_values_that_are_wrong_together_are_refused_with_advice(together: Manifest, advice: str) -> None:
    with pytest.raises(helm_python.HelmRenderError, match=advice):
        render(together)


def test_the_package_has_rules_and_dashboards_and_none_of_the_tests(tmp_path: Path) -> None:
    with helm_python.Chart.load(str(CHART)) as chart:
        names = {each["name"] for each in chart.files}

    assert {"rules/tidegate.rules.yaml", "dashboards/tidegate.json"} <= names
    assert not [each for each in names if each.startswith("ci/") or "test" in each]
    assert helm_python.package(str(CHART), destination=str(tmp_path))
