"""Watching: a release against the version before, until its time is over or it proves worse; and what it was for."""

from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stage import MODEL, TEXT, Crash, dying, open_stage

from policies.file.policy import Gate
from policies.lately import bar_of, judge_lately, regression_ln
from service.ledger.records import DecisionRecord
from service.notices.regressions import regression_of
from service.retraining.aftermath import between_regressions
from service.retraining.releasing import release
from service.retraining.watching import watch_release

MANUAL = TEXT + "watch: {for: 7d, rollback: manual}\n"


def put_out(stage, *, is_good=True, **more):
    """Release the stage's challenger."""
    known = replace(stage.challenger(is_good=is_good), **more)
    stage.house.ledger.save_retraining(known)
    release(stage.house, stage.registry, stage.policy, known, stage.model, stage.described(is_good=is_good))
    return known


def watch(stage):
    return watch_release(stage.house, stage.registry, stage.policy)


# ---- the evidence


@settings(max_examples=50)
@given(st.lists(st.sampled_from([0.0, 1.0]), min_size=1, max_size=80))
def test_a_release_that_answers_like_the_version_before_is_never_told_worse(values):
    same = np.array(values)
    assert regression_ln(same, same, 0.02, "classification") < bar_of(1)


@pytest.mark.parametrize("kind", ["classification", "regression"])
def test_releases_that_lose_just_what_is_allowed_are_seldom_told_worse(kind):
    rng, alarms, runs = np.random.default_rng(11), 0, 300
    for _ in range(runs):
        if kind == "classification":
            before = (rng.random(600) < 0.8).astype(float)
            now = np.where(rng.random(600) < 0.1, rng.random(600) < 0.6, before)  # two points are lost
        else:
            before, now = rng.exponential(1.0, 600), rng.exponential(1.02, 600)
        alarms += regression_ln(before, now, 0.02, kind) >= bar_of(1)
    assert alarms <= runs / 20


def test_a_release_that_was_better_at_first_is_found_when_the_world_goes_back():
    rng = np.random.default_rng(5)
    better, worse = rng.random(1500) < 0.3, rng.random(250) < 0.3
    before = np.concatenate([~better, np.ones(250, bool)]).astype(float)
    now = np.concatenate([np.ones(1500, bool), ~worse]).astype(float)
    assert judge_lately(Gate(), {"all": (before[:1500], now[:1500])})[0].answer == "better_or_equal"
    assert judge_lately(Gate(), {"all": (before, now)})[0].answer == "worse"


# ---- the watch


def test_a_worse_release_is_rolled_back_and_told_with_its_rows(server, tmp_path):
    with open_stage(server, tmp_path) as stage:
        ledger = stage.house.ledger
        put_out(stage, is_good=False)
        stage.serve(60, ("2",), is_good=False)
        assert watch(stage) is None  # too few labels for a look
        stage.serve(60, ("2",), is_good=False)
        back = watch(stage)
        assert (back.kind, back.version, ledger.champion(MODEL)) == ("rollback", "1", "1")
        (found,) = ledger.regressions(MODEL)
        assert (found.rows, found.labels, found.rollback) == (120, 120, "automatic")
        assert set(found.segments) == {"all", "group=a", "group=b"}
        assert ledger.watch(MODEL) is None
        counts = ledger.counts(MODEL)
        assert (counts["post_release_regressions"], counts["rollbacks"]) == (1, 1)
        day = stage.clock() - ledger.releases(MODEL)[0].at
        assert between_regressions(ledger, MODEL, stage.clock()) == day.total_seconds()


def test_a_rollback_that_died_anywhere_is_gone_on_with_and_counted_once(server, tmp_path):
    with open_stage(server, tmp_path) as stage:
        ledger = stage.house.ledger
        put_out(stage, is_good=False)
        stage.serve(120, ("2",), is_good=False)
        for writes in range(20):
            try:
                back = watch_release(dying(stage.house, writes), stage.registry, stage.policy)
            except Crash:
                assert (ledger.champion(MODEL) == "1") == (ledger.watch(MODEL) is None)
            else:
                break
        assert writes > 1
        assert back is None or back.version == "1"
        assert ledger.champion(MODEL) == "1"
        assert watch(stage) is None
        counts = ledger.counts(MODEL)
        assert (counts["post_release_regressions"], counts["rollbacks"]) == (1, 1)
        assert [each.kind for each in ledger.releases(MODEL)] == ["first", "release", "rollback"]


def test_a_manual_watch_tells_once_counts_once_and_goes_on(server, tmp_path):
    with open_stage(server, tmp_path, MANUAL) as stage:
        ledger = stage.house.ledger
        put_out(stage, is_good=False)
        stage.serve(120, ("2",), is_good=False)
        assert watch(stage) is None
        first = regression_of(stage.house.store, MODEL)
        stage.serve(120, ("2",), is_good=False)
        assert watch(stage) is None
        assert regression_of(stage.house.store, MODEL) == first
        assert ledger.champion(MODEL) == "2"
        assert ledger.watch(MODEL).judged == 240
        assert ledger.counts(MODEL)["post_release_regressions"] == 1


def test_where_the_version_before_cannot_be_asked_its_own_rows_are_compared(server, tmp_path):
    with open_stage(server, tmp_path) as stage:
        stage.serve(400)
        put_out(stage, is_good=False)
        for file in stage.registry.folder(MODEL, "1").iterdir():
            file.unlink()
        stage.registry = type(stage.registry)(tmp_path)
        stage.serve(120, ("2",), is_good=False)
        assert watch(stage).version == "1"


def test_a_good_release_is_watched_by_other_rows_and_stands(server, tmp_path):
    with open_stage(server, tmp_path) as stage:
        stage.serve(400)
        put_out(stage)
        for file in stage.registry.folder(MODEL, "1").iterdir():
            file.unlink()
        stage.registry = type(stage.registry)(tmp_path)
        stage.serve(150, ("2",))
        assert watch(stage) is None
        looked = stage.house.ledger.watch(MODEL)
        assert looked.verdict["basis"] == "rows of its own"
        assert {segment["answer"] for segment in looked.verdict["segments"]} <= {"better_or_equal", "not_enough_labels"}


def test_the_last_labels_are_looked_at_when_the_time_is_over(server, tmp_path):
    with open_stage(server, tmp_path) as stage:
        put_out(stage, is_good=False)
        stage.serve(60, ("2",), is_good=False)
        stage.clock.now = stage.house.ledger.watch(MODEL).until
        assert watch(stage).kind == "rollback"


def test_a_release_is_watched_until_the_labels_of_its_last_rows_may_have_come(server, tmp_path):
    text = TEXT.replace("label_delay: 0s", "label_delay: 3d") + "watch: {for: 1d}\n"
    with open_stage(server, tmp_path, text) as stage:
        put_out(stage)
        assert stage.house.ledger.watch(MODEL).until == stage.clock() + timedelta(days=4)


# ---- what it was for


@pytest.mark.parametrize(("expected", "answer"), [(0.93, "cleared"), (0.995, "not_cleared")])
def test_what_triggered_it_is_looked_at_again_after_the_release(server, tmp_path, expected, answer):
    with open_stage(server, tmp_path) as stage:
        ledger = stage.house.ledger
        read = {"segment": "all", "performance": {"metric": "accuracy", "expected": expected, "value": 0.5}}
        reasons = [{"code": "performance_drop", "met": True, "segment": "all", "text": "worse"}]
        decision = DecisionRecord(
            "d-1", MODEL, "1", stage.clock(), "retrain", reasons, {}, ("all",), None, "p", "b", readings=[read]
        )
        ledger.record(ledger.evaluation(MODEL), decision, [])
        put_out(stage, reasons=("performance_drop",))
        stage.serve(60, ("2",))
        watch(stage)
        assert ledger.aftermaths(MODEL) == {}  # too few labels for a look
        stage.serve(60, ("2",))
        watch(stage)
        found = ledger.aftermaths(MODEL)["2"]
        assert found.answer == answer
        assert f"{expected} before it dropped" in found.segments[0]["text"]


def test_an_outcome_that_became_worse_is_told_also_where_a_person_asked_for_the_release(server, tmp_path, caplog):
    text = TEXT.replace("kind: classification", "kind: classification, outcome: resolved")
    with open_stage(server, tmp_path, text) as stage:
        stage.serve(150, outcome='{"resolved": true}')
        put_out(stage)
        stage.serve(150, ("2",), outcome='{"resolved": false}')
        watch(stage)
        found = stage.house.ledger.aftermaths(MODEL)["2"]
        assert found.answer == "nothing_to_clear"
        assert found.outcome == {
            "field": "resolved",
            "before": {"mean": 1.0, "rows": 150},
            "now": {"mean": 0.0, "rows": 150},
            "is_worse": True,
        }
        assert "resolved is worse since version 2" in caplog.text
