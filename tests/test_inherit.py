"""Defaults: what every policy of a folder says unless it says otherwise."""

import json
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from test_policy_parse import policies

from policies.errors import PolicyInvalid
from policies.file.inherit import read_defaults
from policies.file.parse import dump, parse, settle
from policies.file.policy import BuiltinTrainer, ColumnDrift
from policies.file.schema import defaults_schema
from policies.file.shapes import OrNothing, keys_of
from policies.file.spelled import spell_out

HEAD = "model: shop\ntask: {kind: classification}\n"


def inherit(text, defaults):
    return parse(text, "shop.yaml", read_defaults(defaults, "defaults.yaml"))


def complaints(text, defaults):
    with pytest.raises(PolicyInvalid) as caught:
        inherit(text, defaults)
    return str(caught.value).splitlines()


# ---- laws


@given(policies)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_defaults_that_say_nothing_change_nothing_and_a_policy_inherits_itself(policy):
    text = spell_out(settle(_flow(policy)))
    same = {key: value for key, value in dump(policy).items() if key not in ("model", "shadow")}
    same["task"] = {key: value for key, value in same["task"].items() if key != "target"}
    assert inherit(text, "{}") == policy
    assert inherit(text, _flow(same)) == policy


@given(policies)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_a_policy_spelled_out_is_the_same_policy(policy):
    assert parse(spell_out(settle(_flow(policy)))) == policy


def _flow(value):
    return json.dumps(value if isinstance(value, dict) else dump(value), ensure_ascii=False)


# ---- what is inherited, and how


def test_a_key_that_the_file_does_not_have_is_inherited_and_its_own_wins():
    policy = inherit(HEAD + "drift: {threshold: 0.2}", "drift: {statistic: ks, threshold: 0.1}\npersist: 7\nowner: ann")
    assert (policy.drift.statistic, policy.drift.threshold, policy.persist, policy.owner) == ("ks", 0.2, 7, "ann")


def test_the_kind_of_the_task_may_be_inherited():
    assert inherit("model: shop\ntask: {target: intent}", "task: {kind: regression}").task.kind == "regression"
    assert inherit("model: shop", "task: {kind: regression}").task.success_metric == "mae"


def test_a_list_replaces_what_was_inherited():
    policy = inherit(
        HEAD + "segments: [[b]]\nretrain: {freeze: []}", 'segments: [[a]]\nretrain: {freeze: ["2026-01-01/2026-01-02"]}'
    )
    assert (policy.segments, policy.retrain.freeze) == ((("b",),), ())


def test_columns_are_inherited_one_by_one_after_the_own_ones():
    policy = inherit(
        HEAD + "drift: {columns: {'deb*': {threshold: 0.4}, text: {threshold: 0.3}}}",
        "drift: {columns: {'*': {threshold: 0.9}, text: {statistic: ks}, other: ignore}}",
    )
    assert policy.drift_rule("debug") == ColumnDrift("psi", 0.4)  # the file's patterns come first
    assert policy.drift_rule("text") == ColumnDrift("ks", 0.3)
    assert policy.drift_rule("other").ignore
    assert policy.drift_rule("more").threshold == 0.9


def test_a_mapping_of_another_kind_replaces_what_was_inherited():
    below = "task: {kind: classification, success_metric: macro_f1}\nretrain: {trainer: {kind: command, command: [x]}}"
    policy = inherit("model: shop\ntask: {kind: regression}\nretrain: {trainer: {kind: builtin}}", below)
    assert (policy.task.success_metric, policy.retrain.trainer) == ("mae", BuiltinTrainer())
    slower = inherit(HEAD + "retrain: {trainer: {timeout: 2h}}", below)
    assert (slower.retrain.trainer.command, slower.retrain.trainer.timeout) == (("x",), timedelta(hours=2))


def test_null_takes_away_what_was_inherited():
    below = "owner: ann\nretrain: {budget: {count: 2, per: 30d}}\ngate: {must_pass: cases.ndjson, latency_p95: 1s}"
    policy = inherit(HEAD + "owner: null\nretrain: {budget: ~}\ngate: {must_pass: null, latency_p95: null}", below)
    assert (policy.owner, policy.retrain.budget) == (None, None)
    assert (policy.gate.must_pass, policy.gate.latency_p95) == (None, None)
    assert inherit(HEAD, below).retrain.budget.count == 2


def test_only_what_may_be_absent_can_be_taken_away_and_an_emptied_key_is_refused():
    assert "persist: expected a whole number" in complaints(HEAD + "persist: null", "{}")[0]
    assert (
        "retrain.budget: expected the keys count, per, saw nothing" in complaints(HEAD + "retrain: {budget: }", "{}")[0]
    )
    for part in (type(parse(HEAD)), type(parse(HEAD).gate), type(parse(HEAD).retrain)):
        absent = {name for name, field in keys_of(part).items() if field.default is None}
        assert absent == {
            name for name, field in keys_of(part).items() if isinstance(field.metadata["shape"], OrNothing)
        }


def test_parts_of_a_value_may_stand_in_both_files():
    policy = inherit(HEAD + "retrain: {budget: {count: 3}}", "retrain: {budget: {per: 30d}}")
    assert policy.retrain.budget.per == timedelta(days=30)


# ---- where a problem is told


def test_a_problem_of_an_inherited_value_is_told_where_it_stands():
    below = "# ours\nperformance:\n  metric: mae\n"
    (problem,) = complaints(HEAD, below)
    assert problem.startswith(
        "defaults.yaml:3:11: performance.metric: for a classification expected accuracy, macro_f1"
    )
    told = complaints(HEAD + "persist: 0\n", below)
    assert [line.partition(":")[0] for line in told] == ["shop.yaml"]


def test_problems_of_the_file_come_before_those_of_the_defaults():
    below = "retrain: {budget: {count: 2}}\n\n\n"
    told = complaints(HEAD + "persist: 0\nzzz: 1\n", below)
    assert [line.split(":")[:3] for line in told] == [
        ["shop.yaml", "3", "10"],
        ["shop.yaml", "4", "1"],
        ["defaults.yaml", "1", "19"],
    ]


@pytest.mark.parametrize(
    ("defaults", "told"),
    [
        ("model: shop", "defaults.yaml:1:1: model: each policy says its own `model`: take it out of the defaults"),
        ("shadow: true", "defaults.yaml:1:1: shadow: each policy says its own `shadow`"),
        ("task: {target: intent}", "defaults.yaml:1:8: task.target: each policy says its own `task.target`"),
        ("drfit: {}", 'defaults.yaml:1:1: unknown key "drfit"; did you mean "drift"?'),
        (
            "drift: {threshold: high}",
            'defaults.yaml:1:20: drift.threshold: expected a number of at least 0, saw "high"',
        ),
        ("drift: {columns: {a: {threshold: x}}}", "defaults.yaml:1:34: drift.columns.a.threshold: expected a number"),
        ("retrain: {trainer: {kind: builtin, url: x}}", 'defaults.yaml:1:36: retrain.trainer: unknown key "url"'),
        (
            "retrain: {trainer: {timeout: 1h}}",
            "defaults.yaml:1:20: retrain.trainer: expected keys and values with a kind",
        ),
        ("silences: [{until: 2026-12-01}]", 'defaults.yaml:1:12: silences[0]: the key "reason" is required'),
        ("retrain: {budget: {count: x}}", "defaults.yaml:1:27: retrain.budget.count: expected a whole number"),
        ("persist: &a 2", "defaults.yaml:1:10: persist: anchors are not allowed"),
        ("[]", "defaults.yaml:1:1: expected the keys model, task"),
        ("", "defaults.yaml:1:1: the file is empty"),
    ],
)
def test_bad_defaults_are_refused_by_themselves(defaults, told):
    with pytest.raises(PolicyInvalid) as caught:
        read_defaults(defaults, "defaults.yaml")
    assert any(line.startswith(told) for line in str(caught.value).splitlines()), str(caught.value)


def test_the_schema_of_defaults_asks_for_nothing_and_knows_no_key_of_a_single_policy():
    schema = defaults_schema()
    assert "required" not in schema
    assert "required" not in schema["properties"]["task"]
    assert {"model", "shadow"}.isdisjoint(schema["properties"])
    assert "target" not in schema["properties"]["task"]["properties"]
    assert schema["properties"]["silences"]["items"]["required"] == ["until", "reason", "who"]


def test_the_spelling_out_names_the_file_and_line_of_each_value():
    below = read_defaults("owner: ann\ndrift: {threshold: 0.2}\n", "/etc/tidegate/defaults.yaml")
    text = spell_out(settle(HEAD + "persist: 4\n", "/etc/tidegate/shop.yaml", below))
    places = {line.split(":")[0].strip(): line.partition("# ")[2] for line in text.splitlines()[1:]}
    named = {key: places[key] for key in ("model", "owner", "threshold", "persist", "evaluate")}
    assert named == {
        "model": "shop.yaml:1",
        "owner": "defaults.yaml:1",
        "threshold": "defaults.yaml:2",
        "persist": "shop.yaml:3",
        "evaluate": "",
    }
