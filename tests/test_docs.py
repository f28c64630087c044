import argparse
import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest
from ruamel.yaml import YAML

from monitors.readings import FAULT_KINDS
from monitors.statistics.formulas import STATISTICS
from policies.decision import CODES, CONDITION_CODES, HOLD_CODES, TRIGGER_CODES
from policies.file.measures import STATISTICS as POLICY_STATISTICS
from policies.file.parse import parse
from policies.file.schema import json_schema
from policies.gate import GATE_CODES
from policies.states import STATES
from service.cli import parser_of_commands
from service.intake.bodies.checks import REASONS
from service.intake.joining.ends import ENDS
from service.ledger.records import FINISHED
from service.settings import SETTING_NAMES, Settings

ROOT = Path(__file__).parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
WITH_POLICIES = [p for p in PAGES if p.parent.name == "how-to" or p.name in {"policy.md", "tutorial.md"}]
SHOWS_COMMANDS = [p for p in PAGES if p.name in {"README.md", "tutorial.md"} or p.parent.name == "how-to"]
WAITS = re.compile(r"^sleep \d+$", re.MULTILINE)


def page(name: str) -> str:
    return (ROOT / "docs" / name).read_text()


def blocks(text: str, *languages: str) -> list[str]:
    found = re.findall(r"^```(\w*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return [body for language, body in found if language in languages]


def prose(text: str) -> str:
    return re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)


def section(text: str, heading: str) -> str:
    """What stands between a heading of the second level and the next one."""
    found = re.search(rf"^## {re.escape(heading)}\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    return found[1] if found else ""


def first_cells(text: str) -> list[str]:
    """What the tables name in backticks in their first column."""
    return re.findall(r"^\| `([^`]+)` \|", text, re.MULTILINE)


def rows_of(text: str) -> dict[str, list[str]]:
    """The tables' other cells by the name in the first column."""
    lines = re.findall(r"^\| `([^`]+)` \|(.*)\|$", text, re.MULTILINE)
    return {name: [cell.strip() for cell in rest.split(" | ")] for name, rest in lines}


def anchors(text: str) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", prose(text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", h.replace("`", "").lower()).strip().replace(" ", "-") for h in headings}


# ---- all pages


@pytest.mark.parametrize("path", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_every_relative_link_leads_somewhere(path):
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(path.read_text())):
        if not re.match(r"[a-z]+:", target):
            file, _, anchor = target.partition("#")
            aim = (path.parent / file).resolve() if file else path
            assert aim.is_file(), target
            assert not anchor or anchor in anchors(aim.read_text()), target


def test_every_page_is_in_the_index():
    index = page("README.md") + page("decisions/README.md")
    for path in (ROOT / "docs").rglob("*.md"):
        assert path.name in index or path == ROOT / "docs/README.md", path


def test_decisions_are_numbered_without_a_gap():
    names = sorted(path.name for path in (ROOT / "docs/decisions").glob("0*.md"))
    assert [int(name[:4]) for name in names] == list(range(1, len(names) + 1))
    for name in names:
        text = page(f"decisions/{name}")
        assert text.startswith(f"# {int(name[:4])} · ")
        assert all(f"**{part}.**" in text for part in ("Context", "Decision", "Consequence")), name


@pytest.mark.parametrize("path", WITH_POLICIES, ids=lambda p: p.name)
def test_every_whole_policy_in_the_docs_parses(path):
    text = path.read_text()
    texts = blocks(text, "yaml") + re.findall(r"<<'YAML'\n(.*?)^YAML$", text, re.MULTILINE | re.DOTALL)
    for text in texts:
        if re.search(r"^model:", text, re.MULTILINE):
            parse(text, path.name)
        else:
            list(YAML(typ="safe").load_all(text))


@pytest.mark.parametrize("path", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_every_json_in_the_docs_is_json(path):
    for text in blocks(path.read_text(), "json"):
        json.loads(text)


# ---- the command line


def commands() -> dict[str, argparse.ArgumentParser]:
    """Every command that can be typed, by its words."""

    def walk(parser: argparse.ArgumentParser, words: tuple[str, ...]) -> Iterator[tuple[str, argparse.ArgumentParser]]:
        inner = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
        if not inner:
            yield " ".join(words), parser
        for action in inner:
            for name, child in action.choices.items():
                yield from walk(child, (*words, name))

    return dict(walk(parser_of_commands(), ("tidegate",)))


def flags(parser: argparse.ArgumentParser) -> set[str]:
    return {option for action in parser._actions for option in action.option_strings if option.startswith("--")} - {
        "--help"
    }


def test_every_command_has_its_section_with_every_flag():
    text = page("reference/cli.md")
    assert set(re.findall(r"^## `([^`]+)`$", text, re.MULTILINE)) == set(commands())
    for name, parser in commands().items():
        told = rows_of(section(text, f"`{name}`"))
        required = {action.option_strings[0] for action in parser._actions if action.required and action.option_strings}
        assert set(told) == flags(parser), name
        assert {flag for flag, (default, *_) in told.items() if default == "required"} == required, name


@pytest.mark.parametrize("path", SHOWS_COMMANDS, ids=lambda p: str(p.relative_to(ROOT)))
def test_every_command_shown_can_be_typed(path):
    text = re.sub(r"<<'(\w+)'.*?^\1$", "", path.read_text(), flags=re.MULTILINE | re.DOTALL)
    for line in "\n".join(blocks(text, "sh")).replace("\\\n", " ").splitlines():
        if typed := re.search(r"(?:^|\s|/)tidegate (.+)$", line):
            words = shlex.split(typed[1], comments=True)
            end = next((i for i, word in enumerate(words) if word in {">", ">>", "|"}), len(words))
            if not line.startswith(("helm", "docker", "kubectl")):
                parser_of_commands().parse_args(words[:end])


def test_every_make_target_shown_is_there():
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for path in PAGES:
        shown = re.findall(r"^make (\w+)|`make (\w+)`", path.read_text(), re.MULTILINE)
        assert {first or second for first, second in shown} <= targets, path


# ---- reference pages against the code's own tables


def test_every_setting_is_told_with_its_default():
    rows = rows_of(page("reference/settings.md").partition("## Durability")[0])
    assert set(rows) == {f"TIDEGATE_{name.upper()}" for name in SETTING_NAMES}
    for name in SETTING_NAMES:
        default = rows[f"TIDEGATE_{name.upper()}"][0].strip("`")
        told = {} if default == "(empty)" else {name: default}
        meant = {name: str(getattr(Settings(), name))} if name in {"data_dir", "policies"} else {}
        assert getattr(Settings.read({}, **told), name) == getattr(Settings.read({}, **meant), name), name
        assert (getattr(Settings(), name) == "") == (default == "(empty)"), name


def policy_keys(schema: Mapping[str, Any], path: str = "") -> Iterator[str]:
    for name, child in schema.get("properties", {}).items():
        yield path + name
        yield from _inner_keys(child, path + name)


def _inner_keys(schema: Mapping[str, Any], path: str) -> Iterator[str]:
    yield from policy_keys(schema, f"{path}.")
    for form in (*schema.get("anyOf", ()), *schema.get("oneOf", ())):
        yield from _inner_keys(form, path)
    if isinstance(schema.get("items"), dict):
        yield from _inner_keys(schema["items"], f"{path}[]")
    if isinstance(schema.get("additionalProperties"), dict):
        yield from _inner_keys(schema["additionalProperties"], f"{path}.*")


def test_every_key_of_a_policy_is_told_and_no_other():
    assert set(first_cells(page("reference/policy.md"))) == set(policy_keys(json_schema()))


def test_every_statistic_is_told_with_its_formula():
    told = first_cells(section(page("reference/statistics.md"), "Size: how far"))
    assert set(told) == set(STATISTICS) == set(POLICY_STATISTICS)


@pytest.mark.parametrize(
    ("heading", "known"),
    [
        ("Actions", {"hold", "watch", "retrain"}),
        ("Reasons of a decision", set(CODES)),
        ("Segment states", set(STATES)),
        ("Kinds of fault", set(FAULT_KINDS)),
        ("Reasons of the gate", set(GATE_CODES)),
        ("Retrainings", {"requested", "training", "judging", "teaching", "trying", *FINISHED}),
        ("Label ends", set(ENDS)),
        ("Reasons for which rows are rejected", set(REASONS)),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_every_stable_word_is_explained_and_no_other(heading, known):
    assert set(first_cells(section(page("reference/reasons.md"), heading))) == known


def test_triggers_and_holds_are_told_apart():
    told = rows_of(section(page("reference/reasons.md"), "Reasons of a decision"))
    kinds = {"trigger": set(TRIGGER_CODES), "hold": set(HOLD_CODES), "condition": set(CONDITION_CODES)}
    assert {kind: {code for code, row in told.items() if row[0] == kind} for kind in kinds} == kinds


def test_every_alert_is_explained_and_no_other():
    rules = YAML(typ="safe").load(ROOT / "helm/tidegate/rules/tidegate.rules.yaml")
    alerts = {rule["alert"] for group in rules["groups"] for rule in group["rules"]}
    assert set(first_cells(page("how-to/read-an-alert.md"))) == alerts


# ---- the tutorial, as it is written


@pytest.fixture
def service(tmp_path) -> Iterator[str]:
    """What `make serve` starts, on a free port, with the tutorial's folders in a folder of their own."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "service.cli", "serve", "--port", str(port), "--data-dir", str(tmp_path / "data")]
    with (tmp_path / "log").open("wb") as log:
        child = subprocess.Popen(
            [*command, "--policies", str(tmp_path / "policies.d")], cwd=ROOT, stdout=log, stderr=log
        )
    try:
        yield f"http://localhost:{port}"
    finally:
        child.send_signal(signal.SIGTERM)
        child.wait()


def wait_until(true: Any, log: Path, seconds: float = 90) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            if true():
                return
        except (httpx.TransportError, KeyError):
            pass
        time.sleep(0.1)  # the service folds and evaluates in its own time
    raise AssertionError(log.read_text()[-5000:])


def test_the_tutorial_works_as_it_is_written(service, tmp_path):
    told: list[str] = []
    model = f"{service}/v1/models/shop"
    wait_until(lambda: httpx.get(f"{service}/readyz").status_code == 200, tmp_path / "log")
    steps = "\n".join(blocks(page("tutorial.md"), "sh")).replace("make serve\n", "")
    for here, there in {
        "localhost:8321": service.removeprefix("http://"),
        ".venv/bin/tidegate": f"{shlex.quote(sys.executable)} -m service.cli",
        "/tmp/shop": str(tmp_path / "shop"),  # noqa: S108  the tutorial's folder, which is not used here
        "mkdir -p policies.d": f"mkdir -p {tmp_path / 'policies.d'}",
        " policies.d/": f" {tmp_path}/policies.d/",
        "evaluate: 5s": "evaluate: 1s",
    }.items():
        assert here in steps, here
        steps = steps.replace(here, there)
    # Where the reader waits, the test looks: for the policy, then each time for an evaluation of all that was posted.
    waits = [
        lambda: httpx.get(model).status_code == 200,
        lambda: reading(model)["performance"]["labelled"] > 1_500,
        lambda: reading(model)["rows"] > 3_300,
        lambda: reading(model)["performance"]["value"] < 0.9,
        lambda: httpx.get(model).json()["champion"] == "2",
    ]
    parts = WAITS.split(steps)
    assert len(parts) == len(waits) + 1
    environment = {**os.environ, "TIDEGATE_URL": service, "PYTHONPATH": str(ROOT)}
    for part, true in zip(parts, [*waits, lambda: True], strict=True):
        run = ["bash", "-euo", "pipefail", "-c", part]
        done = subprocess.run(run, cwd=tmp_path, env=environment, check=False, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        told.append(done.stdout)
        wait_until(true, tmp_path / "log")
    assert "a policy for shop" in told[0]
    assert '"accepted":2000' in told[1]
    assert re.search(r"^ok +all ", told[2], re.MULTILINE)
    assert re.search(r"^(watch|drifting) +all ", told[3], re.MULTILINE)
    assert re.search(r"^(watch|drifting) +all ", told[4], re.MULTILINE)
    assert "performance_drop: intent=returns" in told[5]
    assert "version 2 replaced 1" in told[5]
    assert '"kind": "rollback"' in told[5]


def reading(model: str) -> dict[str, Any]:
    return dict(httpx.get(f"{model}/segments/all").json())


PARTS_OF_BENCHMARKS = {"machine", "traffic", "drifts", "estimates_nannyml", "load", "sender", "bare", "value_rules"}


def test_every_benchmark_has_its_output_in_the_figures_and_a_line_in_their_index():
    names = {file.stem for file in (ROOT / "benchmarks").glob("*.py")} - PARTS_OF_BENCHMARKS
    kept = {file.name for file in (ROOT / "docs" / "figures").glob("*.txt")}
    index = page("figures/README.md")
    assert {name for name in names if not any(file.startswith(name) for file in kept)} == set()
    assert {file for file in kept if file not in index} == set()
    assert {name for name in names if f"benchmarks/{name}.py" not in index} == set()


def test_every_kept_figure_says_what_it_was_measured_on():
    for file in (ROOT / "docs" / "figures").glob("*.txt"):
        assert "numpy" in file.read_text().splitlines()[0], file.name
