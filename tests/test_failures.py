"""Failure categories: every error is in exactly one, what was planted is found by name, and chance is found nowhere."""

from functools import cache

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from streams import WORDS

from monitors.baseline.baselines import Baseline, build
from monitors.reading.failures.categories import EXAMPLES, Failures, assign, find_failures
from monitors.reading.failures.rules import KINDS, OTHER_RULE, Condition, Rule, from_plain, to_plain
from monitors.statistics.excess import excess_ln, rise_ln
from monitors.statistics.trend import trend_z
from policies.failures import (
    ANSWERS,
    LEAST_SEVERITY,
    MOST_SEVERITY,
    TREND_FACTORS,
    Tally,
    is_back,
    priority_of,
    prove,
    severity_of,
)

CLASSES = ["fit", "returns", "shipping", "refund"]
ROWS = 4_000
HOUR = 3_600


def world(seed: int, rows: int = ROWS, error: float = 0.08) -> dict[str, np.ndarray]:
    """Columns by name; errors fall at random."""
    rng = np.random.default_rng(seed)
    said = rng.choice(CLASSES, rows, p=[0.4, 0.3, 0.2, 0.1])
    columns = {
        "x1": rng.normal(size=rows),
        "x2": rng.uniform(0, 100, rows),
        "channel": rng.choice(["web", "app", "shop"], rows),
        "market": rng.choice(["DE", "AT", "CH", "FR", "IT"], rows),
        "text": np.array([" ".join(each) for each in rng.choice(WORDS, (rows, 4))], dtype=object),
        "secret": np.array([f"user-{i % 400}" for i in range(rows)]),
        "said": said,
        "label": said.astype(object).copy(),
    }
    spoil(columns, rng.random(rows) < error, rng)
    return columns


def spoil(columns, where, rng, label=None):
    for row in np.flatnonzero(where):
        columns["label"][row] = label or rng.choice([c for c in CLASSES if c != columns["said"][row]])


def table_of(columns, start: int = 0) -> pa.Table:
    rows = len(columns["said"])
    times = (start + np.arange(rows) * 60) * 1_000_000
    features = {
        f"feature_{name}": pa.array(values.tolist(), from_pandas=True)
        for name, values in columns.items()
        if name not in {"said", "label"}
    }
    return pa.table(
        {
            "prediction_id": [f"p{i}" for i in range(rows)],
            "timestamp": pa.array(times, pa.timestamp("us", "UTC")),
            "prediction": pa.array(columns["said"].tolist()),
            "label": pa.array(columns["label"].tolist()),
            **features,
        }
    )


@cache
def baseline() -> Baseline:
    return build(
        table_of(world(1_000, 5_000)),
        model="m",
        version="1",
        cuts=[["intent"], ["channel"]],
        task="classification",
        target="intent",
        columns={"secret": "ignore"},
    )


def found_in(columns, **options) -> Failures:
    return find_failures(table_of(columns, 10_000_000), baseline(), **options)


def names(found: Failures, *bases: str) -> list[str]:
    return [each.rule.name for each in found.categories if each.basis in (bases or ("evidence", "fact"))]


@given(seed=st.integers(0, 10_000), share=st.floats(0, 0.6), web=st.floats(0, 1))
@settings(max_examples=12, deadline=None)
def test_every_error_is_in_exactly_one_category(seed, share, web):
    columns = world(seed, 600, share)
    rng = np.random.default_rng(seed + 1)
    spoil(columns, (columns["channel"] == "web") & (rng.random(600) < web), rng)
    table = table_of(columns)
    found = find_failures(table, baseline())
    wrong = columns["said"] != columns["label"]
    assert found.errors == wrong.sum() == sum(each.errors for each in found.categories)
    assert sum(each.share for each in found.categories) == pytest.approx(1.0 if found.errors else 0.0)
    assert [sum(each.counts) for each in found.categories] == [each.errors for each in found.categories]
    given_to = assign([each.rule for each in found.categories], table, baseline())
    assert [identity == "" for identity in given_to] == (~wrong).tolist()
    assert {each.rule.id: given_to.count(each.rule.id) for each in found.categories} == {
        each.rule.id: each.errors for each in found.categories
    }


@given(st.integers(0, 1_000))
@settings(max_examples=4, deadline=None)
def test_the_order_of_the_rows_changes_nothing(seed):
    columns = world(seed, 1_500)
    rng = np.random.default_rng(seed + 1)
    spoil(columns, (columns["market"] == "FR") & (rng.random(1_500) < 0.5), rng)
    table = table_of(columns)
    shuffled = table.take(rng.permutation(1_500))
    first, second = (find_failures(each, baseline()).categories for each in (table, shuffled))
    assert [(each.rule.id, each.errors, each.counts) for each in first] == [
        (each.rule.id, each.errors, each.counts) for each in second
    ]


conditions = st.builds(
    Condition,
    column=st.sampled_from(["channel", "label", "x1"]),
    source=st.sampled_from(["feature_channel", "label", "feature_x1"]),
    test=st.sampled_from(["is", "missing", "new_values"]),
    values=st.lists(st.text(max_size=80), min_size=1, max_size=5).map(tuple),
)
described = st.builds(
    Rule,
    st.sampled_from(KINDS),
    st.lists(conditions, min_size=1, max_size=2).map(tuple),
    st.none() | st.text(),
    st.none(),
)


@given(described)
def test_a_rule_comes_back_from_plain_values_with_its_name_and_id(rule):
    again = from_plain(to_plain(rule))
    assert (again, again.id, again.name) == (rule, rule.id, rule.name)
    assert rule.name
    assert "\n\n" not in rule.id


def test_what_new_words_there_are_today_does_not_change_the_id():
    one, two = (Rule("new_vocabulary", (Condition("text", "feature_text", "new_words", (w,)),)) for w in ("a", "b"))
    assert one.id == two.id


@pytest.mark.parametrize("seed", range(8))
def test_where_errors_fall_at_random_no_category_has_evidence(seed):
    assert names(found_in(world(seed))) == []


def plant_web(columns, rng):
    spoil(columns, (columns["channel"] == "web") & (rng.random(ROWS) < 0.2), rng)


def plant_two(columns, rng):
    place = (columns["channel"] == "app") & (columns["market"] == "IT")
    spoil(columns, place & (rng.random(ROWS) < 0.6), rng)


def plant_range(columns, rng):
    spoil(columns, (columns["x2"] >= 89) & (rng.random(ROWS) < 0.4), rng)


def plant_confusion(columns, rng):
    spoil(columns, (columns["said"] == "shipping") & (rng.random(ROWS) < 0.2), rng, "returns")


def plant_confusion_there(columns, rng):
    place = (columns["said"] == "fit") & (columns["market"] == "AT")
    spoil(columns, place & (rng.random(ROWS) < 0.35), rng, "refund")


def plant_words(columns, rng):
    rows = np.flatnonzero(rng.random(ROWS) < 0.03)
    columns["text"][rows] = [f"{text} {rng.choice(['drone', 'locker'])}" for text in columns["text"][rows]]
    spoil(columns, np.isin(np.arange(ROWS), rows) & (rng.random(ROWS) < 0.8), rng)


def plant_value(columns, rng):
    rows = rng.random(ROWS) < 0.02
    columns["channel"] = np.where(rows, "kiosk", columns["channel"])
    spoil(columns, rows & (rng.random(ROWS) < 0.8), rng)


def plant_missing(columns, rng):
    rows = rng.random(ROWS) < 0.03
    columns["x1"] = np.where(rows, np.nan, columns["x1"])
    spoil(columns, rows & (rng.random(ROWS) < 0.8), rng)


def plant_label(columns, rng):
    spoil(columns, rng.random(ROWS) < 0.01, rng, "warranty")


PLANTS = {
    "in channel=web": (plant_web, "segment"),
    "in channel=app and market=IT": (plant_two, "segment"),
    "in x2 from 90": (plant_range, "segment"),
    "returns taken for shipping": (plant_confusion, "confusion"),
    "refund taken for fit, in market=AT": (plant_confusion_there, "confusion"),
    "new words in text": (plant_words, "new_vocabulary"),
    "x1 missing": (plant_missing, "fault"),
    "in channel=kiosk": (plant_value, "segment"),
    "warranty, a label that was never learnt": (plant_label, "out_of_scope"),
}


@pytest.mark.parametrize("name", PLANTS)
def test_what_was_planted_is_found_under_its_name_and_nothing_else(name):
    plant, kind = PLANTS[name]
    columns = world(7)
    plant(columns, np.random.default_rng(3))
    found = found_in(columns)
    assert names(found) == [name]
    assert found.categories[0].rule.kind == kind
    if found.categories[0].rule.where:
        assert found.categories[0].inside > 1.5 * found.categories[0].outside


def test_the_words_that_carry_a_category_are_named():
    columns = world(7)
    plant_words(columns, np.random.default_rng(3))
    assert set(found_in(columns).categories[0].words) == {"drone", "locker"}


def test_errors_of_slices_with_a_broken_feed_are_a_fault():
    columns = world(7)
    start = 10_000_000 // HOUR * HOUR
    broken = {start + 10 * HOUR, start + 11 * HOUR}
    times = 10_000_000 + np.arange(ROWS) * 60
    spoil(columns, np.isin(times // HOUR * HOUR, list(broken)), np.random.default_rng(0))
    first = found_in(columns, faulty=broken).categories[0]
    assert (first.rule.name, first.rule.kind, first.basis, first.errors) == (
        "slices with a broken feed", "fault", "fact", 120,
    )  # fmt: skip


def test_a_confusion_that_the_baseline_explains_is_usual_and_one_that_rose_is_not():
    def confused(seed, share, rows=ROWS):
        columns = world(seed, rows)
        rng = np.random.default_rng(seed + 1_000)
        spoil(columns, (columns["said"] == "shipping") & (rng.random(rows) < share), rng, "returns")
        return columns

    before = build(table_of(confused(50, 0.2)), model="m", version="1", cuts=[], task="classification")
    usual = find_failures(table_of(confused(51, 0.2)), before)
    risen = find_failures(table_of(confused(52, 0.5)), before)
    assert "returns taken for shipping" in names(usual, "usual")
    assert names(usual) == []
    assert "returns taken for shipping" in names(risen)


def test_what_people_know_by_name_goes_on_under_that_name():
    columns = world(7)
    plant_web(columns, np.random.default_rng(3))
    close = Rule("segment", (Condition("channel", "feature_channel", "new_values", ("web", "kiosk")),))
    assert found_in(columns, known=[close]).categories[0].rule == close
    far = Rule("segment", (Condition("channel", "feature_channel", "is", ("app",)),))
    assert names(found_in(columns, known=[far])) == ["in channel=web"]


def test_examples_show_no_column_that_the_policy_ignores():
    columns = world(7)
    plant_web(columns, np.random.default_rng(3))
    examples = found_in(columns).categories[0].examples
    assert len(examples) == EXAMPLES
    assert all("secret" not in each and each["channel"] == "web" and "text" in each for each in examples)
    assert [each["prediction_id"] for each in examples] == sorted(
        (each["prediction_id"] for each in examples), key=lambda name: -int(name[1:])
    )


def test_a_category_that_grows_shows_a_rising_share():
    columns = world(7)
    rng = np.random.default_rng(3)
    spoil(columns, (columns["channel"] == "web") & (rng.random(ROWS) < np.linspace(0, 0.5, ROWS)), rng)
    assert found_in(columns).categories[0].z > 5
    assert found_in(columns).period_seconds == 86_400


def regression(seed, rows=ROWS):
    rng = np.random.default_rng(seed)
    label = rng.normal(50, 10, rows)
    return {
        "x1": rng.normal(size=rows),
        "market": rng.choice(["DE", "AT", "CH"], rows),
        "said": label + rng.normal(0, 2, rows),
        "label": label,
    }


def test_large_errors_of_a_regression_have_a_place_and_a_direction():
    columns = regression(1)
    before = build(table_of(regression(0)), model="m", version="1", cuts=[["market"]], task="regression")
    columns["said"] = columns["said"] + np.where(columns["market"] == "CH", 3.0, 0.0)
    found = find_failures(table_of(columns), before)
    assert names(found)[0] == "predicted too high, in market=CH"
    wrong = np.abs(columns["said"] - columns["label"]) > found.limit
    assert found.errors == wrong.sum() == sum(each.errors for each in found.categories)
    assert names(find_failures(table_of(regression(2)), before)) == []


def test_no_rows_and_no_errors_have_no_categories():
    table = table_of(world(1, 50, 0.0))
    assert find_failures(table, baseline()).categories == ()
    nothing = find_failures(table.slice(0, 0), baseline())
    assert (nothing.rows, nothing.errors, nothing.periods) == (0, 0, ())
    assert assign([OTHER_RULE], table.slice(0, 0), baseline()) == []


@given(st.integers(0, 500), st.integers(1, 500), st.integers(0, 500), st.integers(1, 500))
def test_evidence_of_a_rise_is_none_where_the_rate_did_not_rise(k, n, c, m):
    k, c = min(k, n), min(c, m)
    found = rise_ln(k, n, c, m)
    assert found >= 0
    assert (found == 0) or k / n > c / m
    assert excess_ln(np.array([float(k)]), np.array([float(max(k, 1))]))[0] == 0


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(20, 40)), min_size=2, max_size=20))
def test_a_trend_turns_round_with_time(periods):
    counts, rows = (np.array(each, dtype=float) for each in zip(*periods, strict=True))
    assert trend_z(counts, rows) == pytest.approx(-trend_z(counts[::-1], rows[::-1]), abs=1e-6)


tallies = st.builds(
    lambda version, errors, more: Tally(version, errors, errors + more),
    st.sampled_from(["1", "2"]), st.integers(0, 300), st.integers(0, 3_000),
)  # fmt: skip


@given(tallies, tallies)
def test_a_fix_is_proved_only_where_few_errors_are_left_and_none_is_both_fixed_and_back(before, after):
    proof = prove(before, after)
    assert proof.answer in ANSWERS
    if proof.answer == "fixed":
        assert after.errors <= 0.5 * before.rate * after.rows
        assert not is_back(before, after)
    if proof.answer == "not_enough_labels" and before.errors:
        assert proof.labels_needed > 0 or after.rows == 0 or before.rate * after.rows < 20
    assert str(before.rows) in proof.text.replace(",", "")


@given(st.floats(-10, 10), st.integers(0, 1_000), st.floats(-10, 10), st.floats(-10, 10))
def test_severity_stays_in_its_bounds_and_more_loss_is_never_less_severe(outcome, count, right, wrong):
    found = severity_of(outcome, count, right, wrong)
    assert LEAST_SEVERITY <= found <= MOST_SEVERITY
    assert severity_of(outcome - 1, count, right, wrong) >= found


def test_a_category_without_outcomes_is_as_severe_as_any():
    assert severity_of(float("nan"), 0, float("nan"), float("nan")) == 1.0


@given(st.integers(1, 1_000), st.floats(0.1, 10))
def test_priority_grows_with_volume_severity_and_trend(errors, severity):
    ranked = [priority_of(errors, severity, trend) for trend in sorted(TREND_FACTORS, key=TREND_FACTORS.__getitem__)]
    assert ranked == sorted(ranked)
    assert priority_of(errors + 1, severity, "steady") > priority_of(errors, severity, "steady")
    assert priority_of(errors, severity * 2, "steady") > priority_of(errors, severity, "steady")


def test_columns_of_every_kind_can_be_where_errors_are():
    rng = np.random.default_rng(5)

    def rows(count, share):
        columns = world(5, count)
        late = rng.random(count) < 0.3
        hours = np.where(late, 22, rng.integers(6, 20, count))
        spoil(columns, late & (rng.random(count) < share), rng)
        table = table_of(columns)
        more = {
            "feature_when": pa.array([f"2026-01-{1 + i % 28:02}T{hour:02}:30:00Z" for i, hour in enumerate(hours)]),
            "feature_vector": pa.array(rng.normal(size=(count, 4)).tolist(), pa.list_(pa.float32())),
            "feature_flag": pa.array(rng.random(count) < 0.5),
            "feature_plan": pa.array(rng.choice(["a", "b"], count).tolist()).dictionary_encode(),
            "feature_empty": pa.nulls(count, pa.float64()),
        }
        for name, values in more.items():
            table = table.append_column(name, values)
        return table

    before = build(rows(2_000, 0.0), model="m", version="1", cuts=[["plan"]], task="classification")
    now = rows(2_000, 0.5)
    assert names(find_failures(now, before)) == ["in hour of when from 22"]
    without = now.drop_columns(["feature_vector", "feature_plan", "feature_text"])
    assert names(find_failures(without, before)) == ["in hour of when from 22"]
