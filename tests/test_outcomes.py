import random
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import houses
import msgspec
import numpy as np
import pyarrow as pa
import pytest
from houses import POLICY, client_of, evaluate, fold, open_shop
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from intake import BASELINE, NOON, Intake, batch, label_rows
from streams import predictions

from monitors.baseline import baselines
from service.intake.archive.archiving import Roll
from service.intake.bodies.wire import Batch
from service.intake.joining import outcomes
from service.intake.joining.outcomes import DAY, MOST_DAYS, SegmentOutcome

SAYS = [True, False, 3, 4.5, "yes", None, {"a": 1}]


def opened(store, folder, field: str = "resolved", **options: Any) -> Intake:
    intake = Intake(store, folder, **options)
    intake.joiner = intake.new_joiner(outcome_field=lambda _: field)
    return intake


def tell(
    intake: Intake, names: Sequence[str], said: Sequence[Any], field: str = "resolved", labels: Sequence[str] = ()
) -> None:
    """Labels with an outcome each; the field is left out where it says nothing, the outcome where it is `...`."""
    texts = [
        None if each is ... else msgspec.json.encode({"note": "n"} if each is None else {field: each}).decode()
        for each in said
    ]
    rows = label_rows(names, labels or ["fit"] * len(names), intake.now)
    rows = rows.set_column(rows.column_names.index("outcome"), "outcome", pa.array(texts, pa.string()))
    intake.ingest.accept_labels("m", Batch(rows), None, "body", intake.now)
    intake.now += timedelta(seconds=1)


def counted(
    intake: Intake, field: str = "resolved", baseline: baselines.Baseline = BASELINE
) -> dict[str, SegmentOutcome]:
    return dict(outcomes.read(intake.store, baseline, field, 0))


def expected(table: pa.Table, said: dict[str, Any]) -> dict[str, SegmentOutcome]:
    """Counted by hand: rows, mean and others of each segment."""
    found: dict[str, tuple[list[float], list[Any]]] = {}
    groups = table.column("tag_group").to_pylist()
    for name, group in zip(table.column("prediction_id").to_pylist(), groups, strict=True):
        for segment in ("all", f"group={group}"):
            numbers, others = found.setdefault(segment, ([], []))
            value = said.get(name)
            if isinstance(value, bool | int | float):
                numbers.append(float(value))
            elif value is not None and value is not ...:
                others.append(value)
    return {
        segment: SegmentOutcome(len(numbers), pytest.approx(np.mean(numbers)) if numbers else None, len(others))
        for segment, (numbers, others) in found.items()
        if numbers or others
    }


def names_of(table: pa.Table) -> list[str]:
    return table.column("prediction_id").to_pylist()


def test_outcomes_are_averaged_by_segment(any_store, tmp_path):
    intake = opened(any_store, tmp_path)
    table = batch(60)
    said = dict(zip(names_of(table), [SAYS[row % len(SAYS)] for row in range(60)], strict=True))
    intake.post(table)
    tell(intake, list(said), list(said.values()))
    intake.run()
    assert counted(intake) == expected(table, said)
    assert counted(intake)["all"].other > 0


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.randoms(use_true_random=False), st.integers(1, 3))
def test_any_order_of_outcomes_predictions_steps_and_restarts_gives_the_same_counts(
    store, tmp_path_factory, chance: random.Random, partitions
):
    store.do("FLUSHALL")
    folder = tmp_path_factory.mktemp("archive")
    intake = opened(store, folder, partitions=partitions, roll=Roll(rows=chance.choice([5, 500])))
    table = batch(40, step=3_600)
    names = names_of(table)
    posts = [table.slice(at, 10) for at in range(0, 40, 10)]
    jobs: list[Any] = posts + [chance.sample(names, 6) for _ in range(10)]
    chance.shuffle(jobs)
    last: dict[str, Any] = {}
    for job in jobs:
        if isinstance(job, pa.Table):
            intake.post(job)
        else:
            said = [chance.choice([*SAYS, ...]) for _ in job]
            tell(intake, job, said, labels=[chance.choice(["fit", "returns"]) for _ in job])
            last.update({name: value for name, value in zip(job, said, strict=True) if value is not ...})
        if chance.random() < 0.3:
            intake.run()
        if chance.random() < 0.3:
            recent = chance.choice([0, 15, 1000])
            intake.joiner = intake.new_joiner(outcome_field=lambda _: "resolved", recent_rows=recent)
    intake.run()
    assert counted(intake) == expected(table, last)


@pytest.mark.parametrize("is_restarted", [False, True])
def test_a_later_outcome_takes_the_place_of_the_earlier_and_a_label_without_one_leaves_it(
    store, tmp_path, is_restarted
):
    intake = opened(store, tmp_path, roll=Roll(rows=1))
    table = batch(10)
    names = names_of(table)
    intake.post(table)
    for said, labels in ((True, "fit"), (False, "fit"), (..., "returns")):
        tell(intake, names, [said] * 10, labels=[labels] * 10)
        for _ in range(3):
            intake.run()
        if is_restarted:
            intake.joiner = intake.new_joiner(outcome_field=lambda _: "resolved")
    assert counted(intake)["all"] == SegmentOutcome(10, 0.0, 0)
    labelled = intake.archive.labelled("m", NOON - timedelta(days=9), NOON + timedelta(days=9))
    assert set(labelled.column("label").to_pylist()) == {"returns"}
    assert set(labelled.column("outcome").to_pylist()) == {'{"resolved":false}'}


def test_an_older_outcome_that_comes_late_changes_nothing(store, tmp_path):
    intake = opened(store, tmp_path)
    table = batch(1)
    intake.post(table)
    tell(intake, names_of(table), [True])
    intake.run()
    intake.now -= timedelta(hours=5)
    tell(intake, names_of(table), [False])
    intake.run()
    assert counted(intake)["all"] == SegmentOutcome(1, 1.0, 0)


def test_outcomes_wait_with_their_label(store, tmp_path):
    intake = opened(store, tmp_path)
    table = batch(3)
    tell(intake, names_of(table), [True] * 3)
    tell(intake, names_of(table), [...] * 3, labels=["returns"] * 3)
    intake.run()
    assert counted(intake) == {}
    intake.joiner = intake.new_joiner(outcome_field=lambda _: "resolved")
    intake.post(table)
    intake.run()
    assert counted(intake)["all"] == SegmentOutcome(3, 1.0, 0)


@pytest.mark.parametrize("is_restarted", [False, True])
def test_a_policy_that_names_another_field_begins_anew(store, tmp_path, is_restarted):
    intake = opened(store, tmp_path, roll=Roll(rows=1))
    table = batch(6)
    names = names_of(table)
    intake.post(table)
    tell(intake, names[:2], [True, True])
    for field in ("stars", "resolved"):
        for _ in range(3):
            intake.run()
        if is_restarted:
            intake.joiner = intake.new_joiner(outcome_field=lambda _, field=field: field)
        else:
            intake.joiner._outcome_field = lambda _, field=field: field
        tell(intake, names[2:4], [5, 4], field=field)
    intake.run()
    # What was said before the field came back is not counted, and so it is not taken back either.
    assert counted(intake, "stars") == {}
    assert counted(intake)["all"] == SegmentOutcome(2, 4.5, 0)
    tell(intake, names[:2], [False, False])
    intake.run()
    assert counted(intake)["all"] == SegmentOutcome(4, 2.25, 0)


def test_no_policy_counts_no_outcome(store, tmp_path):
    intake = opened(store, tmp_path, field="")
    table = batch(3)
    intake.post(table)
    tell(intake, names_of(table), [True] * 3)
    intake.run()
    assert counted(intake) == {}
    assert not list(store.do("KEYS", "tg:{labels}:outcomes:*"))


def test_outcomes_of_a_version_without_a_baseline_are_counted_nowhere(store, tmp_path):
    intake = opened(store, tmp_path)
    intake.baselines = {}
    table = batch(3)
    intake.post(table)
    tell(intake, names_of(table), [True] * 3)
    intake.run()
    assert counted(intake) == {}
    intake.baselines = {"1": BASELINE}
    intake.joiner = intake.new_joiner(outcome_field=lambda _: "resolved")
    tell(intake, names_of(table)[:1], [False])
    intake.run()
    assert counted(intake)["all"] == SegmentOutcome(1, 0.0, 0)


def test_only_the_newest_days_are_kept(store, tmp_path):
    intake = opened(store, tmp_path)
    days = [0, 1, MOST_DAYS, MOST_DAYS + 1]
    for seed, day in enumerate(days):
        table = batch(5, seed=seed, start=int(NOON.timestamp()) // DAY * DAY + day * DAY)
        intake.post(table)
        tell(intake, names_of(table), [True] * 5)
        intake.run()
    assert counted(intake)["all"].rows == 10
    fields = store.do("HKEYS", f"tg:{{labels}}:outcomes:m:1:{BASELINE.fingerprint}")
    assert len(fields) == 2 + 2


@pytest.mark.parametrize("text", ["[]", "3", "{", '{"resolved": 1e999}', '{"resolved": 1e13}', '{"resolved": [1]}'])
def test_whatever_an_outcome_holds_it_stops_nothing(text):
    assert outcomes.said(text, "resolved") == "other"


def test_the_field_may_have_any_name(store, tmp_path):
    field = 'was it "solved"? · ja: nein'
    intake = opened(store, tmp_path, field=field)
    table = batch(2)
    intake.post(table)
    tell(intake, names_of(table), [True, False], field=field)
    intake.run()
    assert counted(intake, field)["all"] == SegmentOutcome(2, 0.5, 0)


def test_outcomes_are_shown_beside_accuracy_and_in_the_metrics(server, tmp_path):
    policy = POLICY.replace("target: intent", "target: intent, outcome: resolved")
    with open_shop(server, tmp_path, policy) as house:
        evaluate(house, predictions(400, seed=3, start=int(houses.NOON.timestamp()) - 400 * 60))
        table = predictions(400, seed=3, start=int(houses.NOON.timestamp()) - 400 * 60)
        rows = label_rows(names_of(table), table.column("label").to_pylist(), houses.NOON)
        said = [f'{{"resolved": {"true" if row % 4 else "false"}}}' for row in range(400)]
        rows = rows.set_column(rows.column_names.index("outcome"), "outcome", pa.array(said))
        house.ingest.accept_labels("shop", Batch(rows), None, "body", houses.NOON)
        fold(house)
        with client_of(house) as client:
            listed = client.get("/v1/models/shop/segments").json()["segments"]
            shown = client.get("/v1/models/shop/segments/all").json()
            page = client.get("/").text
            metrics = client.get("/metrics").text
    told = {"field": "resolved", "days": 7, "rows": 400, "mean": 0.75, "other": 0}
    assert shown["outcome"] == told
    assert next(each["outcome"] for each in listed if each["segment"] == "all") == told
    assert (
        sum(each["outcome"]["rows"] for each in listed if each["segment"].startswith("group=") and each["outcome"])
        == 400
    )
    assert 'tidegate_outcome_ratio{model="shop",segment="all"} 0.75' in metrics
    assert 'tidegate_labels_unmatched_ratio{model="shop"} 0.0' in metrics
    assert "resolved, 7 days" in page
    assert '<td class="number">0.75</td>' in page


def test_without_an_outcome_in_the_policy_none_is_shown(server, tmp_path):
    with open_shop(server, tmp_path) as house:
        evaluate(house, predictions(400, seed=3, start=int(houses.NOON.timestamp()) - 400 * 60))
        with client_of(house) as client:
            assert client.get("/v1/models/shop/segments/all").json()["outcome"] is None
            assert "7 days" not in client.get("/").text
            assert "tidegate_outcome_ratio{" not in client.get("/metrics").text
