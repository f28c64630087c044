"""The example policies: each is sound, and does what its header says where a change is plain.

`EXAMPLES` are all of them, with the defaults that stand beside some.
"""

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from jsonschema import Draft202012Validator
from ruamel.yaml import YAML
from test_decide import quiet, with_drift, with_drop, with_labels

from monitors.readings import TwinReading
from policies.decide import History, decide
from policies.file.advice import advise
from policies.file.inherit import read_defaults
from policies.file.parse import digest, dump, parse
from policies.file.policy import TwinTrigger
from policies.file.schema import defaults_schema, json_schema
from policies.file.spelled import spell_out
from service.policy_files import PolicyFolder
from service.policy_reading import is_defaults, read_settled

ROOT = Path(__file__).parent.parent / "policies" / "examples"
FILES = sorted(ROOT.rglob("*.yaml"))
DEFAULTS = [file for file in FILES if is_defaults(file)]
EXAMPLES = [file for file in FILES if file not in DEFAULTS]
NOW = datetime(2026, 10, 15, 10, tzinfo=UTC)  # outside every freeze
COLUMNS = ("prediction", "first", "second", "third")

each_example = pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: file.stem)


def policy_of(file):
    return read_settled(file).policy


def readings_of(policy, change=None):
    """Readings of all and two segments a cut; `change` is none, a drop, or a drift of every column, all of it plain."""
    named = {f"{','.join(f'{name}={value}' for name in cut)}": None for cut in policy.segments for value in ("a", "b")}
    segments = ("all", *named)
    readings = replace(quiet(segments, COLUMNS), model=policy.model)
    readings = with_labels(readings, 100_000)
    if change == "drop":
        return with_drop(readings, *segments, drop=0.5)
    if change == "drift":
        readings = with_drift(readings, *((s, c) for s in segments for c in COLUMNS), size=0.9)
        lost = replace(readings.performance, estimated_drop=np.full(len(segments), 0.5))
        return replace(readings, performance=lost)
    if change == "twin":
        return replace(readings, twin=TwinReading(wins=900, losses=100, evidence_ln=500.0, labelled=100_000))
    return readings


def actions(policy, readings, evaluations):
    """What is done at each of so many evaluations in a row, each an `evaluate` after the other."""
    history, found = History(), []
    for turn in range(evaluations):
        decision = decide(policy, readings, history, NOW + turn * policy.evaluate)
        history = history.after(decision)
        found.append(decision)
    return found


def test_there_are_enough_of_them_and_each_is_for_a_model_of_its_own():
    policies = [policy_of(file) for file in EXAMPLES]
    in_force = [policy.model for policy in policies if not policy.shadow]
    assert len(in_force) == len(set(in_force)) >= 7
    assert {policy.task.kind for policy in policies} == {"classification", "regression"}
    assert any(policy.overrides for policy in policies)
    assert any(policy.shadow for policy in policies)
    assert DEFAULTS


@each_example
def test_it_begins_with_whom_it_is_for_and_what_it_does(file):
    header = file.read_text().partition("\nmodel:")[0]
    assert "# For whom: " in header
    assert "What it does: " in header


@each_example
def test_it_survives_parse_dump_parse_and_its_spelling_out(file):
    settled = read_settled(file)
    for text in (json.dumps(dump(settled.policy)), spell_out(settled)):
        assert parse(text) == settled.policy
        assert digest(parse(text)) == digest(settled.policy)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_an_editor_with_the_schema_finds_nothing_wrong(file):
    schema = defaults_schema() if is_defaults(file) else json_schema()
    Draft202012Validator.check_schema(schema)
    plain = YAML(typ="safe", pure=True).load(file.read_text())
    Draft202012Validator(schema).validate(json.loads(json.dumps(plain, default=str)))


@each_example
def test_nothing_in_it_is_in_vain(file):
    assert list(advise(policy_of(file), NOW)) == []


@pytest.mark.parametrize("file", DEFAULTS, ids=lambda file: file.parent.name)
def test_defaults_are_sound_and_inherited_by_every_policy_beside_them(file):
    read_defaults(file.read_text(), str(file))
    beside = [policy_of(each) for each in EXAMPLES if each.parent == file.parent]
    assert beside
    assert all(policy.owner == "ml@shop.example" and policy.retrain.budget for policy in beside)


@pytest.mark.parametrize("folder", sorted({file.parent for file in EXAMPLES}), ids=lambda folder: folder.name)
def test_the_folder_can_be_watched_as_it_is(folder):
    watched = PolicyFolder(folder)
    watched.reload()
    assert watched.problems() == {}
    shadows = [name for model in watched.states() for name in watched.shadows(model)]
    assert len(watched.states()) + len(shadows) == sum(file.parent == folder for file in EXAMPLES)
    assert all(watched.is_current(model) for model in watched.states())


@each_example
def test_it_holds_while_nothing_happens(file):
    policy = policy_of(file)
    decisions = actions(policy, readings_of(policy), 3)
    assert [decision.action for decision in decisions] == ["hold"] * 3
    assert set(decisions[0].states.values()) == {"ok"}


@each_example
@pytest.mark.parametrize("change", ["drop", "drift", "twin"])
def test_it_acts_on_what_it_asks_for_once_that_lasts_and_is_the_same_each_time(file, change):
    policy = policy_of(file)
    kinds = {type(trigger) for trigger in policy.retrain.when}
    names = {"drop": "PerformanceTrigger", "drift": "DriftTrigger", "twin": TwinTrigger.__name__}
    asked = names[change] in {kind.__name__ for kind in kinds}
    decisions = actions(policy, readings_of(policy, change), policy.persist)
    assert decisions == actions(policy, readings_of(policy, change), policy.persist)
    assert all(decision.action != "retrain" for decision in decisions[:-1]) or policy.overrides
    last = decisions[-1]
    if policy.retrain.approval == "required" and asked:
        assert last.action == "watch"
        assert any(reason.code == "awaiting_approval" and reason.met for reason in last.reasons)
    else:
        assert last.action == ("retrain" if asked else "hold")
