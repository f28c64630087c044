import io
import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from ruamel.yaml import YAML

from policies.errors import PolicyInvalid
from policies.file.kinds import Leaf
from policies.file.kinds import text as plain_text
from policies.file.kubernetes import Toleration
from policies.file.parse import digest, dump, parse
from policies.file.policy import (
    Balance,
    Canary,
    ColumnDrift,
    DriftTrigger,
    KubernetesTrainer,
    Override,
    Performance,
    Period,
    Policy,
    Silence,
    Task,
    WebhookTrainer,
)
from policies.file.retraining import PERIOD
from policies.file.schema import json_schema
from policies.file.shapes import OrNothing, Part, Several, Shorthand, Table, Variants, keys_of

EXAMPLES = sorted((Path(__file__).parent.parent / "policies" / "examples").glob("*.yaml"))
HEAD = "model: shop\ntask: {kind: classification}\n"  # bad edits below begin in line 3


def plain(text):
    return YAML(typ="safe", pure=True).load(text)


def problems_of(text):
    try:
        parse(text, "shop.yaml")
    except PolicyInvalid as refusal:
        return refusal.problems
    return ()


def complaints(text):
    with pytest.raises(PolicyInvalid) as caught:
        parse(text, "shop.yaml")
    return str(caught.value).splitlines()


# ---- what a file may say


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_every_example_parses_and_fits_the_schema(path):
    parse(path.read_text(), path.name)
    Draft202012Validator(json_schema()).validate(json.loads(json.dumps(plain(path.read_text()), default=str)))


def test_model_and_task_are_enough_and_the_rest_has_the_documented_defaults():
    policy = parse("{model: shop, task: {kind: classification}}")
    assert (policy.drift.statistic, policy.drift.threshold) == ("psi", 0.05)
    assert policy.performance == Performance("accuracy", 0.03, True)
    assert (policy.persist, policy.false_alarms_per_year) == (2, 1)
    assert policy.evaluate == timedelta(minutes=15)
    assert policy.retrain.requires.labelled_rows == 500
    assert policy.retrain.cooldown == timedelta(hours=1)
    assert policy.retrain.budget is None
    assert [type(trigger).__name__ for trigger in policy.retrain.when] == [
        "PerformanceTrigger",
        "DriftTrigger",
        "TwinTrigger",
    ]
    assert policy.gate.min_segment_labels == 100
    assert policy.watch.duration == timedelta(days=7)


def test_the_full_example_means_what_it_says():
    policy = parse(EXAMPLES[0].read_text())
    assert policy.segments == (("intent",), ("channel",), ("intent", "channel"))
    assert policy.column_kinds() == {"text": "text", "market": "tag", "customer_id": "ignore"}
    assert policy.window.label_delay == timedelta(days=2)
    assert policy.gate.latency_p95 == timedelta(milliseconds=50)
    assert policy.gate.canary == Canary(0.05, timedelta(hours=6))
    assert policy.retrain.freeze[0] == Period(datetime(2026, 11, 27, tzinfo=UTC), datetime(2026, 12, 1, tzinfo=UTC))
    assert policy.drift_rule("debug_x").ignore
    assert policy.drift_rule("prediction") == ColumnDrift("jensenshannon", 0.1)
    assert policy.drift_rule("text") == ColumnDrift("psi", 0.05)


def test_a_regression_is_watched_by_its_mean_absolute_error():
    policy = parse("{model: shop, task: {kind: regression}}")
    assert (policy.performance.metric, policy.task.success_metric) == ("mae", "mae")


def test_a_freeze_ends_as_its_last_date_begins():
    freeze = parse(HEAD + "retrain: {freeze: [2026-11-27/2026-12-01]}").retrain.freeze[0]
    assert freeze.covers(datetime(2026, 11, 30, 23, 59, tzinfo=UTC))
    assert not freeze.covers(datetime(2026, 12, 1, tzinfo=UTC))


def test_an_exact_column_name_wins_over_a_pattern_before_it():
    policy = parse(HEAD + 'drift: {columns: {"debug_*": ignore, debug_time: {threshold: 0.4}}}')
    assert policy.drift_rule("debug_time") == ColumnDrift("psi", 0.4)
    assert policy.drift_rule("debug_mode").ignore


def test_the_name_of_the_target_stands_for_the_prediction():
    policy = parse(
        "model: shop\ntask: {kind: classification, target: intent}\ndrift: {columns: {intent: {threshold: 1}}}"
    )
    assert policy.drift_rule("prediction").threshold == 1


@pytest.mark.parametrize(
    ("trainer", "kind"),
    [
        ("{kind: builtin}", "builtin"),
        ("{kind: command, command: [python, train.py], timeout: 2h}", "command"),
        ("{kind: kubernetes, image: trainer, namespace: ml}", "kubernetes"),
        ("{kind: kubernetes}", "kubernetes"),
        ("{kind: webhook, url: 'https://airflow.example/run', secret_env: TRAINER_SECRET}", "webhook"),
    ],
)
def test_each_trainer_has_its_own_fields(trainer, kind):
    assert parse(HEAD + f"retrain: {{trainer: {trainer}}}").retrain.trainer.kind == kind


# ---- what it may not say, and how that is told

BAD_EDITS = {
    "an unknown key": ("drfit: {}", '3:1: unknown key "drfit"; did you mean "drift"?'),
    "an unknown key, nothing close": ("drift: {zzz: 1}", '3:9: drift: unknown key "zzz"; known keys: statistic,'),
    "a word for a number": (
        "drift:\n  threshold: high",
        '4:14: drift.threshold: expected a number of at least 0, saw "high"',
    ),
    "a quoted number": (
        'drift: {threshold: "0.1"}',
        '3:20: drift.threshold: expected a number of at least 0, saw "0.1"',
    ),
    "a negative threshold": ("drift: {threshold: -1}", "3:20: drift.threshold: expected a number of at least 0, saw"),
    "no number at all": ("drift: {threshold: .nan}", "saw the number .nan; it must be finite"),
    "an endless number": ("drift: {threshold: 1e999}", "saw the number 1e999; it must be finite"),
    "a share above 1": (
        "data_quality: {missing: 1.5}",
        "3:25: data_quality.missing: expected a share between 0 and 1, like 0.05 or 5%, saw the number 1.5",
    ),
    "a percentage above 100": ("data_quality: {missing: 105%}", "3:25: data_quality.missing: expected a share"),
    "no false alarms ever": (
        "false_alarms_per_year: 0",
        "3:24: false_alarms_per_year: expected a number above 0, saw the number 0",
    ),
    "half a repetition": ("persist: 1.5", "3:10: persist: expected a whole number of at least 1, saw the number 1.5"),
    "another statistic": (
        "drift: {statistic: PSI}",
        (
            "3:20: drift.statistic: expected psi, jensenshannon, wasserstein, ks, chisquare, g_test, hellinger, kl_div "
            'or TVD, saw "PSI"; did you mean "psi"?'
        ),
    ),
    "a bare number as duration": (
        "evaluate: 15",
        "3:11: evaluate: expected a duration like 50ms, 15m, 2d or 1h30m, saw the number 15",
    ),
    "no time between evaluations": ("evaluate: 0s", "3:11: evaluate: expected a duration"),
    "an unknown trigger": (
        "retrain:\n  when:\n    - preformance",
        (
            '5:7: retrain.when[0]: expected one of performance, twin, drift, or keys and values, saw "preformance"; '
            'did you mean "performance"?'
        ),
    ),
    "a trigger misspelt inside": (
        "retrain:\n  when:\n    - {drift: {segment: 1}}",
        '5:16: retrain.when[0].drift: unknown key "segment"; did you mean "segments"?',
    ),
    "a freeze that ends first": (
        'retrain: {freeze: ["2026-12-01/2026-11-27"]}',
        (
            "3:20: retrain.freeze[0]: expected two dates or times like 2026-11-27/2026-12-01 (UTC, the end is excluded)"
            ', saw "2026-12-01/2026-11-27"; it ends before it begins'
        ),
    ),
    "a date that is none": ('retrain: {freeze: ["2026-13-01/2026-14-01"]}', "3:20: retrain.freeze[0]: expected two"),
    "a list for keys": ("drift: [psi]", "3:8: drift: expected the keys statistic, threshold, columns, saw a list of 1"),
    "keys for a list": ("segments: {intent: 1}", "3:11: segments: expected a list, like [a, b], saw keys and values"),
    "a cut without brackets": (
        "segments: [intent]",
        "3:12: segments[0]: expected a list, like [a, b], of at least 1, saw",
    ),
    "an emptied part": ("drift:", "3:1: drift: expected the keys statistic, threshold, columns, saw nothing"),
    "yes for true": ("performance: {estimate: yes}", '3:25: performance.estimate: expected true or false, saw "yes"'),
    "a number for text": (
        "owner: 42",
        "3:8: owner: expected text, saw the number 42; put it in quotes if it is meant as text",
    ),
    "a budget without its span": ("retrain: {budget: {count: 4}}", '3:19: retrain.budget: the key "per" is required'),
    "a trainer without a kind": (
        "retrain: {trainer: {image: x}}",
        "3:20: retrain.trainer: expected keys and values with a kind: builtin, command, kubernetes, webhook",
    ),
    "another trainer": ("retrain: {trainer: {kind: kubernets}}", 'saw "kubernets"; did you mean "kubernetes"?'),
    "a field of another trainer": (
        "retrain: {trainer: {kind: builtin, url: x}}",
        '3:36: retrain.trainer: unknown key "url"; known keys: kind, timeout',
    ),
    "a variable of the service": (
        "retrain: {trainer: {kind: kubernetes, env: {TIDEGATE_URL: x}}}",
        "3:59: retrain.trainer.env.TIDEGATE_URL: TIDEGATE_URL belongs to the service",
    ),
    "a name that no variable has": (
        "retrain: {trainer: {kind: kubernetes, env: {learning rate: x}}}",
        "is no name of an environment variable, like LEARNING_RATE",
    ),
    "a quantity of nothing": (
        "retrain: {trainer: {kind: kubernetes, resources: {limits: {memory: 8 GB}}}}",
        'expected a quantity like 2, 500m or 8Gi, saw "8 GB"',
    ),
    "a taint with two minds": (
        "retrain: {trainer: {kind: kubernetes, tolerations: [{key: gpu, operator: Exists, value: a100}]}}",
        "`operator: Exists` compares no value",
    ),
    "a taint without a key": (
        "retrain: {trainer: {kind: kubernetes, tolerations: [{value: a100}]}}",
        "without a key every taint is meant, which is `operator: Exists`",
    ),
    "a silence of everything": (
        "silences: [{until: 2026-12-01, reason: r, who: w}]",
        "3:12: silences[0]: a silence names a `segment`, a `column` or both",
    ),
    "the metric of another task": (
        "performance: {metric: mae}",
        (
            "3:23: performance.metric: for a classification expected accuracy, macro_f1, precision, recall, "
            "log_loss, brier or calibration, saw mae"
        ),
    ),
    "an estimate that is needed": ("performance: {estimate: false}", "3:25: performance.estimate: retrain.when asks"),
    "a segment of an ignored column": (
        "segments: [[market]]\ncolumns: {market: ignore}",
        '3:11: segments: the cut [market] needs "market", which `columns` ignores: make it a tag',
    ),
    "the same cut twice": ("segments: [[a, b], [b, a]]", "3:11: segments: the same cut is given twice"),
    "another format": ("version: 2", "3:10: version: expected a whole number from 1 to 1, saw the number 2"),
    "a key given twice": (
        "persist: 2\npersist: 3",
        "4:1: persist: the key was already given in line 3: keep one of them",
    ),
    "an anchor": ("owner: &me x", "3:8: owner: anchors are not allowed in a policy: remove it"),
    "an alias": (
        "owner: &me x\nsilences: *me",
        "4:11: silences: aliases are not allowed in a policy: write the value out",
    ),
    "a merge key": (
        "drift: {<<: {threshold: 1}}",
        "3:9: drift: merge keys are not allowed in a policy: write the values out",
    ),
    "a tag": ("owner: !!python/name:os.system x", "3:8: owner: tags are not allowed in a policy: remove it"),
    "a second document": ("---\nmodel: other", "3:1: one file holds one policy: a second document begins here"),
    "a list as key": ("? [a]\n: 1", "3:3: a key is one word, saw a list of 1"),
    "broken YAML": ("drift: {threshold: 1", "4:1: this is not YAML:"),
    "a tab": ("drift:\n\tthreshold: 1", "4:1: this is not YAML:"),
    "a control character": ("owner: a\x07b", "3:9: the control character '\\x07' cannot stand here, remove it"),
    "deep nesting": ("owner: " + "[" * 5000, "3:24: nested more than 16 deep"),
}


@pytest.mark.parametrize("edit", BAD_EDITS)
def test_a_bad_edit_is_refused_with_its_place_and_what_is_allowed(edit):
    text, expected = BAD_EDITS[edit]
    told = complaints(HEAD + text + "\n")
    where, _, _ = expected.partition(": ")
    start = f"shop.yaml:{expected}" if where[:1].isdigit() else expected
    assert any(start in line for line in told), told


@pytest.mark.parametrize("text", ["", "# nothing\n", "null", "[]", "model: x", "task: {kind: classification}"])
def test_a_file_without_model_and_task_is_refused(text):
    assert complaints(text)[0].startswith("shop.yaml:1:1: ")


def test_all_problems_are_told_at_once_in_the_order_of_the_file():
    told = complaints("modle: shop\ntask: {kind: classify}\npersist: 0\ndrift: {threshold: x, colums: {}}\n")
    places = [line.split(":")[1:3] for line in told]
    assert places == [["1", "1"], ["1", "1"], ["2", "14"], ["3", "10"], ["4", "20"], ["4", "23"]]


def test_a_problem_keeps_its_facts_apart():
    with pytest.raises(PolicyInvalid) as caught:
        parse(HEAD + "drift: {threshold: high}", "shop.yaml")
    (problem,) = caught.value.problems
    assert (problem.source, problem.line, problem.column) == ("shop.yaml", 3, 20)
    assert (problem.path, problem.seen) == ("drift.threshold", '"high"')


def test_a_file_that_is_too_large_is_not_even_read():
    assert "a policy may have" in complaints(HEAD + "#" * 300_000)[0]
    assert "more than 20,000 keys and values" in complaints(HEAD + "owner: [" + "a," * 100_000)[0]


def test_an_alias_bomb_is_refused_without_being_expanded():
    levels = ["a0: &a0 [x, x]"] + [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 11)]
    assert any("aliases are not allowed" in line for line in complaints("\n".join(levels)))


@given(st.text(max_size=60) | st.text(alphabet="{}[]:,-&*!|>'\"%#?\n\t a1.~", max_size=60))
@settings(max_examples=300, deadline=None)
def test_any_text_at_all_is_either_a_policy_or_told_with_a_place(text):
    for candidate in (text, HEAD + text):
        problems = problems_of(candidate)
        assert all(problem.line >= 1 and problem.column >= 1 and problem.message for problem in problems)


# ---- laws over every policy

FORMED = ("a", "ml-training", "x@sha256:12", "https://pipeline.example/run", "SECRET", "8Gi", "2", "0.5")
words = st.text(alphabet="abcXYZ 0127.:-_=*%#'\"é\u4e2d", min_size=1, max_size=12)
names = st.from_regex(r"[a-z][a-z_]{0,8}", fullmatch=True)
moments = st.datetimes(datetime(2020, 1, 1), datetime(2040, 1, 1)).map(lambda t: t.replace(tzinfo=UTC))  # noqa: DTZ001  hypothesis wants naive bounds
spans = st.integers(1, 10**7).map(lambda n: timedelta(milliseconds=n * 1000))
SPECIAL = {
    ("Policy", "model"): names,
    ("Policy", "segments"): st.lists(names, unique=True, max_size=3).map(lambda cut: (tuple(cut),) if cut else ()),
    ("Policy", "columns"): st.just(()),
    ("Task", "success_metric"): st.just(""),
    ("Performance", "metric"): st.just(""),
    ("Performance", "estimate"): st.just(True),
    ("KubernetesTrainer", "env"): st.sampled_from([(), (("EPOCHS", "3"), ("_x", "a: [b"))]),
    ("KubernetesTrainer", "tolerations"): st.lists(
        st.sampled_from([Toleration(operator="Exists"), Toleration("gpu", value="a100", effect="NoSchedule")])
    ).map(tuple),
    ("Policy", "overrides"): st.deferred(
        lambda: st.lists(values_of(Part(Override)), max_size=2, unique_by=lambda each: each.segment).map(tuple)
    ),
    ("Override", "segment"): st.sampled_from(["all", "*", "retu*"]),
    ("Silence", "segment"): words,
    ("WebhookTrainer", "url"): st.just("https://pipeline.example/run"),
    ("WebhookTrainer", "secret_env"): st.just("SECRET"),
    ("Canary", "share"): st.floats(0.001, 0.999),
    ("Gate", "metrics"): st.just(()),
    ("Gate", "outcome_alignment"): st.just("warn"),
    ("Producers", "most"): st.floats(0.001, 0.999),
    ("Curate", "balance"): st.sampled_from([None, Balance(("group",), least=5), Balance(("group", "x"), 1, 9)]),
}


def values_of(shape):  # noqa: PLR0911  one return a shape
    """Every value that a shape of the policy file can have."""
    if isinstance(shape, Part):
        return st.builds(shape.of, **{f.name: field_values(shape.of, f) for f in keys_of(shape.of).values()})
    if isinstance(shape, OrNothing):
        return st.none() | values_of(shape.of)
    if isinstance(shape, Several):
        return st.lists(values_of(shape.of), min_size=shape.at_least, max_size=3).map(tuple)
    if isinstance(shape, Table):
        return st.lists(st.tuples(words, values_of(shape.of)), max_size=3, unique_by=lambda pair: pair[0]).map(tuple)
    if isinstance(shape, Shorthand):
        return st.sampled_from(list(shape.words.values())) | values_of(shape.long)
    if isinstance(shape, Variants):
        return st.one_of([values_of(Part(part)) for part in shape.parts.values()])
    return leaf_values(shape)


def field_values(part, field):
    special = SPECIAL.get((part.__name__, field.name))
    if special is not None:
        return special
    values = values_of(field.metadata["shape"])
    return st.none() | values if field.default is None else values


def leaf_values(leaf: Leaf):
    form = leaf.form
    if leaf is PERIOD:
        return st.tuples(moments, moments).filter(lambda p: p[0] < p[1]).map(lambda p: Period(*p))
    if "enum" in form:
        return st.sampled_from(form["enum"])
    sizes = st.integers(1, 10**12)
    for word, values in {"duration": spans, "date": moments, "share": st.floats(0, 1), "a size like": sizes}.items():
        if word in leaf.allowed:
            return values
    if "quantity" in leaf.allowed:
        return fitting(form["anyOf"][0]["pattern"])
    kinds = {
        "integer": lambda: st.integers(form["minimum"], min(form["maximum"], 10**6)),
        "number": lambda: st.floats(
            form.get("minimum", form.get("exclusiveMinimum")),
            form.get("maximum", 1e9),
            exclude_min="exclusiveMinimum" in form,
        ),
        "boolean": st.booleans,
        "string": lambda: words if form["pattern"] == plain_text().form["pattern"] else fitting(form["pattern"]),
    }
    return kinds[form["type"]]()


def fitting(pattern):
    """Texts of a narrower form; hypothesis would take seconds to make some."""
    found = [each for each in FORMED if re.fullmatch(pattern, each)]
    return st.sampled_from(found) if found else words


policies = values_of(Part(Policy))


@given(policies)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_a_policy_survives_parse_dump_parse(policy):
    stream = io.StringIO()
    yaml = YAML(typ="safe", pure=True)
    yaml.default_flow_style = False  # its flow style writes a plain `:x`, which it then cannot read
    yaml.sort_base_mapping_type_on_output = False  # the order of patterns has a meaning
    yaml.dump(dump(policy), stream)
    for text in (stream.getvalue(), json.dumps(dump(policy), ensure_ascii=False)):
        again = parse(text)
        assert again == policy
        assert dump(again) == dump(policy)
        assert digest(again) == digest(policy)


@given(policies)
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_every_dumped_policy_fits_the_schema(policy):
    Draft202012Validator(json_schema()).validate(dump(policy))


def keys_in(schema, path=()):
    """Every key the schema knows, as the path of keys that leads to it."""
    for form in [schema, *schema.get("anyOf", []), *schema.get("oneOf", [])]:
        for name, inner in form.get("properties", {}).items():
            yield (*path, name)
            yield from keys_in(inner, (*path, name))


def test_the_schema_describes_every_key_and_parse_knows_the_same_ones():
    schema = json_schema()
    Draft202012Validator.check_schema(schema)
    known = {".".join(path) for path in keys_in(schema)}
    for path in EXAMPLES:
        assert set(spelled_keys(plain(path.read_text()))) <= known
    assert {"retrain.budget.per", "gate.canary.for", "retrain.trainer.secret_env", "silences"} <= known
    for key in sorted(known):
        *parents, name = key.split(".")
        if "trainer" not in parents:
            assert not [line for line in complaints(nest(parents, name)) if "unknown key" in line], key
            assert [line for line in complaints(nest(parents, name + "zz")) if "unknown key" in line], key


def spelled_keys(value, path=()):
    free = ("columns", "when", "segments", "freeze", "silences")
    if isinstance(value, dict) and not (path and path[-1] in free):
        for name, inner in value.items():
            yield ".".join((*path, name))
            yield from spelled_keys(inner, (*path, name))


def nest(parents, name):
    value = {name: None}
    for parent in reversed(parents):
        value = {parent: value}
    return json.dumps(value)


def test_every_key_has_a_description_of_its_own():
    def walk(schema):
        for form in [schema, *schema.get("anyOf", []), *schema.get("oneOf", [])]:
            for inner in form.get("properties", {}).values():
                assert inner["description"].endswith(".")
                walk(inner)

    walk(json_schema())


def test_the_digest_sees_what_is_said_not_how():
    short = parse("{model: shop, task: {kind: classification}}")
    spelled = parse("# mine\ntask: {kind: classification}\nmodel: shop\npersist: 2\nevaluate: 900s\n")
    assert digest(short) == digest(spelled)
    assert digest(short) != digest(parse("{model: shop, task: {kind: classification}, persist: 3}"))


def test_policies_are_values():
    assert Policy("shop", Task("regression")) == Policy("shop", Task("regression"))
    assert len({parse(HEAD), parse(HEAD)}) == 1
    assert isinstance(parse(HEAD).retrain.when[1], DriftTrigger)
    silence = Silence(datetime(2026, 1, 1, tzinfo=UTC), "why", "who", segment="intent=*")
    assert silence.covers("intent=returns")
    assert not silence.covers("channel=web")
    assert KubernetesTrainer(image="x").kind, WebhookTrainer("u", "s").kind == ("kubernetes", "webhook")
