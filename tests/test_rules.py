import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from service.web.metrics import DECLARED

CHART = Path(__file__).parent.parent / "helm/tidegate"
RULES = CHART / "rules/tidegate.rules.yaml"
RULES_TEST = CHART / "rules/tidegate.rules.test.yaml"
DASHBOARD = CHART / "dashboards/tidegate.json"

PROMTOOL = shutil.which("promtool") or ""
needs_promtool = pytest.mark.skipif(
    not PROMTOOL, reason="promtool is not installed (Debian: apt-get install prometheus)"
)


def read(path: Path) -> dict[str, Any]:
    return dict(YAML(typ="safe").load(path))


def alerts() -> list[dict[str, Any]]:
    return [rule for group in read(RULES)["groups"] for rule in group["rules"]]


def panels() -> list[dict[str, Any]]:
    return [panel for panel in json.loads(DASHBOARD.read_text())["panels"] if panel["type"] != "row"]


def expressions() -> list[str]:
    return [target["expr"] for panel in panels() for target in panel["targets"]]


def names_in(text: str) -> set[str]:
    """Metric names in a text, without the endings that a histogram's series have."""
    return {re.sub("_(bucket|sum|count)$", "", name) for name in re.findall(r"\btidegate_\w+", text)}


def promtool(*arguments: str) -> None:
    ran = subprocess.run([PROMTOOL, *arguments], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr


@needs_promtool
def test_promtool_accepts_the_rules() -> None:
    promtool("check", "rules", str(RULES))


@needs_promtool
def test_every_alert_fires_and_stays_quiet_as_its_test_says() -> None:
    promtool("test", "rules", str(RULES_TEST))


def test_every_alert_is_tested_firing_and_quiet() -> None:
    tested = [case for test in read(RULES_TEST)["tests"] for case in test["alert_rule_test"]]
    names = {alert["alert"] for alert in alerts()}

    assert {case["alertname"] for case in tested if case["exp_alerts"]} == names
    assert {case["alertname"] for case in tested if not case["exp_alerts"]} == names


@pytest.mark.parametrize("alert", alerts(), ids=lambda alert: alert["alert"])
def test_an_alert_says_its_reason_what_to_do_and_where_to_look(alert: dict[str, Any]) -> None:
    assert set(alert["annotations"]) == {"summary", "description", "console"}
    assert alert["annotations"]["console"].startswith("http://tidegate:8321/")
    assert alert["labels"]["severity"] in {"critical", "warning"}


@pytest.mark.parametrize("alert", alerts(), ids=lambda alert: alert["alert"])
def test_an_alert_does_not_repeat_itself_for_each_replica(alert: dict[str, Any]) -> None:
    assert "without (instance, pod" in alert["expr"]


def test_rules_use_only_declared_metrics() -> None:
    assert names_in(RULES.read_text()) <= {each.name for each in DECLARED}


def test_the_dashboard_shows_every_declared_metric_and_no_other() -> None:
    assert names_in("\n".join(expressions())) == {each.name for each in DECLARED}


@needs_promtool
def test_every_expression_of_the_dashboard_is_promql(tmp_path: Path) -> None:
    rules = [
        {"record": f"panel:{number}", "expr": each.replace("$__rate_interval", "5m")}
        for number, each in enumerate(expressions())
    ]
    (tmp_path / "panels.yaml").write_text(json.dumps({"groups": [{"name": "panels", "rules": rules}]}))

    promtool("check", "rules", str(tmp_path / "panels.yaml"))


def test_panels_have_a_place_of_their_own_and_a_sentence() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in panels():
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & taken, panel["title"]
        assert max(x for x, _ in cells) < 24
        assert panel["description"].endswith("."), panel["title"]
        taken |= cells


def test_the_dashboard_asks_for_its_data_source_instead_of_naming_one() -> None:
    variables = {each["name"] for each in json.loads(DASHBOARD.read_text())["templating"]["list"]}

    assert variables == {"datasource", "model", "segment"}
    assert {panel["datasource"]["uid"] for panel in panels()} == {"${datasource}"}
