"""What policies would have done: over pasts made here, and over the past of a replay, which did it."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from streams import START, predictions
from test_replay import rows

from monitors.baseline.baselines import build
from monitors.counting.labelled import fold_labelled
from monitors.counting.profiles import fold
from monitors.readings import TwinReading
from policies.file.parse import parse
from policies.file.policy import PerformanceTrigger, Policy
from policies.past.backtest import backtest
from policies.past.course import Course, differ, pair
from policies.past.past import Assumed, Known, Past, Reign
from service.backtest.backtesting import past_of
from service.house import open_house
from service.intake.archive.tables import Roles, as_batch
from service.replay import FileClock, Options, Replay
from service.settings import Durability, Settings

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
BEGIN = datetime.fromtimestamp(START, UTC)
BASELINE = build(predictions(4000, seed=9), model="m", version="1", cuts=[["group"]], task="classification")
POLICY = parse(
    "{model: m, task: {kind: classification}, evaluate: 2h, segments: [[group]],"
    " retrain: {requires: {labelled_rows: 400}, cooldown: 1h}}"
)
WORSE_ON = 2


@cache
def world(days: int = 6, worse_on: int | None = WORSE_ON, broken_on: int | None = None) -> Past:
    """A row a minute; from one day on a third of the answers are wrong, and on another day half of x1 is missing."""
    profiles, labelled = {}, {}
    for day in range(days):
        error = 0.1 if worse_on is None or day < worse_on else 0.35
        missing = 0.5 if day == broken_on else 0.0
        table = predictions(1440, seed=day, error=error, missing=missing, start=START + day * 86_400)
        profiles |= fold(BASELINE.layout, table, 3600)
        labelled |= fold_labelled(BASELINE.layout, table, 3600)
    since, until = BEGIN + DAY, BEGIN + days * DAY
    return Past("m", since, until, (Reign(BASELINE, since, until, profiles, labelled),))


def course(policy: Policy = POLICY, past: Past | None = None, **assumed: timedelta) -> Course:
    [found] = backtest([policy], past or world(), Assumed(**assumed))
    return found


@cache
def prompt_course() -> Course:
    return course()


def with_retrain(**changes: object) -> Policy:
    return replace(POLICY, retrain=replace(POLICY.retrain, **changes))


def kinds(found: Course) -> set[str]:
    return {stretch.kind for stretch in found.stretches}


def test_a_loss_is_asked_about_once_and_confirmed_by_its_labels():
    found = prompt_course()
    [asked] = found.retrainings
    changed = BEGIN + WORSE_ON * DAY
    assert changed < asked.at < changed + DAY
    assert asked.reasons == ("performance_drop",)
    assert asked.confirmation == "confirmed"
    assert asked.change_started == pytest.approx(changed, abs=3 * HOUR)
    assert asked.lead is not None
    assert found.evaluations == 5 * 12


def test_a_quiet_past_is_left_alone():
    found = course(past=world(worse_on=None))
    assert found.retrainings == ()
    assert "fault" not in kinds(found)


def test_the_same_policy_does_the_same_and_company_changes_nothing():
    other = replace(POLICY, persist=8)
    both = backtest([POLICY, other], world())
    assert both == [prompt_course(), course(other)]
    assert not differ(both[0], prompt_course())
    assert differ(*both)
    [[first, second]] = pair(*both)
    assert second.at > first.at


def test_later_labels_ask_later():
    by_labels = with_retrain(when=(PerformanceTrigger(),))
    asked = [course(by_labels, label_delay=delay).retrainings[0].at for delay in (0 * HOUR, 8 * HOUR, 30 * HOUR)]
    assert asked[1] - asked[0] == 8 * HOUR
    assert asked[2] - asked[0] == 30 * HOUR


def test_what_inputs_showed_first_has_a_lead_before_the_labels():
    [asked] = course(label_delay=12 * HOUR).retrainings
    assert asked.reasons == ("drift_with_estimated_drop",)
    assert asked.confirmation == "confirmed"
    assert asked.lead == asked.settled_at - asked.at > timedelta(0)


@settings(max_examples=4, deadline=None)
@given(st.integers(1, 3), st.integers(1, 4))
def test_no_budget_is_ever_overspent(count, days):
    eager = replace(
        with_retrain(cooldown=timedelta(0), budget=replace(parse_budget(), count=count, per=days * DAY)),
        performance=replace(POLICY.performance, max_drop=0.001),
        persist=1,
    )
    found = course(eager)
    starts = [each.at for each in found.retrainings]
    assert all(sum(at - days * DAY < start <= at for start in starts) <= count for at in starts)
    assert found.budget_spent is not None
    assert found.budget_spent <= count


def parse_budget():
    text = "{model: m, task: {kind: classification}, retrain: {budget: {count: 1, per: 1d}}}"
    return parse(text).retrain.budget


def test_a_freeze_holds_it_back_until_it_ends():
    text = (
        f"{{model: m, task: {{kind: classification}}, retrain: {{freeze: ['2026-01-01/{BEGIN + 4 * DAY:%Y-%m-%d}']}}}}"
    )
    found = course(with_retrain(freeze=parse(text).retrain.freeze))
    held = [stretch for stretch in found.stretches if stretch.kind == "held" and "frozen" in stretch.reasons]
    assert held
    assert held[0].since < BEGIN + 3 * DAY
    assert [each.at for each in found.retrainings] == [BEGIN + 4 * DAY]


def test_a_broken_feed_is_a_fault_and_no_retraining():
    found = course(past=world(worse_on=None, broken_on=3))
    assert found.retrainings == ()
    [fault] = [stretch for stretch in found.stretches if stretch.kind == "fault"]
    assert BEGIN + 3 * DAY < fault.since < BEGIN + 3 * DAY + 6 * HOUR
    assert "all" in fault.segments


def test_after_a_release_that_never_was_the_present_is_usual():
    found = course(past=world(days=8))
    [asked] = found.retrainings
    assert [each for each in found.stretches if each.kind == "held" and each.since < asked.at]
    assert not [each for each in found.stretches if each.kind == "held" and each.since > asked.at]


def test_a_real_retraining_that_was_refused_is_refused_here_too():
    [asked] = prompt_course().retrainings
    known = Known("1", asked.at, asked.at + HOUR, "refused")
    found = course(past=replace(world(), retrainings=(known,)))
    first = found.retrainings[0]
    assert (first.at, first.outcome, first.is_known) == (asked.at, "refused", True)
    # Nothing became better, so it asks again once as many new labels have come.
    assert len(found.retrainings) > 1
    assert any("no_expected_gain" in stretch.reasons for stretch in found.stretches)


def test_a_version_that_really_came_is_taken_as_it_was():
    past = world()
    [first] = past.reigns
    middle = BEGIN + 36 * HOUR
    second = replace(first, baseline=replace(BASELINE, version="2"), since=middle)
    found = course(past=replace(past, reigns=(replace(first, until=middle), second)))
    assert [(each.version, each.stood) for each in found.releases] == [("2", "hold")]
    assert [each.version for each in found.retrainings] == ["2"]


def test_what_is_in_flight_when_another_version_comes_is_overtaken():
    past = world()
    [asked] = prompt_course().retrainings
    [first] = past.reigns
    second = replace(first, baseline=replace(BASELINE, version="2"), since=asked.at + HOUR)
    found = course(past=replace(past, reigns=(replace(first, until=asked.at + HOUR), second)), training=5 * HOUR)
    assert found.retrainings[0].outcome == "overtaken"
    assert found.releases[0].stood == "asked"


def test_a_kept_test_of_a_twin_asks_from_when_it_was_known():
    past = world(worse_on=None)
    better = (BEGIN + 3 * DAY, TwinReading(200, 20, 60.0, 500))
    found = course(past=replace(past, reigns=(replace(past.reigns[0], twins=(better,)),)))
    assert found.retrainings[0].reasons == ("twin_better",)
    assert found.retrainings[0].at == better[0] + 2 * HOUR  # it persists
    assert found.retrainings[0].confirmation == "open"


def test_retrainings_before_the_span_count_for_budget_and_rest():
    before = Known("1", BEGIN + 20 * HOUR, BEGIN + 21 * HOUR, "failed")
    policy = with_retrain(budget=replace(parse_budget(), per=30 * DAY))
    found = course(policy, replace(world(), retrainings=(before,)))
    assert found.retrainings == ()
    assert any("budget_spent" in stretch.reasons for stretch in found.stretches)


def test_it_does_what_the_replay_did_whose_profiles_it_reads(tmp_path):
    policies = tmp_path / "policies.d"
    policies.mkdir()
    text = "model: flip\ntask: {kind: classification}\nsegments: [[group]]\ncolumns: {group: tag}\nevaluate: 1h\n"
    (policies / "policy.yaml").write_text(text)
    policy, clock, delay = parse(text), FileClock(), 100  # rows, and there is one a minute
    table = as_batch(tmp_path, rows(5000, flips_at=3000), Roles(kinds=policy.column_kinds()), policy.task.kind, "")
    chosen = replace(Settings(), data_dir=tmp_path, policies=policies, partitions=1, durability=Durability("everysec"))
    with open_house(chosen, clock) as house:
        Replay(house, clock, policy, table, Options(start=2000, label_delay=delay)).run()
        real = house.ledger.retrainings(policy.model)[::-1]
        past = past_of(house, policy.model, house.ledger.releases(policy.model)[0].at, clock.now)
    found = course(policy, past, label_delay=timedelta(minutes=delay), training=timedelta(0))
    assert real
    assert [(each.at, each.reasons, each.segments) for each in found.retrainings] == [
        (each.opened_at, each.reasons, each.segments) for each in real
    ]
    assert [each.outcome for each in found.retrainings] == [each.state for each in real]
